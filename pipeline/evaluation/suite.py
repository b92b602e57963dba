"""Suites: the frozen lists of prompts that a model is judged on."""

import hashlib
import itertools
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UserError, all_problems
from pipeline.files import digest_value, read_json
from pipeline.params import Params, Sample, Select, Subject, Tune, Whole, explain_problems, has_word, word_pattern
from pipeline.yaml_files import YamlError, read_yaml

BUILT_IN = Path(__file__).parent / "suites"
FROZEN = BUILT_IN / "frozen.json"
FIELDS = {"subject", "token", "class", "animal"}
Kind = Literal["subject", "probe", "caption"]
COMPLEX = "complex"  # the group of prompts that have three factors or more
NO_SUBJECT = "no subject"  # the group of probes that ask for something else
WORDING = "wording"  # a group whose name begins with this word says one meaning in several ways
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
    ask for things of the subject's class. Of the training photos' `captions` the
    suite takes as many as it asks for, in an order that depends on nothing but their words.

    Raises:
        SuiteError: no such suite, a built-in one that was changed, not of the right form, a {field} that is unknown or
            not well written, a subject prompt without the token, a probe with it, or the same prompt twice.
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
    found = [
        *_prompts(raw.prompts, "subject", subject, problems),
        *_prompts(raw.probes, "probe", subject, problems),
        *_captions(captions, raw.training_captions, subject),
    ]
    texts = [prompt.text for prompt in found]
    problems += [f"'{text}' is listed twice" for text in sorted(set(texts)) if texts.count(text) > 1]
    if not any(prompt.kind == "subject" for prompt in found):
        problems.append("there is no prompt of the subject")
    if problems:
        raise SuiteError(all_problems(str(path), problems))
    styles = {style: tuple(words) for style, words in raw.styles.items()}
    return Suite(path.stem, tuple(_with_style(prompt, styles) for prompt in found), styles)


PURPOSES = {"select": "chooses a checkpoint", "tune": "searches a recipe", "sample": "judges"}


@dataclass(frozen=True)
class Use:
    """A suite with its seeds, and the section of params.yaml that uses it (a key of `PURPOSES`)."""

    section: str
    suite: Suite
    seeds: Sequence[int]


def shared_between(uses: Sequence[Use]) -> list[str]:
    """What suites share although what chooses cannot also judge: a sentence for each pair's prompts and seeds.

    Prompts are shared where their texts or their twins are alike but for case, white space and punctuation: 'a photo of
    TOKEN NOUN in a garden', 'a photo of TOKEN in a garden' and 'a photo of a NOUN in a garden' ask for one picture.
    """
    found = []
    for one, other in itertools.combinations(uses, 2):
        why = f"what {PURPOSES[one.section]} cannot also be what {PURPOSES[other.section]}"
        if shared := _shared_prompts(one.suite, other.suite):
            first, second = min(shared)
            example = f"'{first}'" if first == second else f"'{first}' and '{second}'"
            count = "1 prompt" if len(shared) == 1 else f"{len(shared)} prompts"
            found.append(
                f"the suites {one.suite.name} ({one.section}.suite) and {other.suite.name} ({other.section}.suite) "
                f"share {count}, such as {example}: {why}"
            )
        if both := sorted(set(one.seeds) & set(other.seeds)):
            found.append(
                f"{one.section}.seeds and {other.section}.seeds share {', '.join(map(str, both))}: take others, {why}"
            )
    return found


def _shared_prompts(one: Suite, other: Suite) -> list[tuple[str, str]]:
    """The texts of the prompts of `one` that ask for what a prompt of `other` asks for, each with the text of that."""
    there = {_plain_words(prompt.twin): prompt.text for prompt in other.prompts}
    there |= {_plain_words(prompt.text): prompt.text for prompt in other.prompts}
    found = []
    for prompt in one.prompts:
        for words in (_plain_words(prompt.text), _plain_words(prompt.twin)):
            if words in there:
                found.append((prompt.text, there[words]))
                break
    return found


def _plain_words(text: str) -> str:
    """A prompt's words in lower case, one space between them and no punctuation."""
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


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
        placed[_plain_words(_without_token(caption, params.subject))] = words, caption
    for use in uses:
        for prompt in use.suite.prompts:
            if prompt.kind == "probe" or (found := placed.get(_plain_words(prompt.twin))) is None:
                continue
            words, caption = found
            yield (
                f"prior.places: '{words}' makes the caption '{caption}', and the suite {use.suite.name} "
                f"({use.section}.suite) asks for '{prompt.text}': what is trained on cannot be judged by; say it in "
                "other words"
            )


def frozen_digest(path: Path) -> str:
    """sha256 of a suite's file without its comments and layout."""
    return digest_value(read_yaml(path))


def _prompts(
    groups: dict[str, list[str]], kind: Literal["subject", "probe"], subject: Subject, problems: list[str]
) -> Iterable[Prompt]:
    noun = subject.class_noun
    named = {"subject": f"{subject.token} {noun}", "token": subject.token, "class": noun}
    plain = {"subject": _with_article(noun), "token": _with_article(noun), "class": noun}
    number = 0
    for group, templates in groups.items():
        for template in templates:
            number += 1
            fields = _fields(template)
            problem = _unusable(fields, kind)
            if fields is None or problem:
                problems.append(f"{'prompts' if kind == 'subject' else 'probes'}.{group}: '{template}' {problem}")
                continue
            if "animal" in fields and subject.animal is None:
                continue
            animal = {"animal": subject.animal or ""}
            worded = _articles(template, {"class": noun, **animal})
            if group == NO_SUBJECT and has_word(worded.format(**named, **animal), noun):
                continue
            yield Prompt(
                id=f"{'p' if kind == 'subject' else 'q'}{number:02d}",
                group=group,
                kind=kind,
                text=worded.format(**named, **animal),
                twin=_one_article(worded).format(**plain, **animal),
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


def _captions(captions: Sequence[str], wanted: int, subject: Subject) -> Iterable[Prompt]:
    ordered = sorted(set(captions), key=lambda text: hashlib.sha256(text.encode()).digest())
    for number, text in enumerate(ordered[:wanted], start=1):
        yield Prompt(f"c{number:02d}", "training captions", "caption", text, _without_token(text, subject))


def _without_token(text: str, subject: Subject) -> str:
    noun = _with_article(subject.class_noun)
    for name in (f"{subject.token} {subject.class_noun}", subject.token):
        text = word_pattern(name).sub(lambda _: noun, text)
    return text


def _with_style(prompt: Prompt, styles: dict[str, tuple[str, ...]]) -> Prompt:
    """The longest words that stand in the prompt decide."""
    found = [(len(word), style) for style, words in styles.items() for word in words if word in prompt.text]
    return Prompt(**{**asdict(prompt), "style": max(found)[1]}) if found else prompt


def _one_article(template: str) -> str:
    """'a red {subject}' and 'a {subject}' have their article; it must not come twice in the twin."""
    words = template.split(" ")
    for at, word in enumerate(words):
        if word not in ("{subject}", "{token}"):
            continue
        before = words[max(0, at - 3) : at]
        if any(other in ("a", "an") for other in before) and "of" not in before[-1:]:
            words[at] = "{class}"
    return " ".join(words)


def _articles(template: str, nouns: dict[str, str]) -> str:
    """'a {class}' becomes 'an {class}' where its noun wants that."""
    for name, noun in nouns.items():
        if noun and noun[0].lower() in "aeiou":
            template = re.sub(rf"\ba \{{{name}\}}", f"an {{{name}}}", template)
    return template


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"
