"""What the forms on Prefect's pages offer: fields that both of its pages can show, and limits that hold for forms only.

A run that a deployment starts may be anybody's who knows the password: it works in the worker's repository, and takes
photos from the places that prefect.yaml names. Programs that call the flows may choose freely.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from prefect.runtime import deployment, flow_run
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import UserError
from pipeline.params import NOUN, WORD, Subject
from pipeline.runs.choices import Choices, ProfileName
from pipeline.runs.repository import check_repository

AS_COMMITTED: Literal["as committed"] = "as committed"
ProfileChoice = Literal["as committed", ProfileName]
Overrides = dict[str, Any]
EMPTY = "^$|"
PLACES = "photo_places"  # in prefect.yaml, under `definitions`
HIDDEN = {"source", "runs", "workspace", "force"}  # of programs; no form has them


class FormRefused(UserError):
    """A form asks for something that is not offered."""


class SubjectChoice(BaseModel):
    """Another subject than the committed one; all fields empty: the committed one."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(pattern=EMPTY + WORD, description="a word that means nothing yet")] = ""
    class_noun: Annotated[str, Field(pattern=EMPTY + NOUN, max_length=80, description="what kind of thing it is")] = ""
    name: Annotated[str, Field(pattern=EMPTY + WORD, description="of the model; empty: the token")] = ""
    animal: Annotated[
        str, Field(pattern=EMPTY + NOUN, max_length=80, description="the real animal that a toy depicts; empty: none")
    ] = ""

    def subject(self) -> Subject | None:
        """The subject that was asked for, or None.

        Raises:
            FormRefused: token or class noun are missing.
        """
        if not any((self.token, self.class_noun, self.name, self.animal)):
            return None
        if not (self.token and self.class_noun):
            raise FormRefused("subject: give token and class_noun, or leave all of it empty")
        name, animal = self.name or self.token, self.animal or None
        return Subject(name=name, token=self.token, class_noun=self.class_noun, animal=animal)


def choices_of(
    subject: SubjectChoice | None, profile: str | None, overrides: Mapping[str, Any] | None, photos: str = ""
) -> Choices:
    """What a form asks for.

    Raises:
        FormRefused: half a subject.
    """
    chosen = subject.subject() if subject is not None else None
    preset = None if profile in (None, AS_COMMITTED) else profile
    return Choices(preset, chosen, dict(overrides or {}), "" if photos == AS_COMMITTED else photos)


def form_of(choices: Choices) -> dict[str, Any]:
    """What a form asks for where these are its choices: the reverse of `choices_of`."""
    subject = choices.subject.model_dump() if choices.subject else {}
    return {
        "subject": SubjectChoice(**{name: value or "" for name, value in subject.items()}),
        "profile": choices.profile or AS_COMMITTED,
        "overrides": dict(choices.overrides),
        "photos": choices.photos or AS_COMMITTED,
    }


def photo_places(repository: Path) -> list[str]:
    """The folders and prefixes that forms may name, as prefect.yaml lists them."""
    file = repository / "prefect.yaml"
    found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return [str(place) for place in (found.get("definitions") or {}).get(PLACES) or []]


def is_form() -> bool:
    """Whether a deployment started this flow run itself: somebody's form, or a schedule."""
    return deployment.id is not None and flow_run.get_parent_flow_run_id() is None


def check_form(repository: Path, photos: str = "", hidden: Iterable[Any] = ()) -> None:
    """Refuse what no form offers, where the run comes from a form; its schema can be switched off there.

    Args:
        photos: the place that is asked for.
        hidden: parameters of programs that are not what they are by default.

    Raises:
        OtherRepository: the job was deployed from another repository.
        FormRefused: photos from elsewhere, or a parameter that forms do not have.
    """
    if not is_form():
        return
    check_repository(repository, deployment.version)
    if any(hidden):
        raise FormRefused(f"{', '.join(sorted(HIDDEN))} cannot be set by a form")
    places = photo_places(repository)
    if photos not in ("", AS_COMMITTED, *places):
        raise FormRefused(
            f"photos come from {', '.join(places) or 'the commit'} only: add '{photos}' to {PLACES} in prefect.yaml"
        )


def finish_schema(schema: dict[str, Any], places: list[str]) -> dict[str, Any]:
    """A form's schema without the fields of programs, with the places of photos as a list, and closed."""
    fields = {name: dict(field) for name, field in schema["properties"].items() if name not in HIDDEN}
    if "photos" in fields:
        default = fields["photos"].get("default")
        fields["photos"]["enum"] = [*([AS_COMMITTED] if default == AS_COMMITTED else []), *places]
    required = [name for name in schema.get("required", []) if name in fields]
    return {**schema, "properties": fields, "required": required, "additionalProperties": False}
