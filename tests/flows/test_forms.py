"""What a form may ask for, and how it becomes the choices of a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import get_args
from unittest.mock import MagicMock

import pytest
from pydantic import ValidationError

from flows import forms, promote
from flows.deployment_forms import finish_forms
from flows.forms import AS_COMMITTED, FormRefused, ProfileChoice, SubjectChoice, check_form, choices_of, finish_schema
from pipeline.params import Subject
from pipeline.runs.profiles import profiles
from pipeline.runs.repository import CHANGED, OtherRepository, version_of
from tests.workspace import git

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def from_a_form(monkeypatch, tmp_path: Path) -> Path:
    """As within a run that a deployment started; a repository with one place of photos."""
    monkeypatch.setattr(forms, "deployment", SimpleNamespace(id="x", version="unknown"))
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(get_parent_flow_run_id=lambda: None))
    (tmp_path / "prefect.yaml").write_text("definitions: {photo_places: [s3://bucket/bear]}\n")
    return tmp_path


def test_the_list_of_profiles_is_that_of_the_files() -> None:
    assert sorted(get_args(ProfileChoice)) == sorted([AS_COMMITTED, *(profile.name for profile in profiles())])


def test_an_empty_form_changes_nothing() -> None:
    found = choices_of(SubjectChoice(), AS_COMMITTED, {}, AS_COMMITTED)
    assert (found.profile, found.subject, found.overrides, found.photos) == (None, None, {}, "")


def test_a_subject_needs_its_token_and_its_class() -> None:
    wanted = Subject(name="gtwlb", token="gtwlb", class_noun="owl", animal=None)
    assert SubjectChoice(token="gtwlb", class_noun="owl").subject() == wanted
    for half in ({"token": "gtwlb"}, {"class_noun": "owl"}, {"name": "bear"}):
        with pytest.raises(FormRefused, match="give token and class_noun"):
            SubjectChoice(**half).subject()
    with pytest.raises(ValidationError):
        SubjectChoice(token="two words", class_noun="owl")


def test_a_form_takes_photos_from_the_places_that_are_named_and_sets_nothing_else(from_a_form: Path) -> None:
    for photos in ("", AS_COMMITTED, "s3://bucket/bear"):
        check_form(from_a_form, photos)
    with pytest.raises(FormRefused, match="photos come from s3://bucket/bear only"):
        check_form(from_a_form, "/home/ann")
    with pytest.raises(FormRefused, match="cannot be set by a form"):
        check_form(from_a_form, hidden=(False, "/elsewhere"))


def test_a_form_cannot_promote_without_asking_a_person(from_a_form: Path, monkeypatch) -> None:
    monkeypatch.setattr(promote, "check_form", lambda *_, **__: None)
    with pytest.raises(FormRefused, match="a form asks a person"):
        promote.promote.fn("models:/mysks/1", ask=False)


def test_programs_and_runs_within_runs_choose_freely(from_a_form: Path, monkeypatch) -> None:
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(get_parent_flow_run_id=lambda: "of compare"))
    check_form(from_a_form, "/home/ann", (True,))
    monkeypatch.setattr(forms, "deployment", SimpleNamespace(id=None))
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(get_parent_flow_run_id=lambda: None))
    check_form(from_a_form, "/home/ann", (True,))


def test_a_job_of_another_repository_is_refused(from_a_form: Path, monkeypatch, tmp_path: Path) -> None:
    ours, other = from_a_form, tmp_path / "other"
    other.mkdir()
    for folder in (ours, other):
        git(folder, "init", "-q")
        git(folder, "commit", "-q", "--allow-empty", "-m", f"the first of {folder}")
    for version in (version_of(ours), f"{version_of(ours)}{CHANGED}", "unknown", None):
        monkeypatch.setattr(forms, "deployment", SimpleNamespace(id="x", version=version))
        check_form(ours)
    for version in (version_of(other), f"{version_of(other)}{CHANGED}"):
        monkeypatch.setattr(forms, "deployment", SimpleNamespace(id="x", version=version))
        with pytest.raises(OtherRepository, match=rf"commit {version_of(other)}.*belongs to another repository"):
            check_form(ours)
    monkeypatch.setattr(forms, "deployment", SimpleNamespace(id=None, version=version_of(other)))
    check_form(ours)  # no deployment: somebody called the flow here


def test_the_forms_of_another_project_s_deployments_are_left_alone(monkeypatch) -> None:
    schema = {"type": "object", "properties": {"runs": {"type": "integer"}}}
    ours = SimpleNamespace(id=1, name="promote", entrypoint="flows/promote.py:promote", enforce_parameter_schema=False)
    theirs = SimpleNamespace(**{**vars(ours), "id": 2, "entrypoint": "etl/jobs.py:promote"})
    ours.parameter_openapi_schema = theirs.parameter_openapi_schema = schema
    client = MagicMock()
    client.__enter__.return_value.read_deployments.return_value = [ours, theirs]
    monkeypatch.setattr("flows.deployment_forms.get_client", lambda **_: client)
    assert finish_forms(ROOT) == 1
    assert [call.args[0] for call in client.__enter__.return_value.update_deployment.call_args_list] == [1]


def test_finishing_a_schema_twice_is_finishing_it_once() -> None:
    schema = {
        "type": "object",
        "properties": {"photos": {"default": AS_COMMITTED}, "source": {}, "name": {}},
        "required": ["source", "name"],
    }
    once = finish_schema(schema, ["data"])
    assert once["properties"] == {"photos": {"default": AS_COMMITTED, "enum": [AS_COMMITTED, "data"]}, "name": {}}
    assert (once["required"], once["additionalProperties"]) == (["name"], False)
    assert finish_schema(once, ["data"]) == once
