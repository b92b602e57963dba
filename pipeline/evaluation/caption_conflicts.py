"""The suites that decide, with the captions of photos that no stage has prepared: for refusals before a training."""

from pathlib import Path

from pipeline.evaluation.deciding import Use, deciding_suites
from pipeline.evaluation.suite import Suite, plain_words
from pipeline.evaluation.twins import name_pattern, twin_of
from pipeline.params import Params
from pipeline.photos.captions import read_captions
from pipeline.photos.examine import examine_photos
from pipeline.photos.file_kinds import scan_folder

SIDE, MULTIPLE = 512, 64  # of prepared pictures, which nobody keeps here: what is held out does not depend on it


def suites_for_photos(photos: Path, params: Params, recipe_reads_captions: bool = False) -> tuple[list[Use], list[str]]:
    """`deciding_suites` with the captions of the photos in a folder that would be trained on.

    Which photos these are takes decoding all of them. That is done only where a caption may matter: where a suite that
    chooses asks for what it says, or where `recipe_reads_captions`. Else the suite that judges comes without captions,
    as it does where there is no such folder, or where `prepare` would refuse it, which is left to that stage.
    """
    uses, problems = deciding_suites(params)
    if not photos.is_dir():
        return uses, problems
    token, noun = params.subject.token, params.subject.class_noun
    captions = read_captions(scan_folder(photos)[0], lambda name: (photos / name).read_bytes(), token, noun).found
    choosing = [use.suite for use in uses if use.section != "sample"]
    if not recipe_reads_captions and not any(_asked_for(one.text, choosing, params) for one in captions.values()):
        return uses, problems
    found = examine_photos(photos, params.prepare, params.subject, SIDE, MULTIPLE)
    if found.problems:
        return uses, problems
    return deciding_suites(params, [one.text for name, one in found.captions.items() if name not in found.heldout])


def _asked_for(caption: str, suites: list[Suite], params: Params) -> bool:
    twin = twin_of(caption, name_pattern(params.subject), params.subject.class_noun)
    said = {plain_words(caption), plain_words(twin)}
    return any(
        said & {plain_words(prompt.text), plain_words(prompt.twin)} for suite in suites for prompt in suite.prompts
    )
