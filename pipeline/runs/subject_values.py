"""Another subject in the values of params.yaml, with the comments of the file kept."""

import io
import re
from collections.abc import Mapping
from typing import Any

from pipeline.params import Subject, has_word

PROMPTS = ("prior", "preview")  # sections whose prompts name the subject or its class


def rename_prompts(prompts: list[str], old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Prompts with the words of another subject: its token, its class noun and the article before it.

    Args:
        old: `token` and `class_noun` as the prompts have them.
        new: those that take their place.
    """
    words = {old[key]: new[key] for key in ("class_noun", "token")}
    names = "|".join(re.escape(word) for word in words)
    pattern = re.compile(rf"(?<!\w)(?P<article>[Aa]n? )?(?P<name>{names})(?!\w)")

    def renamed(match: re.Match[str]) -> str:
        word, article = words[match["name"]], match["article"] or ""
        if article and match["name"] != word:
            article = f"{article[0]}{'n' * (word[0].lower() in 'aeiou')} "
        return article + word

    return [pattern.sub(renamed, prompt) for prompt in prompts]


def put_subject(values: dict[str, Any], subject: Subject, thresholds: Mapping[str, Any]) -> None:
    """Another subject: its words in the prompts, its words to start the token from, its own registered model.

    Without an animal the gate of the animal is off: nothing could measure it, and what is not measured does not pass.
    Places that name the new subject are left out: they would not be empty of it.

    Args:
        thresholds: of the gates in the preset; one that the old subject left nothing to measure for gets its own back.
    """
    old, before = values["subject"], measurable(values)
    for section in PROMPTS:
        _set_prompts(values[section], rename_prompts(values[section]["prompts"], old, subject.model_dump()))
    if subject.class_noun != old["class_noun"] or subject.token != old["token"]:
        values["train"]["token"]["start_from"] = subject.class_noun
    if subject.name != old["name"]:
        values["register"].update(model=subject.name, experiment=subject.name)
    places = (values["prior"].get("places") or {}).get("prompts") or {}
    for words in [words for words, prompt in places.items() if names_subject(f"{words} {prompt}", subject)]:
        del places[words]
    old.update(subject.model_dump())
    switch_gates(values, before, thresholds)


def names_subject(text: str, subject: Subject) -> bool:
    """Whether a text has the token or the class noun of a subject as words of their own."""
    return has_word(text, subject.token) or has_word(text, subject.class_noun)


def measurable(values: Mapping[str, Any]) -> dict[str, bool]:
    """The gates that not every subject leaves something to measure for, and whether this one does."""
    return {"animal": values["subject"]["animal"] is not None, "train_gap": values["prepare"]["heldout"] > 0}


def switch_gates(values: dict[str, Any], before: Mapping[str, bool], thresholds: Mapping[str, Any]) -> None:
    """Switch off the gates that a subject leaves nothing to measure for: left on, they could never pass.

    Those that were off because nothing could be measured, and now can, get the threshold of the preset again. One that
    somebody switched off although it could be measured stays off.

    Args:
        before: `measurable` of the values before the subject, or its photos, were others.
        thresholds: of the gates in the preset.
    """
    for gate, can_be in measurable(values).items():
        if not can_be:
            values["gates"][gate] = None
        elif values["gates"][gate] is None and not before[gate]:
            values["gates"][gate] = thresholds[gate]


def carry_subject(values: dict[str, Any], before: Mapping[str, Any], presets: list[Mapping[str, Any]]) -> None:
    """Put the subject of the parameters `before` into those of a preset.

    Name, token, class noun and animal, model and experiment, the words that the token starts from (no more than it has
    vectors, where it has several), the photos held out, and prompts where they are a person's own and not a preset's.

    Args:
        presets: the values of all presets.
    """
    subject, thresholds = Subject.model_validate(before["subject"]), dict(values["gates"])
    can_be = measurable(values)
    put_subject(values, subject, thresholds)
    for section in PROMPTS:
        prompts = list(before[section]["prompts"])
        given = [rename_prompts(one[section]["prompts"], one["subject"], before["subject"]) for one in presets]
        if prompts not in given:
            _set_prompts(values[section], prompts)
    values["register"].update({key: before["register"][key] for key in ("model", "experiment")})
    words, token = before["train"]["token"]["start_from"].split(), values["train"]["token"]
    token["start_from"] = " ".join(words[-token["vectors"] :] if token["vectors"] > 1 else words)
    values["prepare"]["heldout"] = before["prepare"]["heldout"]
    if before["prepare"].get("always_heldout"):
        values["prepare"]["always_heldout"] = list(before["prepare"]["always_heldout"])
    switch_gates(values, can_be, thresholds)


def _set_prompts(section: Any, prompts: list[str]) -> None:
    """In place, one by one, where there are as many: a list that is read with its comments keeps them."""
    known = section["prompts"]
    if len(known) == len(prompts):
        for index, prompt in enumerate(prompts):
            known[index] = prompt
    else:
        section["prompts"] = prompts


def read_commented(text: str) -> Any:
    """The values of a params.yaml that is known to be one; `write_commented` gives its comments back."""
    return _yaml().load(text)


def write_commented(values: Any) -> str:
    """What `read_commented` read and somebody changed, with the comments where they were."""
    text = io.StringIO()
    _yaml().dump(values, text)
    return text.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Plain(RoundTripRepresenter):
        """Writes null where the value is None, as the presets do."""

    Plain.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))
    found = YAML()
    found.Representer = Plain
    found.preserve_quotes = True
    found.width = 4096
    found.indent(mapping=2, sequence=4, offset=2)
    return found
