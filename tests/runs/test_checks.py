"""What `dreamtrace params check` finds before a run starts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline.evaluation.suite import suite_path
from pipeline.params import ParamsError, load_params, parse_params
from pipeline.runs.checks import check_run, gate_warnings
from pipeline.runs.subject_values import measurable, switch_gates
from pipeline.runs.token_name import numbered
from pipeline.training import distributed
from tests.workspace import ROOT

KNOWN_WORD = {  # a token that the tiny base has a row for
    "subject__token": "toy",
    "subject__class_noun": "bear",
    "prior__prompts": ["a photo of a bear"],
    "preview__prompts": ["a photo of toy bear"],
}


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
    ("token", "fine"), [("mysks_1", False), ("my_s_12", False), ("mysks1", True), ("my_sks", True)]
)
def test_a_token_that_looks_like_a_further_vector_of_another_one_is_named(
    project: Callable[..., Path], values: dict[str, Any], token: str, fine: bool
) -> None:
    assert (numbered(token) is None) == fine
    found = problems(project(), values, subject__token=token)
    told = any(one.startswith(f"subject.token '{token}' ends in an underscore and a number") for one in found)
    assert told != fine


def test_what_moves_a_u_net_that_is_not_trained_is_named(project: Callable[..., Path], values: dict[str, Any]) -> None:
    workspace = project()
    values["recipe"] = {"strength": 0.5}
    assert problems(workspace, values) == []
    found = problems(workspace, values, train__method="textual-inversion")
    assert any("strength: does nothing: the U-Net of the model is the base's" in one for one in found)
    values["recipe"] = {}
    found = problems(workspace, values, tune__pictures=1000, tune__parts=["strength", "layout"])
    assert any(one.startswith("tune.parts: strength, layout changes nothing here") for one in found)


def test_a_prompt_of_the_suite_that_a_recipe_with_weights_cannot_read_is_named(
    project: Callable[..., Path], values: dict[str, Any]
) -> None:
    workspace, suite = project(), suite_path("pocket").read_text()
    values["recipe"] = {"template": "({prompt}:1.2)", "weights": True}
    assert problems(workspace, values) == []
    (workspace / "wide.yaml").write_text(suite.replace("{subject}, studio lighting", "{subject} (16:9)"))
    found = problems(workspace, values, sample__suite=str(workspace / "wide.yaml"))
    assert any("sample.suite asks for " in one and "looks like a weight and is none" in one for one in found)


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
        ("sample", "seeds", [1], "wording"),
        ("sample", "suite", "dreambench", "complex"),
        ("sample", "suite", "pocket-hard", "caption_copies"),
        ("sample", "suite", "dreambench", "style"),
        ("sample", "suite", "dreambench", "style_leak"),
        ("sample", "suite", "dreambench", "name_forms"),
    ],
)
def test_a_gate_that_can_never_pass_is_named(
    values: dict[str, Any], tmp_path: Path, section: str, key: str, value: Any, gate: str
) -> None:
    (tmp_path / "all.yaml").write_text(f"{suite_path('pocket-hard').read_text()}\ntraining_captions: 4\n")
    values["gates"] = dict.fromkeys(values["gates"])
    values["gates"][gate] = 0.5
    values["subject"]["animal"], values["evaluate"]["copies"] = "wild boar", "pixels"
    values["evaluate"]["perceptual"] = "scorer"
    values["prepare"]["heldout"], values["sample"]["seeds"] = 1, [1, 2]
    values["sample"]["suite"] = str(tmp_path / "all.yaml")
    assert gate_warnings(parse_params(values, "params.yaml")) == []
    values[section][key] = value
    (warning,) = gate_warnings(parse_params(values, "params.yaml"))
    assert warning.startswith(f"gates.{gate} is on")
    values["gates"][gate] = None
    assert gate_warnings(parse_params(values, "params.yaml")) == []


@pytest.mark.parametrize(
    ("suite", "gate", "words"),
    [
        ("prompts: {scene: ['a photo of {token}']}", "likeness", "has one prompt of the subject"),
        (
            "prompts: {scene: ['a {subject}', 'the {subject}']}",
            "class_as_subject",
            "has no probes of the group 'class'",
        ),
        ("prompts: {scene: ['a {subject}']}\nprobes: {class: ['a {class}']}", "class_likeness", "has one probe of the"),
        ("prompts: {scene: ['a {subject}']}\nprobes: {class: ['a {class}']}", "class_as_subject", ""),
        ("prompts: {scene: ['a {subject}']}", "subject_free", "has no probes of the group 'no subject'"),
        (
            "prompts: {scene: ['a {subject}']}\nstyles: {photo: [photo], ink: [ink]}",
            "style",
            "prompts of the group 'st",
        ),
        ("prompts: {scene: ['a {subject}']}\nstyles: {photo: [photo], ink: [ink]}", "style_leak", "asks for no photo"),
        ("prompts: {scene: ['photo of {token}']}\nstyles: {photo: [photo], ink: [ink]}", "style_leak", ""),
    ],
)
def test_a_gate_for_which_the_suite_asks_too_little_is_named(
    values: dict[str, Any], tmp_path: Path, suite: str, gate: str, words: str
) -> None:
    (tmp_path / "own.yaml").write_text(suite)
    values["gates"] = {**dict.fromkeys(values["gates"]), gate: 0.5}
    values["sample"]["suite"] = str(tmp_path / "own.yaml")
    found = gate_warnings(parse_params(values, "params.yaml"))
    assert len(found) == bool(words) and all(f"gates.{gate} is on" in one and words in one for one in found)


def test_a_control_gate_over_a_suite_of_one_prompt_is_named(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("prompts: {scene: ['a photo of {token}']}")
    values["gates"] = {**dict.fromkeys(values["gates"]), "control": 0.5}
    values["sample"] |= {"suite": "pocket", "control": {"kind": "edges", "adapter": "base"}}
    assert gate_warnings(parse_params(values, "params.yaml")) == []
    values["sample"]["suite"] = str(tmp_path / "one.yaml")
    (warning,) = gate_warnings(parse_params(values, "params.yaml"))
    assert warning.startswith("gates.control is on, but one prompt of the subject alone can follow a shape")


@pytest.mark.parametrize("animal", ["plush toy", "Plush Toy"])
def test_an_animal_that_is_the_class_noun_is_refused(values: dict[str, Any], animal: str) -> None:
    values["subject"]["animal"] = animal
    with pytest.raises(ParamsError, match=f"subject.animal: '{animal}' is the class noun, too; .* null"):
        parse_params(values, "params.yaml")


def test_a_line_that_no_copy_can_pass_is_refused(values: dict[str, Any]) -> None:
    values["evaluate"]["copies_above"] = 1.0
    with pytest.raises(ParamsError, match=r"evaluate\.copies_above: "):
        parse_params(values, "params.yaml")


def test_photos_that_are_always_held_out_are_not_where_none_is(values: dict[str, Any]) -> None:
    values["gates"] = {**dict.fromkeys(values["gates"]), "train_gap": 0.5}
    values["prepare"] |= {"heldout": 0, "always_heldout": ["photo1.jpg"]}
    (warning,) = gate_warnings(parse_params(values, "params.yaml"))
    assert warning.startswith("gates.train_gap is on, but no photos are held out (prepare.heldout is 0)")
    switch_gates(values, before := measurable(values), {"animal": 0.2, "train_gap": 0.5})
    assert values["gates"]["train_gap"] is None
    values["prepare"]["heldout"] = 1  # more photos came
    switch_gates(values, before, {"animal": 0.2, "train_gap": 0.5})
    assert values["gates"]["train_gap"] == 0.5


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
        ({"prepare__heldout": 3}, "holding out 3 of 5 photos leaves 2 to train on"),
        ({"prepare__heldout": 9}, "9 of 5 photos leaves 0"),
        (
            {"prepare__heldout": 1, "prepare__always_heldout": ["photo1.jpg", "PHOTO2.jpg", "gone.jpg"]},
            "prepare.always_heldout: holding out 2 of 5 photos leaves 3",
        ),
        ({"train__method": "dreambooth-lora", "train__lora__targets": ["to_q", "nosuch"]}, "ends in 'nosuch'"),
        ({"train__method": "dreambooth-lora", "train__lora__targets": ["to_out"]}, "ends in 'to_out'"),
        ({"train__method": "dreambooth-lora", "train__lora__targets": ["0"]}, "'0' ends the names of other parts"),
        ({"train__precision": "fp16"}, "train.precision is fp16, which needs a GPU"),
        (KNOWN_WORD, "subject.token 'toy' is already a word"),
        ({"train__token__vectors": 2, "train__token__start_from": "a striped brown pig"}, "4 words for 2 vectors"),
    ],
)
def test_a_late_mistake_is_found_early(
    project: Callable[..., Path], values: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    found = problems(project(), values, **changes)
    assert len(found) == 1, found
    assert words in found[0]


@pytest.fixture
def cached(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny base in the hub's cache as owner/name, without a network."""
    cache, commit = tmp_path / "hub", "0" * 40
    folder = Path(shutil.copytree(tiny_base, cache / "models--owner--name" / "snapshots" / commit))
    (cache / "models--owner--name" / "refs").mkdir()
    (cache / "models--owner--name" / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_a_base_in_the_cache_is_looked_at_as_one_in_a_folder(
    project: Callable[..., Path], values: dict[str, Any], cached: Path
) -> None:
    workspace, base = project(), {"base__model": "owner/name", "base__revision": None}
    assert problems(workspace, values, **base) == []
    lora = {"train__method": "dreambooth-lora", "train__lora__targets": ["to_qq"]}
    (problem,) = problems(workspace, values, **base, **lora)
    assert "ends in 'to_qq'" in problem
    values["train"]["method"] = "dreambooth"
    (problem,) = problems(workspace, values, **base, **KNOWN_WORD)
    assert "is already a word" in problem
    (cached / "learned.json").write_text("{}")
    (problem,) = problems(workspace, values, **base)
    assert problem.startswith("base.model 'owner/name' cannot be used: it is a model that dreamtrace trained")


def test_a_gpu_that_torch_cannot_use_is_told_early(
    project: Callable[..., Path], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "trains_on_gpu", lambda: False)
    monkeypatch.setattr(distributed, "_unused_gpus", lambda: ["a GPU"])
    (problem,) = problems(project(), values, train__precision="bf16")
    assert problem.startswith("this machine has a GPU (a GPU), but torch")


def test_masks_that_the_crop_leaves_black_are_told_early_where_the_background_weighs_nothing(
    project: Callable[..., Path], values: dict[str, Any]
) -> None:
    workspace = project(photos=5)
    (workspace / "data" / "masks").mkdir()
    for index in range(5):
        mask = Image.new("L", (80, 64), 0)
        mask.paste(255, (0, 0, 6, 64) if index == 2 else (20, 0, 60, 64))  # the centre is kept
        mask.save(workspace / "data" / "masks" / f"photo{index}.png")
    more = {"prepare__heldout": 0, "gates": dict.fromkeys(values["gates"])}
    assert problems(workspace, values, train__background_weight=0.5, **more) == []
    (problem,) = problems(workspace, values, train__background_weight=0.0, **more)
    assert "the masks of 1 photo show no subject after the crop: photo2.jpg" in problem


@pytest.mark.parametrize("betas", [[1.0, 0.999], [0.9, 1.0], [-0.1, 0.9]])
def test_betas_that_no_optimizer_takes_are_refused(values: dict[str, Any], betas: list[float]) -> None:
    values["train"]["betas"] = betas
    with pytest.raises(ParamsError, match=r"train\.betas"):
        parse_params(values, "params.yaml")


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
