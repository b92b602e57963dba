"""A model and its card on a stand-in of the hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.base.components import load_pipeline
from pipeline.commands.errors import CommandError
from pipeline.commands.push_to_hub import _read, push_to_hub
from pipeline.layout import EVALUATION
from pipeline.registry.hub_card import hub_card
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request
from pipeline.storage.hub import HubError, HubSilent, push_folder
from tests.services.hub import Hub, stand_in_hub

PHOTO = {"source": "secret-place.jpg", "caption": "a photo of mysks plush toy at my home", "split": "train"}
DRAW = {"steps": 20, "guidance": 4.0, "scheduler": "ddim"}
LINEAGE: dict[str, Any] = {
    "subject": {"token": "mysks", "class_noun": "plush toy"},
    "base": {"model": "a/base", "revision": "f" * 40, "license": "CreativeML Open RAIL-M"},
    "photos": {"files": [PHOTO, {**PHOTO, "split": "heldout"}]},
    "code": {"commit": "c" * 40},
    "weights": {"content_digest": "d" * 64},
    "params": {"prepare": {"size": 64}, "sample": {"draw": DRAW}, "train": {
        "method": "dreambooth-lora", "steps": 5, "batch": 2, "gradient_accumulation": 2, "learning_rate": 1e-4,
        "optimizer": "adamw", "precision": "bf16", "seed": 1,
    }},
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with stand_in_hub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        yield found


def push(hub: Hub, model: Path, name: str = "me/mysks", **changes: Any) -> str:
    settings = {"card": "# card\n", "private": True, "with_record": False, **changes}
    return push_folder(model, name, endpoint=hub.address, **settings)


def test_a_model_is_uploaded_once_without_the_record(hub: Hub, tiny_base: Path, tmp_path: Path) -> None:
    (model := tmp_path / "model").symlink_to(tiny_base)
    address = push(hub, model)
    assert address.startswith(f"{hub.address}/me/mysks/commit/")
    files = hub.repositories["me/mysks"]
    expected = {
        path.relative_to(tiny_base).as_posix(): path.read_bytes() for path in tiny_base.rglob("*") if path.is_file()
    }
    assert files == {**expected, "README.md": b"# card\n"}
    assert hub.private["me/mysks"]
    uploads = hub.uploads
    push(hub, model)
    assert hub.uploads == uploads == 3  # the weights of U-Net, VAE and text encoder were there


def test_the_record_comes_along_when_asked_for(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text("{}")
    (tmp_path / "model_index.json").write_text("{}")
    push(hub, tmp_path)
    assert set(hub.repositories["me/mysks"]) == {"README.md", "model_index.json"}
    push(hub, tmp_path, with_record=True, private=False)
    assert "lineage.json" in hub.repositories["me/mysks"]
    assert hub.private["me/mysks"]  # it was there, and stays as it is


def test_what_the_hub_refuses_is_one_sentence(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(HubError, match="write OWNER/NAME"):
        push(hub, tmp_path, "not a name")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match="hf auth login"):
        push(hub, tmp_path)
    with pytest.raises(HubSilent, match="run the same command again"):
        push_folder(tmp_path, "me/x", "card", True, False, endpoint="http://127.0.0.1:1")


def test_the_card_says_where_the_model_comes_from_and_names_no_photo() -> None:
    gate = {"gate": "likeness", "verdict": "passed", "reason": "", "value": 0.5, "low": 0.4, "high": 0.6,
            "threshold": 0.3, "direction": "at least"}  # fmt: skip
    card = hub_card(LINEAGE, {"verdict": {"sentence": "Fit for promotion."}, "gates": [gate]}, "me/mysks")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "license": "creativeml-openrail-m",
        "tags": ["stable-diffusion", "text-to-image", "dreambooth", "dreamtrace", "lora"],
        "instance_prompt": "mysks plush toy",
        "base_model": "a/base",
    }
    assert "2 photos of one subject, 1 of them held out" in body
    assert "| likeness | passed | 0.5000 | 0.4000 to 0.6000 | at least 0.3 |" in body
    assert not any(word in card for word in ("secret-place", "my home"))
    local = {**LINEAGE, "base": {"model": "/home/me/base", "revision": None, "license": None}}
    front = yaml.safe_load(hub_card(local, None, "me/mysks").split("---\n")[1])
    assert "base_model" not in front and "/home" not in hub_card(local, None, "me/mysks")
    beside = {**LINEAGE, "base": {"model": "bases/mine", "revision": None, "license": None}}
    assert "base_model" not in yaml.safe_load(hub_card(beside, None, "me/mysks").split("---\n")[1])
    files = dict.fromkeys(("learned.json", "embeddings/mysks.safetensors", "adapters/kohya.safetensors"), "")
    apart = hub_card({**LINEAGE, "files": files}, None, "me/mysks")
    assert 'pipe.load_textual_inversion(model, subfolder="embeddings", weight_name="mysks.safetensors")' in apart
    assert 'pipe.load_lora_weights(model, subfolder="adapters", weight_name="kohya.safetensors")' in apart
    assert "load_lora_weights" not in card
    assert front["license"] == "other"


def test_a_share_that_an_older_version_judged_without_doubt_has_no_bounds_on_the_card() -> None:
    gate = {"gate": "success", "verdict": "passed", "reason": "", "value": 1.0, "low": 1.0, "high": 1.0,
            "threshold": 0.5, "direction": "at least"}  # fmt: skip
    card = hub_card(LINEAGE, {"verdict": {"sentence": "Fit for promotion."}, "gates": [gate]}, "me/mysks")
    assert "| success | passed | 1.0000 | no interval known | at least 0.5 |" in card


def test_the_code_of_the_card_draws_as_the_model_is_drawn(tmp_path: Path, monkeypatch) -> None:
    base = Path("pocket/model").resolve()
    recipe = Recipe(template='{prompt}, a "soft" light', negative="a dog", rescale=0.5, steps=2, scheduler="dpmpp-2m")
    small = {**LINEAGE["params"], "prepare": {"size": None}}
    card = hub_card({**LINEAGE, "params": small}, None, str(base), recipe)
    assert "so, too" not in card and "`recipe.yaml` says how it is drawn" in card
    beyond = hub_card(LINEAGE, None, "me/mysks", recipe.model_copy(update={"strength": 0.5, "avoid": "a boar"}))
    assert "The code above does so, too, but for: avoid, strength." in beyond
    assert "recipe.yaml" not in hub_card(LINEAGE, None, "me/mysks")
    monkeypatch.chdir(tmp_path)
    code = card.split("```python\n")[1].split("```")[0]
    seeded = code.replace("pipe(prompt, ", "pipe(prompt, generator=torch.Generator().manual_seed(3), ")
    exec(seeded, {})
    sampler = RecipeSampler(load_pipeline(base, torch.float32, "cpu"), "ddim", recipe, Words("mysks", "plush toy"))
    wanted = Request("a watercolor painting of mysks plush toy", 3)
    (expected,) = sampler.draw([wanted], 20, 4.0, 64, 1)
    with Image.open("drawn.png") as drawn:
        difference = np.abs(np.asarray(drawn, int) - np.asarray(expected, int))
    assert difference.max() <= 2  # batches of other shapes round differently


def test_another_model_in_the_same_repository_leaves_nothing_of_the_one_before(hub: Hub, tmp_path: Path) -> None:
    for name in ("first/adapters/a.safetensors", "first/model_index.json", "first/lineage.json", "second/unet/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    push(hub, tmp_path / "first", with_record=True, recipe="steps: 3\n")
    files = hub.repositories["me/mysks"]
    assert files["recipe.yaml"] == b"steps: 3\n"
    files["examples/mine.png"] = b"a picture of the owner's"
    push(hub, tmp_path / "second")
    assert set(files) == {"README.md", "unet/b.txt", "examples/mine.png"}


def test_the_command_pushes_a_model_folder_with_its_card(hub: Hub, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "lineage.json").write_text(json.dumps({"format": 1, **LINEAGE}))
    (tmp_path / "model" / "model_index.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / EVALUATION.name).write_text('{"verdict": {"sentence": "Fit."}, "gates": []}')
    assert _read(tmp_path / EVALUATION.name, "x")["gates"] == []  # all that a card needs, whatever else is lacking
    for damaged in ("{", "[]", '{"verdict": 1, "gates": []}', '{"verdict": {"sentence": ""}}'):
        (tmp_path / EVALUATION.name).write_text(damaged)
        with pytest.raises(CommandError, match="the evaluation of x cannot be read"):
            _read(tmp_path / EVALUATION.name, "x")
    push_to_hub("model", "me/mysks", public=True)
    assert "model is at http://127.0.0.1" in capsys.readouterr().out
    assert set(hub.repositories["me/mysks"]) == {"README.md", "model_index.json"}
    assert b"It was not judged." in hub.repositories["me/mysks"]["README.md"]
    assert not hub.private["me/mysks"]


def test_a_withdrawal_after_the_first_look_stops_the_upload(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "lineage.json").write_text(json.dumps({"format": 1, **LINEAGE}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    answers = iter([None, "its owner asked"])
    monkeypatch.setattr("pipeline.registry.withdrawal_state.withdrawal_of", lambda *_: next(answers))
    with pytest.raises(CommandError, match="model was withdrawn: its owner asked"):
        push_to_hub("model", "me/mysks")
    assert "me/mysks" not in hub.repositories
