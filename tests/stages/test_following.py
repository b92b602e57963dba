"""`sample.control` in the stages `sample` and `evaluate`, on the tiny base with an adapter of random weights."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageDraw

from pipeline import layout
from pipeline.base.resolve import BaseNotFound
from pipeline.evaluation.judged_pictures import SamplesError
from pipeline.evaluation.suite import load_suite
from pipeline.files import read_json, read_jsonl, write_jsonl
from pipeline.params import SampleControl, load_params
from pipeline.photos.manifest import read_manifest
from pipeline.runs.checks import check_run
from pipeline.stages import evaluate, sample, tune
from pipeline.stages.asked_shapes import asked_shapes


@pytest.fixture
def controlled(copy: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished workspace whose photos have masks, with an adapter, and params that ask for drawings after edges."""
    monkeypatch.chdir(copy)
    rows = read_jsonl(copy / layout.MANIFEST)
    (copy / layout.PREPARED / "masks").mkdir(exist_ok=True)
    for number, one in enumerate(rows):
        mask = Image.new("L", tuple(one["size"]), 0)
        ImageDraw.Draw(mask).ellipse((4 + number, 4, 20 + number, 28), fill=255)
        one["mask"] = f"masks/{Path(one['file']).name}"
        mask.save(copy / layout.PREPARED / one["mask"])
    write_jsonl(copy / layout.MANIFEST, rows)
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    with torch.no_grad():
        for part in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
            torch.nn.init.normal_(part.weight, std=0.2)
    net.save_pretrained(copy / "adapter")
    ask(copy, {"kind": "edges", "adapter": "adapter", "prompts": 4})
    return copy


def ask(workspace: Path, wanted: dict | None, **gates: float) -> None:
    values = yaml.safe_load((workspace / layout.PARAMS).read_text())
    values["sample"]["control"] = wanted
    values["gates"] |= gates
    (workspace / layout.PARAMS).write_text(yaml.safe_dump(values, sort_keys=False))


def run(workspace: Path, *stages) -> None:
    for stage in stages:
        stage.run(workspace, load_params(workspace / layout.PARAMS))


def test_prompts_are_drawn_after_the_shapes_of_photos_and_judged(controlled: Path) -> None:
    run(controlled, sample)
    rows = read_jsonl(controlled / layout.FOLLOWED)
    trained = {row["file"] for row in read_jsonl(controlled / layout.MANIFEST) if row["split"] == "train"}
    seeds = load_params(controlled / layout.PARAMS).sample.seeds
    assert len({row["prompt_id"] for row in rows}) * len(seeds) == len(rows)
    assert {row["photo"] for row in rows} <= trained and len({row["photo"] for row in rows}) > 1
    for row in rows:
        drawn = (controlled / layout.SAMPLES / row["path"]).read_bytes()
        free = (controlled / layout.SAMPLES / "tuned" / f"{row['prompt_id']}-{row['seed']}.png").read_bytes()
        assert drawn != free
    ask(controlled, {"kind": "edges", "adapter": "adapter", "prompts": 4}, control=0.0, control_cost=1.0)
    run(controlled, evaluate)
    evaluation = read_json(controlled / layout.EVALUATION)
    assert evaluation["control"]["kind"] == "edges" and len(evaluation["control"]["digest"]) == 64
    assert len(evaluation["control"]["pictures"]) == len(rows)
    gates = {gate["gate"]: gate for gate in evaluation["gates"]}
    assert gates["control"]["verdict"] == "passed" and gates["control"]["value"] is not None
    page = (controlled / layout.REPORT_PAGE).read_text()
    assert "Drawn after shapes" in page
    assert (controlled / layout.REPORT / "control" / Path(rows[0]["path"]).name).is_file()
    before = {row["path"]: row["sha256"] for row in rows}
    run(controlled, sample)
    assert {row["path"]: row["sha256"] for row in read_jsonl(controlled / layout.FOLLOWED)} == before


@pytest.mark.parametrize("fault", ["drawing", "shape", "scale", "prompts", "list", "row", "mask"])
def test_drawings_that_are_not_those_asked_for_are_not_judged(controlled: Path, fault: str) -> None:
    run(controlled, sample)
    row = read_jsonl(controlled / layout.FOLLOWED)[0]
    if fault in ("drawing", "shape"):
        Image.new("RGB", (32, 32)).save(controlled / layout.SAMPLES / row["path" if fault == "drawing" else "shape"])
    elif fault == "list":
        (controlled / layout.FOLLOWED).unlink()
    elif fault == "row":
        write_jsonl(controlled / layout.FOLLOWED, [{"prompt_id": row["prompt_id"], "seed": row["seed"]}])
    elif fault == "mask":
        Image.new("L", (32, 32), 255).save(controlled / layout.PREPARED / "masks" / Path(row["photo"]).name)
    else:
        changed = {"scale": 0.5} if fault == "scale" else {"prompts": 2}
        ask(controlled, {"kind": "edges", "adapter": "adapter", "prompts": 4, **changed})
    with pytest.raises(SamplesError, match="dvc repro -f sample"):
        run(controlled, evaluate)


def test_photos_without_a_shape_are_passed_over(controlled: Path) -> None:
    rows = read_jsonl(controlled / layout.MANIFEST)
    trained = [row for row in rows if row["split"] == "train"]
    params = load_params(controlled / layout.PARAMS)
    for number, white in ((0, 0), (1, 255)):
        Image.new("L", tuple(trained[number]["size"]), white).save(
            controlled / layout.PREPARED / trained[number]["mask"]
        )
    photos, suite = read_manifest(controlled / layout.MANIFEST), load_suite(params.sample.suite, params.subject)
    wanted = SampleControl(kind="silhouette", adapter="x", prompts=8)
    asked = asked_shapes(controlled, wanted, suite, photos, 32)
    assert {one.photo for one in asked} == {row["file"] for row in trained[2:]}
    assert len(asked) == 8 // len(trained[2:]) * len(trained[2:])
    assert all(one.shape.size == (32, 32) and set(one.shape.getdata()) == {0, 255} for one in asked)


def test_a_photo_that_is_not_square_is_cut_and_not_squashed(controlled: Path) -> None:
    rows = read_jsonl(controlled / layout.MANIFEST)
    for row in rows:
        for file, mode in ((row["file"], "RGB"), (row["mask"], "L")):
            wide = Image.new(mode, (64, 32))
            wide.paste(Image.new(mode, (16, 16), "white"), (24, 8))
            wide.save(controlled / layout.PREPARED / file)
    params = load_params(controlled / layout.PARAMS)
    photos, suite = read_manifest(controlled / layout.MANIFEST), load_suite(params.sample.suite, params.subject)
    asked = asked_shapes(controlled, SampleControl(kind="silhouette", adapter="x"), suite, photos, 32)
    assert {one.shape.getbbox() for one in asked} == {(8, 8, 24, 24)}


def test_what_a_recipe_is_adopted_by_says_nothing_of_control(controlled: Path) -> None:
    values = yaml.safe_load((controlled / layout.PARAMS).read_text())
    values["recipe"] = {"guidance": 1.5}
    (controlled / layout.PARAMS).write_text(yaml.safe_dump(values, sort_keys=False))
    ask(controlled, {"kind": "edges", "adapter": "adapter", "prompts": 4}, control=1.0)
    run(controlled, tune, sample, evaluate)
    evaluation = read_json(controlled / layout.EVALUATION)
    assert {gate["gate"]: gate["verdict"] for gate in evaluation["gates"]}["control"] == "failed"
    by_recipe = {gate["gate"]: gate["verdict"] for gate in evaluation["recipe"]["gates"]}
    assert by_recipe["control"] == "off" and "control" not in evaluation["recipe"]["newly_failed"]
    assert not [row for row in evaluation["recipe"]["metrics"] if row["metric"].startswith("control")]


def test_silhouettes_need_a_base_that_brings_what_finds_them(controlled: Path) -> None:
    ask(controlled, {"kind": "silhouette", "adapter": "adapter"})
    with pytest.raises(BaseNotFound, match=r"sample\.control\.kind is 'silhouette', but base\.model"):
        run(controlled, sample)
    for adapter in ("adapter", "somebody/adapter", "identity"):  # on the hub, or not: it is told before the training
        ask(controlled, {"kind": "silhouette", "adapter": adapter})
        problems = check_run(controlled, load_params(controlled / layout.PARAMS))
        assert any(problem.startswith("sample.control.kind is 'silhouette'") for problem in problems)


def test_an_adapter_that_is_not_there_is_told_before_anything_is_drawn(controlled: Path) -> None:
    ask(controlled, {"kind": "edges", "adapter": "./nowhere"})
    with pytest.raises(BaseNotFound, match=r"sample\.control\.adapter is '\./nowhere', but there is no such folder"):
        run(controlled, sample)


def test_an_adapter_of_another_base_is_told_before_the_run(controlled: Path) -> None:
    config = controlled / "adapter" / "config.json"
    config.write_text(json.dumps({**read_json(config), "cross_attention_dim": 768}))
    said = r"sample\.control\.adapter 'adapter': the control adapter was made for another base: it has cross_atten"
    with pytest.raises(BaseNotFound, match=said):
        run(controlled, sample)
    problems = check_run(controlled, load_params(controlled / layout.PARAMS))
    assert [bool(re.match(said, problem)) for problem in problems] == [True]


def test_without_it_nothing_is_drawn_after_shapes(controlled: Path) -> None:
    ask(controlled, None)
    run(controlled, sample, evaluate)
    assert not (controlled / layout.FOLLOWED).exists()
    evaluation = read_json(controlled / layout.EVALUATION)
    assert evaluation["control"] is None
    assert "Drawn after shapes" not in (controlled / layout.REPORT_PAGE).read_text()
