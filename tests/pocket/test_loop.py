"""The training loop of pocket: a killed run goes on to the same weights, a broken loss stops it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from pocket.clip import build_clip
from pocket.loop import Float32Attention, Gradients, Mixed, begin_with, indices_at, train
from pocket.recipe import HERE, Schedule, read_recipe
from pocket.start import rotate, rotation
from pocket.unet import build_unet
from pocket.vae import build_vae


class Killed(Exception):
    pass


def run(
    folder: Path,
    steps: int = 60,
    kill_at: int | None = None,
    poison: bool = False,
    parts: int = 1,
    beginning: str | None = None,
) -> torch.Tensor:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        if step == kill_at:
            raise Killed
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        return {"loss": loss * float("nan") if poison else loss}

    schedule = Schedule(steps=steps, batch=8, rate=0.05, parts=parts)
    train(model, loss_at, schedule, folder, "tiny", save_seconds=0.0, beginning=beginning)
    return model.weight.detach().clone()


def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at=37)
    assert torch.equal(run(tmp_path / "killed"), whole)
    lines = (tmp_path / "killed" / "tiny.jsonl").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ['{"step": 50']


def test_the_state_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, steps=3, beginning="a")
    run(tmp_path, steps=5, beginning="a")
    with pytest.raises(SystemExit, match="of another recipe; remove"):
        run(tmp_path, steps=7, beginning="b")
    run(tmp_path / "old", steps=3)
    state = tmp_path / "old" / "tiny.state.safetensors"
    save_file(load_file(state), state, {"step": "3"})  # kept before states said what they began with
    run(tmp_path / "old", steps=5, beginning="a")
    recipe = read_recipe("cpu")
    assert recipe.beginning != recipe.model_copy(update={"start": None}).beginning


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
