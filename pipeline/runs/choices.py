"""What a person chooses for a run, in a form or on the command line: profile, subject, single parameters, photos."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from pipeline.errors import UserError
from pipeline.params import Params, Subject, parse_params
from pipeline.runs.profiles import preset_thresholds
from pipeline.runs.subject_values import put_subject

ProfileName = Literal["pocket", "sd15-fast", "sd15-lora", "thesis"]  # the files of profiles/


class UnknownParameter(UserError):
    """There is no parameter of that name."""


@dataclass(frozen=True)
class Choices:
    """What differs from the params.yaml of a commit; what is not chosen stays."""

    profile: str | None = None
    subject: Subject | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    photos: str = ""


def chosen_values(values: Mapping[str, Any], choices: Choices, source: str) -> dict[str, Any]:
    """The values of params.yaml (or of the chosen profile, which the caller has read) with subject and overrides.

    Raises:
        UnknownParameter: an override names no parameter.
        ParamsError: the parameters do not fit together; `source` names them.
    """
    found = deepcopy(dict(values))
    if choices.subject is not None:
        before = parse_params(found, source)
        put_subject(found, choices.subject, preset_thresholds(before.base.model))
    unknown = [name for name, value in choices.overrides.items() if not _put(found, name, value)]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        raise UnknownParameter(f"{source} has no parameter {names} to override")
    parse_params(found, f"{source} as chosen")
    return found


def _put(values: dict[str, Any], name: str, value: Any) -> bool:
    """Set one value by its dotted name; False where there is none of that name."""
    *sections, last = name.split(".")
    inner: Any = values
    for section in sections:
        inner = inner.get(section) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not (last in inner or _is_optional(sections, last)):
        return False
    inner[last] = value
    return True


def _is_optional(sections: list[str], name: str) -> bool:
    """Whether a section has a parameter of this name that params.yaml may leave out."""
    model: Any = Params
    for section in sections:
        fields = getattr(model, "model_fields", {})
        found = next((field for key, field in fields.items() if section in (key, field.alias)), None)
        model = found.annotation if found is not None else None
    field = getattr(model, "model_fields", {}).get(name)
    return field is not None and not field.is_required()


def read_values(text: str) -> dict[str, Any]:
    """The values of a params.yaml that is known to be one."""
    return dict(yaml.safe_load(text) or {})
