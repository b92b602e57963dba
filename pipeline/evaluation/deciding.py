"""The suites that decide something in a run: what chooses a checkpoint or a recipe shares nothing with what judges."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.evaluation.suite import Prompt, Suite, SuiteError, load_suite, plain_words
from pipeline.evaluation.twins import name_pattern, twin_of
from pipeline.params import Params, Sample, Select, Tune

PURPOSES = {"select": "chooses a checkpoint", "tune": "searches a recipe", "sample": "judges"}


@dataclass(frozen=True)
class Use:
    """A suite with its seeds, and the section of params.yaml that uses it (a key of `PURPOSES`)."""

    section: str
    suite: Suite
    seeds: Sequence[int]


def shared_between(uses: Sequence[Use]) -> list[str]:
    """What suites share although what chooses cannot also judge: sentences on each pair's prompts, captions and seeds.

    Prompts are shared where their texts or their twins are alike but for case, white space and punctuation: 'a photo of
    TOKEN NOUN in a garden', 'a photo of TOKEN in a garden' and 'a photo of a NOUN in a garden' ask for one picture.
    """
    found = []
    for one, other in itertools.combinations(uses, 2):
        why = f"what {PURPOSES[one.section]} cannot also be what {PURPOSES[other.section]}"
        shared = _shared_prompts(one.suite, other.suite)
        if prompts := [(first.text, second.text) for first, second in shared if second.kind != "caption"]:
            first, second = min(prompts)
            example = f"'{first}'" if first == second else f"'{first}' and '{second}'"
            count = "1 prompt" if len(prompts) == 1 else f"{len(prompts)} prompts"
            found.append(
                f"the suites {one.suite.name} ({one.section}.suite) and {other.suite.name} ({other.section}.suite) "
                f"share {count}, such as {example}: {why}"
            )
        for caption, text in sorted(
            {(second.text, first.text) for first, second in shared if second.kind == "caption"}
        ):
            found.append(
                f"'{caption}' is the caption of a training photo, which {other.section}.suite ({other.suite.name}) "
                f"draws, and {one.section}.suite ({one.suite.name}) asks for '{text}': {why}; say one of them in other "
                "words"
            )
        if both := sorted(set(one.seeds) & set(other.seeds)):
            found.append(
                f"{one.section}.seeds and {other.section}.seeds share {', '.join(map(str, both))}: take others, {why}"
            )
    return found


def _shared_prompts(one: Suite, other: Suite) -> list[tuple[Prompt, Prompt]]:
    """The prompts of `one` that ask for what a prompt of `other` asks for, each with that of `other`."""
    there: dict[str, Prompt] = {}
    for read in (lambda prompt: prompt.text, lambda prompt: prompt.twin):
        for prompt in sorted(other.prompts, key=lambda prompt: prompt.kind == "caption"):
            there.setdefault(plain_words(read(prompt)), prompt)
    found = []
    for prompt in one.prompts:
        for words in (plain_words(prompt.text), plain_words(prompt.twin)):
            if words in there:
                found.append((prompt, there[words]))
                break
    return found


def suite_of(section: str, params: Params, captions: Sequence[str]) -> Suite:
    """The suite that a section of params.yaml uses (a key of `PURPOSES`), where all suites that decide can be used.

    Args:
        captions: of the training photos.

    Raises:
        SuiteError: a suite cannot be used, or two of them share prompts or seeds.
    """
    uses, problems = deciding_suites(params, captions)
    if problems:
        raise SuiteError("\n".join(problems))
    return next(use.suite for use in uses if use.section == section)


def deciding_suites(params: Params, captions: Sequence[str] = ()) -> tuple[list[Use], list[str]]:
    """The suites that decide something in a run, with their seeds, the one that judges last; and what is wrong.

    Args:
        captions: of the training photos; the suite that judges takes some of them.

    Returns:
        The suites that can be used; a sentence for each that cannot, and for what two of them share.
    """
    sections: dict[str, Select | Tune | Sample] = {
        "select": params.select,
        "tune": params.tune,
        "sample": params.sample,
    }
    if not params.tune.pictures:
        del sections["tune"]
    uses, problems = [], []
    for name, section in sections.items():
        try:
            suite = load_suite(section.suite, params.subject, captions if name == "sample" else ())
        except UserError as error:
            problems.append(f"{name}.suite: {error}")
        else:
            uses.append(Use(name, suite, section.seeds))
    return uses, problems + shared_between(uses) + [*_trained_on(uses, params)]


def _trained_on(uses: Sequence[Use], params: Params) -> Iterator[str]:
    """What a suite asks for although the subject is put there for the training: nothing new would be asked for."""
    placed = {}
    for words in params.prior.places.prompts if params.prior.places.images else ():
        caption = params.placed_caption(words)
        twin = twin_of(caption, name_pattern(params.subject), params.subject.class_noun)
        placed[plain_words(twin)] = words, caption
    for use in uses:
        for prompt in use.suite.prompts:
            if prompt.kind != "subject" or (found := placed.get(plain_words(prompt.twin))) is None:
                continue
            words, caption = found
            yield (
                f"prior.places: '{words}' makes the caption '{caption}', and the suite {use.suite.name} "
                f"({use.section}.suite) asks for '{prompt.text}': what is trained on cannot be judged by; say it in "
                "other words"
            )
