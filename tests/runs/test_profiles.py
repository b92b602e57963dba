"""A preset takes over the subject that is there, and comments stay where they are."""

from pathlib import Path

import pytest
import yaml

from pipeline.params import Subject, load_params
from pipeline.runs.profiles import FOLDER, profiles, use_profile
from pipeline.runs.subject_values import put_subject, read_commented, rename_prompts, write_commented

SUBJECT = Subject(name="getwell-bear", token="gtwlb", class_noun="owl", animal=None)


def own_params(target: Path, profile: str = "pocket") -> Path:
    values = read_commented((FOLDER / f"{profile}.yaml").read_text())
    put_subject(values, SUBJECT, dict(values["gates"]))
    values["train"]["token"]["start_from"] = "small brown owl"
    values["prepare"]["heldout"] = 2
    target.write_text(write_commented(values))
    return target


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("name", [profile.name for profile in profiles()])
def test_comments_and_nulls_are_written_as_they_were(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert write_commented(read_commented(text)) == text


def test_a_profile_takes_the_subject_over(tmp_path: Path) -> None:
    target = own_params(tmp_path / "params.yaml")
    mine = target.read_text()
    used = use_profile("thesis", target)
    assert (used.kept, used.subject) == (tmp_path / "params.before-1.yaml", "getwell-bear")
    assert (tmp_path / "params.before-1.yaml").read_text() == mine
    params = load_params(target)
    assert params.subject == SUBJECT
    assert (params.register_.model, params.register_.experiment) == ("getwell-bear", "getwell-bear")
    assert (params.prepare.heldout, params.train.token.start_from, params.train.steps) == (2, "small brown owl", 1600)
    assert "mysks" not in target.read_text().partition("preview:")[0].replace("such as mysks", "")
    assert params.prior.prompts[0] == "a photo of an owl"
    assert all("gtwlb" in prompt or "owl" in prompt for prompt in params.preview.prompts)
    assert comments(target.read_text()) == comments((FOLDER / "thesis.yaml").read_text())
    values = yaml.safe_load(target.read_text())
    values["train"]["token"]["start_from"] = "a very small brown owl"
    target.write_text(yaml.safe_dump(values))
    use_profile("pocket", target)
    assert load_params(target).train.token.start_from == "small brown owl"  # three vectors, three words


def test_prompts_of_a_person_s_own_are_carried_and_those_of_a_preset_are_not(tmp_path: Path) -> None:
    target = own_params(tmp_path / "params.yaml")
    values = yaml.safe_load(target.read_text())
    values["preview"]["prompts"] = ["gtwlb owl on the moon"]
    target.write_text(yaml.safe_dump(values))
    use_profile("thesis", target)
    params = load_params(target)
    assert params.preview.prompts == ["gtwlb owl on the moon"]
    assert len(params.prior.prompts) == len(load_params(FOLDER / "thesis.yaml").prior.prompts)


def test_parameters_with_mistakes_are_kept_and_said_to_be_lost(tmp_path: Path) -> None:
    target = own_params(tmp_path / "params.yaml")
    target.write_text(target.read_text().replace("steps: 340", "steps: many"))
    used = use_profile("thesis", target)
    assert used.kept is not None and "many" in used.kept.read_text()
    assert used.subject is None and "has 1 problem" in str(used.unread)
    assert target.read_text() == (FOLDER / "thesis.yaml").read_text()


def test_articles_follow_the_noun() -> None:
    old = {"token": "mysks", "class_noun": "plush toy"}
    prompts = ["a photo of a plush toy", "An owl and a plush toy", "a mysks plush toy", "A plush toy"]
    found = rename_prompts(prompts, old, {"token": "gtwlb", "class_noun": "owl"})
    assert found == ["a photo of an owl", "An owl and an owl", "a gtwlb owl", "An owl"]
