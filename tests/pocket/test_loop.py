"""The training loop of pocket: a killed run goes on to the same weights, a broken loss stops it."""

import ast
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from pocket.clip import build_clip
from pocket.loop import (
    Float32Attention,
    Gradients,
    Mixed,
    Pictures,
    begin_with,
    indices_at,
    mixed_precision,
    restore,
    train,
)
from pocket.optimizers import make_optimizer
from pocket.origin import CLIP, VAE, WORLD, begin, is_begun, is_made, mark, origin, start_of
from pocket.recipe import HERE, Schedule, read_recipe
from pocket.start import rotate, rotation, translate
from pocket.unet import build_unet, snr_weights
from pocket.vae import build_vae, encode_all

ROOT = HERE.parent


class Killed(Exception):
    pass


def run(
    folder: Path,
    steps: int = 60,
    kill_at: int | None = None,
    poison: bool = False,
    parts: int = 1,
    origin: str = "a",
    optimizer: Literal["adamw", "muon"] = "adamw",
) -> torch.Tensor:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        if step == kill_at:
            raise Killed
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        return {"loss": loss * float("nan") if poison else loss}

    schedule = Schedule(steps=steps, batch=8, rate=0.05, parts=parts, optimizer=optimizer)
    train(model, loss_at, schedule, folder, "tiny", origin, save_seconds=0.0)
    return model.weight.detach().clone()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path, optimizer: Literal["adamw", "muon"]) -> None:
    whole = run(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at=37, optimizer=optimizer)
    assert torch.equal(run(tmp_path / "killed", optimizer=optimizer), whole)
    lines = (tmp_path / "killed" / "tiny.jsonl").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ['{"step": 50']


def test_the_state_of_another_recipe_is_not_gone_on_with_finished_or_not(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    run(tmp_path, steps=5)
    for steps in (5, 7):
        with pytest.raises(SystemExit, match="of another recipe or of other files; remove"):
            run(tmp_path, steps=steps, origin="b")


def test_what_is_made_of_something_else_is_told(tmp_path: Path) -> None:
    recipe, work = read_recipe("cpu"), tmp_path
    for name in (*WORLD, VAE, CLIP):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    read = (*WORLD, VAE, CLIP)
    known = origin(recipe, "unet", work, read, "start")
    longer = recipe.model_copy(update={"unet": recipe.unet.model_copy(update={"steps": 9})})
    assert origin(longer, "unet", work, read, "start") == known
    for changed in (
        recipe.model_copy(update={"size": 128}),
        recipe.model_copy(update={"unet": recipe.unet.model_copy(update={"snr_gamma": 4.0})}),
    ):
        assert origin(changed, "unet", work, read, "start") != known
    assert origin(recipe, "unet", work, read, None) != known
    (work / VAE).write_text("another autoencoder")
    assert origin(recipe, "unet", work, read, "start") != known
    assert start_of(recipe, "unet") != start_of(recipe, "vae")
    assert start_of(recipe.model_copy(update={"start": None}), "unet") is None
    assert not is_made(work / "new.npy", "a")
    mark(work / "new.npy", "a")
    assert is_begun(work / "new.npy", "a") and not is_made(work / "new.npy", "a")
    (work / "new.npy").write_text("")
    assert is_made(work / "new.npy", "a")
    for path, made_from in ((work / "new.npy", "b"), (work / VAE, "a")):
        with pytest.raises(SystemExit, match="by another recipe or from other files; remove it"):
            is_made(path, made_from)


def test_pieces_of_another_recipe_are_not_gone_on_with(tmp_path: Path) -> None:
    whole = tmp_path / "folder" / "captions.jsonl"
    assert begin(whole, "a", begun=False) and begin(whole, "a", begun=True)
    with pytest.raises(SystemExit, match="folder was begun by another recipe; remove it"):
        begin(whole, "b", begun=True)
    whole.write_text("")
    assert not begin(whole, "a", begun=True)


@pytest.mark.filterwarnings("ignore:for .*:UserWarning")
def test_moments_go_where_their_parameters_are() -> None:
    model = torch.nn.Linear(2, 1, device="meta")
    optimizer = make_optimizer("adamw", model)
    state = {f"optimizer.weight.{name}": torch.zeros(1, 2) for name in ("exp_avg", "exp_avg_sq")}
    state |= {"optimizer.weight.step": torch.tensor(3.0)}
    state |= {f"model.{name}": torch.zeros(parameter.shape) for name, parameter in model.named_parameters()}
    restore(model, optimizer, state)
    kept = optimizer.state[model.weight]
    assert kept["exp_avg"].device.type == kept["exp_avg_sq"].device.type == "meta"
    assert kept["step"].device.type == "cpu"  # as the optimizer itself keeps it


def test_latents_are_encoded_in_mixed_precision_as_without(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "pictures.npy", rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8))
    (tmp_path / "captions.jsonl").write_text("{}\n" * 20)
    pictures, recipe, vae = Pictures(tmp_path), read_recipe("cpu"), build_vae(read_recipe("cpu")).eval()
    exact = encode_all(vae, pictures, range(20), "cpu")
    with mixed_precision(recipe):
        mixed = encode_all(vae, pictures, range(20), "cpu")
    assert mixed.dtype == exact.dtype == torch.float16 and mixed.shape == exact.shape == (20, 8, 16, 16)
    assert not torch.equal(mixed, exact)  # bfloat16 was at work
    assert (mixed - exact).float().std() < 0.02 * exact.float().std()


def imported(path: Path) -> set[Path]:
    """The files of pocket and of the sample photos' program that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = {
        ROOT / f"{name.replace('.', '/')}.py"
        for name in names
        if name.startswith(("pocket", "examples", "pipeline.evaluation"))
    }
    return {file for file in files if file.is_file()}


def test_every_stage_declares_the_code_and_the_weights_that_it_reads() -> None:
    stages = yaml.safe_load((HERE / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        waiting, seen = [HERE / f"{name}.py"], set[Path]()
        while waiting:
            if (file := waiting.pop()) not in seen:
                seen.add(file)
                waiting += imported(file)
        needed = {file.relative_to(ROOT).as_posix() for file in seen}
        assert needed - set(stage["deps"]) == set(), name
        assert any("pocket/params.yaml" in one for one in stage["params"]), name
    for name, start in (
        ("vae", "model/vae"),
        ("clip", "clip"),
        ("unet", "model/unet"),
        ("unet", "model/vae"),
        ("unet", "model/text_encoder"),
    ):
        assert f"pocket/{start}" in stages[name]["deps"]


def test_a_killed_run_of_batches_side_by_side_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", parts=2)
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at=75, parts=2)
    assert torch.equal(run(tmp_path / "killed", parts=2), whole)


def test_batches_side_by_side_give_the_gradient_of_their_mean_loss() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        return {"loss": (weight * torch.tensor([number, 1.0])).sum()}

    losses = Gradients(loss_at, 2)(3)  # batches 6 and 7
    assert weight.grad is not None
    assert weight.grad.tolist() == [6.5, 1.0]
    assert float(losses["loss"]) == 8.5


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="not finite at step 50"):
        run(tmp_path, poison=True)


def test_an_epoch_shows_every_picture_once() -> None:
    seen = [int(index) for step in range(5) for index in indices_at(step, 4, 20, seed=1)]
    assert sorted(seen) == list(range(20))
    assert list(indices_at(5, 4, 20, seed=1)) != seen[:4]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_recipes_are_whole(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.size % 2 ** (len(recipe.vae.channels) - 1) == 0
    assert all(channels % recipe.unet.head_dim == 0 for channels in recipe.unet.channels)


def test_attention_in_mixed_precision_is_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 16, 8, generator=generator) for _ in range(3))
    exact = F.scaled_dot_product_attention(*(part.bfloat16().float() for part in (query, key, value))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        found = F.scaled_dot_product_attention(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact)


def test_float32_stays_as_it_is() -> None:
    parts = [torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    plain = F.scaled_dot_product_attention(*parts)
    with Float32Attention():
        assert torch.equal(F.scaled_dot_product_attention(*parts), plain)


def test_a_unet_is_turned_to_latents_that_are_a_rotation_of_its_own() -> None:
    recipe = read_recipe("cpu")
    torch.manual_seed(1)
    unet, turned = build_unet(recipe).eval(), build_unet(recipe).eval()
    turned.load_state_dict(unet.state_dict())
    channels = recipe.vae.latents
    own = torch.randn(500, channels)
    right, _ = torch.linalg.qr(torch.randn(channels, channels))
    found = rotation(own, own @ right.T)
    assert torch.allclose(found, right, atol=1e-4)
    rotate(turned, found)
    latents, states = torch.randn(2, channels, 16, 16), torch.randn(2, 5, recipe.text.hidden)
    with torch.no_grad():
        before = unet(torch.einsum("bjhw,ji->bihw", latents, right), 10, states).sample
        after = turned(latents, 10, states).sample
    assert torch.allclose(torch.einsum("bjhw,ji->bihw", after, right), before, atol=1e-4)


def test_a_unet_reads_states_that_are_a_linear_map_of_those_it_knew() -> None:
    recipe = read_recipe("cpu")
    torch.manual_seed(1)
    unet, other = build_unet(recipe).eval(), build_unet(recipe).eval()
    other.load_state_dict(unet.state_dict())
    width = recipe.text.hidden
    back = torch.eye(width) + 0.1 * torch.randn(width, width)
    translate(other, back)
    latents, states = torch.randn(2, recipe.vae.latents, 16, 16), torch.randn(2, 5, width)
    with torch.no_grad():
        assert torch.allclose(other(latents, 10, states).sample, unet(latents, 10, states @ back).sample, atol=1e-4)
        assert not torch.allclose(other(latents, 10, states).sample, unet(latents, 10, states).sample, atol=1e-2)


def test_what_is_noise_alone_can_count_more() -> None:
    alphas = torch.tensor([0.999, 0.5, 0.01])
    times = torch.arange(3)
    assert snr_weights(alphas, times, 5.0).tolist() == pytest.approx([5 / 999, 1, 1], rel=1e-4)
    assert snr_weights(alphas, times, 5.0, 0.05).tolist() == pytest.approx([5 / 999, 1, 0.05 * 99], rel=1e-4)


def test_a_training_begins_with_the_weights_of_an_earlier_pocket_where_the_recipe_says_so() -> None:
    recipe, vae = read_recipe("cpu"), build_vae(read_recipe("cpu"))
    begin = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    assert not begin_with(vae, recipe.model_copy(update={"start": None}), "vae")
    assert all(torch.equal(tensor, begin[name]) for name, tensor in vae.state_dict().items())
    clip = build_clip(recipe, CLIPTokenizer.from_pretrained(HERE / "clip"))
    for part, network in (("vae", vae), ("unet", build_unet(recipe)), ("clip", clip)):
        assert begin_with(network, recipe.model_copy(update={"start": HERE}), part)
        (file,) = (HERE / (part if part == "clip" else f"model/{part}")).glob("*.safetensors")
        weights = load_file(file)
        assert all(torch.equal(tensor, weights[name].float()) for name, tensor in network.state_dict().items())


def test_a_share_of_every_batch_are_photographs_of_toys_that_may_be_learned(tmp_path: Path) -> None:
    recipe = read_recipe("cpu")
    held_out = recipe.identity.toys
    for folder, facts in (
        ("world/train", [{"captions": ["a"]}] * 40),
        ("photographs", [{"toy": 3}, {"toy": held_out}]),
    ):
        (tmp_path / folder).mkdir(parents=True)
        np.save(tmp_path / folder / "pictures.npy", np.zeros((len(facts), 4, 4, 3), np.uint8))
        (tmp_path / folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in facts))
    mixed = Mixed.open(recipe, tmp_path)
    batches = [mixed.rows_at(number, 8, 0.25, seed=1) for number in range(200)]
    assert all(len(rows) + len(taken) == 8 for rows, taken in batches)
    assert {int(row) for _, taken in batches for row in taken} == {0}
    assert sum(len(taken) for _, taken in batches) == pytest.approx(400, rel=0.15)
    again = mixed.rows_at(7, 8, 0.25, seed=1)
    assert all(np.array_equal(one, other) for one, other in zip(again, batches[7], strict=True))
    rows, taken = mixed.rows_at(0, 8, 0.0, seed=1)
    assert np.array_equal(rows, np.sort(indices_at(0, 8, 40, 1))) and len(taken) == 0
    assert len(mixed.photographs.batch(taken, "cpu")) == 0
