"""Suites: the frozen lists of prompts that a model is judged on."""

import string
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UserError
from pipeline.files import digest_value
from pipeline.params import Subject

BUILT_IN = Path(__file__).parent / "suites"
FIELDS = {"subject", "token", "class"}


class SuiteError(UserError):
    """A suite cannot be used; the message lists what is wrong."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompts: dict[str, list[str]]
    probes: dict[str, list[str]] = {}


@dataclass(frozen=True)
class Prompt:
    """One line of a suite, for one subject.

    A subject prompt has a `text` with the token, drawn by the tuned model, and a `twin` without it, drawn by the
    base; of a probe both are the same.
    """

    id: str
    group: str
    kind: Literal["subject", "probe"]
    text: str
    twin: str


@dataclass(frozen=True)
class Suite:
    name: str
    prompts: tuple[Prompt, ...]

    @property
    def digest(self) -> str:
        """sha256 over all prompts as they are drawn."""
        return digest_value([asdict(prompt) for prompt in self.prompts])


def suite_path(name: str) -> Path:
    """The file of a built-in suite, or the path that `name` is."""
    built_in = BUILT_IN / f"{name}.yaml"
    if built_in.is_file():
        return built_in
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))
    raise SuiteError(f"sample.suite is '{name}', which is neither a suite ({known}) nor a YAML file here")


def load_suite(name: str, subject: Subject) -> Suite:
    """Read a suite and put the subject's words into it.

    Raises:
        SuiteError: no such suite, not of the right form, an unknown {field}, a subject prompt without the token, a
            probe with it, or the same prompt twice.
    """
    path = suite_path(name)
    try:
        raw = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise SuiteError(f"{path} is not a suite: {error}") from None
    problems: list[str] = []
    found = [
        *_prompts(raw.prompts, "subject", subject, problems),
        *_prompts(raw.probes, "probe", subject, problems),
    ]
    texts = [prompt.text for prompt in found]
    problems += [f"'{text}' stands there twice" for text in sorted(set(texts)) if texts.count(text) > 1]
    if not any(prompt.kind == "subject" for prompt in found):
        problems.append("there is no prompt of the subject")
    if problems:
        raise SuiteError(f"{path} has {len(problems)} problems:\n" + "\n".join(f"  {line}" for line in problems))
    return Suite(path.stem, tuple(found))


def _prompts(
    groups: dict[str, list[str]], kind: Literal["subject", "probe"], subject: Subject, problems: list[str]
) -> Iterable[Prompt]:
    named = {"subject": f"{subject.token} {subject.class_noun}", "token": subject.token, "class": subject.class_noun}
    plain = {"subject": _with_article(subject.class_noun), "token": _with_article(subject.class_noun)}
    plain["class"] = subject.class_noun
    number = 0
    for group, templates in groups.items():
        for template in templates:
            number += 1
            fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
            if unknown := fields - FIELDS:
                problems.append(f"'{template}' has unknown fields {sorted(unknown)}; known are {sorted(FIELDS)}")
                continue
            if (kind == "subject") != bool(fields & {"subject", "token"}):
                problems.append(
                    f"'{template}' {'lacks' if kind == 'subject' else 'must not have'} {{subject}} or {{token}}"
                )
                continue
            letter = "p" if kind == "subject" else "q"
            yield Prompt(
                id=f"{letter}{number:02d}",
                group=group,
                kind=kind,
                text=template.format(**named),
                twin=template.format(**plain),
            )


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"
