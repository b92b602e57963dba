"""Suites: the frozen lists of prompts that a model is judged on."""

import hashlib
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UserError, all_problems
from pipeline.evaluation.twins import article, name_pattern, twin_of
from pipeline.files import digest_value, read_json
from pipeline.params import Subject, Whole, explain_problems, has_word
from pipeline.yaml_files import YamlError, read_yaml

BUILT_IN = Path(__file__).parent / "suites"
FROZEN = BUILT_IN / "frozen.json"
FIELDS = {"subject", "token", "class", "animal"}
Kind = Literal["subject", "probe", "caption"]
COMPLEX = "complex"  # the group of prompts that have three factors or more
NO_SUBJECT = "no subject"  # the group of probes that ask for something else
WORDING = "wording"  # a group whose name begins with this word says one meaning in several ways
STYLE = "style"  # the group of prompts whose pictures are asked for their style
CAPTIONS = "training captions"  # the group of the captions of training photos
TAKEN = {
    "all": "every figure over all prompts has that name",
    CAPTIONS: "captions of training photos are counted there",
}
MARK = "\ue000"  # stands for the subject's name while a prompt is put together; no text has it
Text = Annotated[str, Field(min_length=1)]


class SuiteError(UserError):
    """A suite cannot be used; the message lists what is wrong."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompts: dict[str, list[Text]]
    probes: dict[str, list[Text]] = {}
    styles: dict[str, Annotated[list[Text], Field(min_length=1)]] = {}
    training_captions: Annotated[Whole, Field(ge=0)] = 0


@dataclass(frozen=True)
class Prompt:
    """One line of a suite, for one subject.

    A subject prompt has a `text` with the token, drawn by the tuned model, and a `twin` without it, drawn by the
    base; of a probe both are the same. A prompt of kind 'caption' is the caption of a training photo. `style` is the
    style that its words ask for ('' where the suite names none), `form` says how the subject is named.
    """

    id: str
    group: str
    kind: Kind
    text: str
    twin: str
    style: str = ""
    form: Literal["token", "token and class noun", ""] = ""


def noise_of(prompt_id: str, seed: int) -> int:
    """The seed of the noise that a picture starts from, for one of a suite's `seeds`; the same for all models.

    Every prompt has noises of its own. Pictures from one noise are alike in layout, whatever they are asked for: drawn
    with the same few noises, all prompts would have their luck in common, of which intervals over prompts know nothing.
    """
    return int.from_bytes(hashlib.sha256(f"{prompt_id} {seed}".encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class Suite:
    """The prompts for one subject; `styles` names each style's words, the first ones are shown to people."""

    name: str
    prompts: tuple[Prompt, ...]
    styles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over all prompts as they are drawn, and the styles' words."""
        return digest_value(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """Prompts and styles as plain values: what `digest` covers, and what an evaluation keeps of its suite."""
        return {
            "prompts": [asdict(prompt) for prompt in self.prompts],
            "styles": {style: list(words) for style, words in self.styles.items()},
        }


def is_wording(group: str) -> bool:
    """Whether the prompts of a group are paraphrases of one meaning."""
    return group.split(" ", maxsplit=1)[0] == WORDING


def said_again(prompts: Iterable[tuple[str, str, str]]) -> list[list[str]]:
    """The paraphrases of each meaning, two or more of them, that name the subject alike.

    What the form of the name does to success is the figure `name_forms`, and would count as wording here.

    Args:
        prompts: group, form of the name and id of each prompt.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for group, form, prompt in prompts:
        if is_wording(group):
            found.setdefault((group, form), []).append(prompt)
    return [alike for alike in found.values() if len(alike) > 1]


def part_of(suite: Suite, count: int) -> Suite:
    """The first `count` prompts, taking turns among the groups."""
    return replace(suite, prompts=tuple(_in_turns(suite.prompts)[:count]))


def _in_turns(prompts: Sequence[Prompt]) -> list[Prompt]:
    places: dict[str, int] = {}
    ranked = []
    for index, prompt in enumerate(prompts):
        place = places[prompt.group] = places.get(prompt.group, -1) + 1
        ranked.append((place, index, prompt))
    return [prompt for _, _, prompt in sorted(ranked, key=lambda item: item[:2])]


def suite_path(name: str) -> Path:
    """The file of a built-in suite, or the path that `name` is."""
    built_in = BUILT_IN / f"{name}.yaml"
    if built_in.is_file():
        return built_in
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))
    raise SuiteError(f"the suite '{name}' is neither built in ({known}) nor a YAML file here")


def load_suite(name: str, subject: Subject, captions: Sequence[str] = ()) -> Suite:
    """Read a suite and put the subject's words into it.

    Prompts that speak of {animal} are left out where the subject has none, and probes of the group 'no subject' that
    ask for things of the subject's class, or for its animal. Of the training photos' `captions` the suite takes as many
    as it asks for, in an order that depends on nothing but their words; those that are among its prompts it leaves out.

    Raises:
        SuiteError: no such suite, a built-in one that was changed, not of the right form, a {field} that is unknown or
            not well written, a subject prompt without the token, a probe with it, the same prompt twice, a group with a
            name that the figures need, or a prompt of the group 'style' that names none of the suite's styles.
    """
    path = suite_path(name)
    try:
        written = read_yaml(path)
    except YamlError as error:
        raise SuiteError(str(error)) from None
    if not isinstance(written, dict):
        raise SuiteError(f"{path} is not a suite: it needs `prompts:` with groups, found {type(written).__name__}")
    try:
        raw = _File.model_validate(written)
    except ValidationError as error:
        raise SuiteError(all_problems(f"the suite {path}", explain_problems(error))) from None
    if path.parent == BUILT_IN and frozen_digest(path) != read_json(FROZEN).get(path.stem):
        raise SuiteError(
            f"{path} was changed, but built-in suites are frozen, so that figures stay comparable: "
            "undo the change, and keep your prompts in a YAML file of your own"
        )
    problems: list[str] = []
    styles = {style: tuple(words) for style, words in raw.styles.items()}
    asked = [*_prompts(raw.prompts, "subject", subject, problems), *_prompts(raw.probes, "probe", subject, problems)]
    texts = [prompt.text for prompt in asked]
    problems += [f"'{text}' is listed twice" for text in sorted(set(texts)) if texts.count(text) > 1]
    problems += [
        f"{section}.{group}: no group can be named so, since {TAKEN[group]}; give it another name"
        for section, groups in (("prompts", raw.prompts), ("probes", raw.probes))
        for group in groups
        if group in TAKEN
    ]
    if not any(prompt.kind == "subject" for prompt in asked):
        problems.append("there is no prompt of the subject")
    found = [
        _with_style(prompt, styles) for prompt in [*asked, *_captions(captions, raw.training_captions, subject, asked)]
    ]
    problems += _without_style(found, styles)
    if problems:
        raise SuiteError(all_problems(str(path), problems))
    return Suite(path.stem, tuple(found), styles)


def plain_words(text: str) -> str:
    """A prompt's words in lower case, one space between them and no punctuation."""
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def frozen_digest(path: Path) -> str:
    """sha256 of a suite's file without its comments and layout."""
    return digest_value(read_yaml(path))


def _prompts(
    groups: dict[str, list[str]], kind: Literal["subject", "probe"], subject: Subject, problems: list[str]
) -> Iterable[Prompt]:
    noun, animal = subject.class_noun, subject.animal
    things = {"class": noun, "animal": animal or ""}
    named = {"subject": f"{subject.token} {noun}", "token": subject.token, **things}
    marked = {"subject": MARK, "token": MARK, **things}
    number = 0
    for group, templates in groups.items():
        for template in templates:
            number += 1
            fields = _fields(template)
            problem = _unusable(fields, kind)
            if fields is None or problem:
                problems.append(f"{'prompts' if kind == 'subject' else 'probes'}.{group}: '{template}' {problem}")
                continue
            if "animal" in fields and animal is None:
                continue
            worded = _articles(template, things)
            text = worded.format(**named)
            if group == NO_SUBJECT and any(has_word(text, thing) for thing in (noun, animal) if thing):
                continue
            yield Prompt(
                id=f"{'p' if kind == 'subject' else 'q'}{number:02d}",
                group=group,
                kind=kind,
                text=text,
                twin=twin_of(worded.format(**marked), re.compile(MARK), noun),
                form="token and class noun" if "subject" in fields else "token" if "token" in fields else "",
            )


def _fields(template: str) -> set[str] | None:
    """The names in braces; None where they are not well written."""
    try:
        found = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError:
        return None
    return None if any(spec or how for _, spec, how in found) else {name for name, _, _ in found}


def _unusable(fields: set[str] | None, kind: Literal["subject", "probe"]) -> str:
    """What is wrong with a template of these fields; '' where nothing is."""
    if fields is None:
        return "has braces that name no field: write {subject} and the like, and {{ and }} for braces themselves"
    if unknown := fields - FIELDS:
        return f"has unknown fields {sorted(unknown)}; known are {sorted(FIELDS)}"
    if (kind == "subject") != bool(fields & {"subject", "token"}):
        return f"{'lacks' if kind == 'subject' else 'must not have'} {{subject}} or {{token}}"
    return ""


def _captions(captions: Sequence[str], wanted: int, subject: Subject, asked: Sequence[Prompt]) -> Iterable[Prompt]:
    """As many captions as are wanted, none of which is one of the prompts that are `asked` anyway."""
    known = {plain_words(prompt.text) for prompt in asked}
    ordered = sorted(set(captions), key=lambda text: hashlib.sha256(text.encode()).digest())
    others = [text for text in ordered if plain_words(text) not in known]
    for number, text in enumerate(others[:wanted], start=1):
        twin = twin_of(text, name_pattern(subject), subject.class_noun)
        yield Prompt(f"c{number:02d}", CAPTIONS, "caption", text, twin)


def _with_style(prompt: Prompt, styles: dict[str, tuple[str, ...]]) -> Prompt:
    """The longest words that stand in the prompt, whatever their case, decide."""
    found = [(len(word), style) for style, words in styles.items() for word in words if has_word(prompt.text, word)]
    return replace(prompt, style=max(found)[1]) if found else prompt


def _without_style(prompts: Sequence[Prompt], styles: dict[str, tuple[str, ...]]) -> list[str]:
    """A problem for each prompt of the group 'style' that names none: the figure `style` would not count it."""
    words = ", ".join(f"'{each[0]}'" for each in styles.values())
    return [
        f"prompts.{STYLE}: '{prompt.text}' has the words of none of the suite's styles ({words} and others under "
        "`styles`): write them in it, or move it to another group"
        for prompt in prompts
        if styles and (prompt.kind, prompt.group, prompt.style) == ("subject", STYLE, "")
    ]


def _articles(template: str, nouns: dict[str, str]) -> str:
    """'a {class}' becomes 'an {class}' where its noun wants that."""
    for name, noun in nouns.items():
        if article(noun) == "an":
            template = re.sub(rf"\ba \{{{name}\}}", f"an {{{name}}}", template)
    return template
