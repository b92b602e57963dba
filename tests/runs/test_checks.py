"""What `dreamtrace params check` finds before a run starts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.params import ParamsError, load_params, parse_params
from pipeline.runs.checks import check_run, gate_warnings
from pipeline.runs.subject_values import switch_off_gates
from tests.workspace import ROOT


def problems(workspace: Path, values: dict[str, Any], **changes: Any) -> list[str]:
    for name, value in changes.items():
        inner: Any = values
        *sections, last = name.split("__")
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return check_run(workspace, parse_params(values, "params.yaml"))


def test_the_tests_own_parameters_are_fine(project: Callable[..., Path], values: dict[str, Any]) -> None:
    assert problems(project(), values) == []


@pytest.mark.parametrize(
    ("section", "key", "value", "gate"),
    [
        ("subject", "animal", None, "animal"),
        ("prepare", "heldout", 0, "train_gap"),
        ("evaluate", "copies", None, "copies"),
        ("evaluate", "copies", None, "caption_copies"),
        ("evaluate", "perceptual", None, "diversity"),
        ("sample", "seeds", [1], "diversity"),
        ("sample", "suite", "pocket", "wording"),
        ("sample", "suite", "dreambench", "complex"),
    ],
)
def test_a_gate_that_can_never_pass_is_named(
    values: dict[str, Any], section: str, key: str, value: Any, gate: str
) -> None:
    values["gates"] = dict.fromkeys(values["gates"])
    values["gates"][gate] = 0.5
    values["subject"]["animal"], values["evaluate"]["copies"] = "wild boar", "pixels"
    values["evaluate"]["perceptual"] = "scorer"
    values["prepare"]["heldout"], values["sample"]["seeds"] = 1, [1, 2]
    values["sample"]["suite"] = "pocket-hard"
    assert gate_warnings(parse_params(values, "params.yaml")) == []
    values[section][key] = value
    (warning,) = gate_warnings(parse_params(values, "params.yaml"))
    assert warning.startswith(f"gates.{gate} is on")
    values["gates"][gate] = None
    assert gate_warnings(parse_params(values, "params.yaml")) == []


def test_photos_that_are_always_held_out_are_not_where_none_is(values: dict[str, Any]) -> None:
    values["gates"] = {**dict.fromkeys(values["gates"]), "train_gap": 0.5}
    values["prepare"] |= {"heldout": 0, "always_heldout": ["photo1.jpg"]}
    (warning,) = gate_warnings(parse_params(values, "params.yaml"))
    assert warning.startswith("gates.train_gap is on, but no photos are held out (prepare.heldout is 0)")
    switch_off_gates(values)
    assert values["gates"]["train_gap"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample__suite": "nosuch"}, "sample.suite: "),
        ({"select__suite": "./nowhere.yaml"}, "select.suite: "),
        ({"select__seeds": [1, 31]}, "share 1"),
        ({"evaluate__copies": "./judges/nowhere"}, "evaluate.copies"),
        ({"evaluate__perceptual": "/nowhere"}, "evaluate.perceptual"),
        ({"base__model": "./nowhere"}, "no such folder"),
        ({"preview__prompts": ["a photo of another toy"]}, "preview.prompts: none names the token"),
        ({"prepare__heldout": 3}, "3 of 5 photos held out leave 2 to train on"),
        ({"prepare__heldout": 9}, "9 of 5 photos held out leave 0"),
        ({"train__method": "dreambooth-lora", "train__lora__targets": ["to_q", "nosuch"]}, "ends in 'nosuch'"),
        ({"train__method": "dreambooth-lora", "train__lora__targets": ["to_out"]}, "ends in 'to_out'"),
        ({"train__token__vectors": 2, "train__token__start_from": "a striped brown pig"}, "4 words for 2 vectors"),
    ],
)
def test_a_late_mistake_is_found_early(
    project: Callable[..., Path], values: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    found = problems(project(), values, **changes)
    assert len(found) == 1, found
    assert words in found[0]


def test_all_mistakes_are_told_at_once(project: Callable[..., Path], values: dict[str, Any]) -> None:
    found = problems(project(), values, sample__suite="nosuch", prepare__heldout=9, base__model="./nowhere")
    assert len(found) == 3


@pytest.mark.parametrize("alias", ["v1", "latest", "champion", "previous-champion"])
def test_aliases_that_others_own_are_refused(values: dict[str, Any], alias: str) -> None:
    values["register"]["alias"] = alias
    with pytest.raises(ParamsError, match="cannot be set here"):
        parse_params(values, "params.yaml")


@pytest.mark.parametrize("prompt", ["a photo of mysks, a plush toy", "MYSKS plush toy"])
def test_the_token_in_a_class_prompt_is_found_in_any_spelling(values: dict[str, Any], prompt: str) -> None:
    values["prior"]["prompts"] = [prompt]
    with pytest.raises(ParamsError, match="must not name the placeholder token"):
        parse_params(values, "params.yaml")


def test_the_class_is_a_word_of_its_own(values: dict[str, Any]) -> None:
    values["subject"]["class_noun"] = "cat"
    values["prior"]["prompts"] = ["a photo of a cathedral"]
    with pytest.raises(ParamsError, match="must name the class 'cat'"):
        parse_params(values, "params.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject:\n  name: a\n  name: b\n", "line 3 .*'name' stands twice"),
        ("subject:\n\tname: a\n", "line 2 .*not with tabs"),
        ("a: [1, 2\n", "line 2"),
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_yaml_that_is_not_what_it_seems_is_named_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=words):
        load_params(tmp_path / "params.yaml")


def test_other_encodings_are_read_or_named(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8-sig")
    assert load_params(path).subject.token == "mysks"
    path.write_bytes(b"subject: {name: caf\xe9}\n")
    with pytest.raises(ParamsError, match=r"is not UTF-8 text \(byte 0xe9\)"):
        load_params(path)


def test_a_name_with_a_space_is_refused_in_plain_words(values: dict[str, Any]) -> None:
    values["subject"]["name"] = "getwell bear"
    values["train"]["steps"] = "many"
    with pytest.raises(ParamsError) as caught:
        parse_params(values, "params.yaml")
    assert "no spaces, found 'getwell bear'" in str(caught.value)
    assert "train.steps: must be a whole number, found 'many'" in str(caught.value)


def test_what_stages_read_has_to_be_written(project: Callable[..., Path], values: dict[str, Any]) -> None:
    workspace = project()
    shutil.copy(ROOT / "dvc.yaml", workspace)
    assert check_run(workspace, load_params(workspace / "params.yaml")) == []
    written = yaml.safe_load((workspace / "params.yaml").read_text())
    del written["tune"]
    (workspace / "params.yaml").write_text(yaml.safe_dump(written))
    (problem,) = check_run(workspace, load_params(workspace / "params.yaml"))
    assert problem.startswith("params.yaml leaves out ")
    assert "tune.pictures" in problem


def test_a_folder_in_which_mlflow_can_open_no_database_is_known_before_a_run(
    project: Callable[..., Path], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = project()
    odd = workspace.rename(workspace.parent / f"100% {workspace.name}")
    monkeypatch.chdir(odd)
    (problem,) = problems(odd, values)
    assert "rename the folder" in problem


@pytest.mark.parametrize("content", ["", "stages:\n", "- a list", "plots: []\n", "stages: [\n"])
def test_a_dvc_yaml_without_stages_is_left_to_dvc(
    project: Callable[..., Path], values: dict[str, Any], content: str
) -> None:
    workspace = project()
    (workspace / "dvc.yaml").write_text(content)
    assert problems(workspace, values) == []
