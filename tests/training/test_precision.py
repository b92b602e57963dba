from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline.training.data import Sample
from pipeline.training.precision import LowPrecisionCopies, narrow_frozen_weights
from pipeline.training.training_loop import train
from tests.tiny import SIZE, picture
from tests.training.jobs import TOKEN, equal, needs_compiler, weights

LOOP = "pipeline.training.training_loop"
FROZEN = [
    {"method": "dreambooth-lora"},
    {"method": "textual-inversion"},
    {"prior": {"kind": "prediction", "weight": 1}},
]


@pytest.mark.parametrize("changes", FROZEN, ids=str)
def test_narrow_frozen_weights_change_nothing(job, monkeypatch, changes: dict) -> None:
    settings = {"precision": "bf16", "steps": 3, **changes}
    narrow, exact = job("narrow", **settings), job("exact", **settings)
    narrowed: list[int] = []
    monkeypatch.setattr(f"{LOOP}.narrow_frozen_weights", lambda *of: narrowed.append(narrow_frozen_weights(*of)))
    rows = train(narrow).rows
    assert narrowed[0] > 10
    monkeypatch.setattr(f"{LOOP}.frozen_precision", lambda params: "fp32")
    assert [row["loss"] for row in train(exact).rows] == [row["loss"] for row in rows]
    assert narrowed[1] == 0
    assert equal(weights(narrow), weights(exact))


LEARNED = [
    {},
    {"batch": 2, "ema": 0.9},
    {"text_encoder": {"learn": True, "learning_rate": 1e-5}, "token": TOKEN},
    {"gradient_checkpointing": True, "prior": {"kind": "prediction", "weight": 1}},
    {"gradient_accumulation": 2},
]


@pytest.mark.parametrize("changes", LEARNED, ids=str)
def test_copies_of_learned_weights_change_nothing(job, monkeypatch, changes: dict) -> None:
    needs_compiler()
    settings = {"precision": "bf16", "optimizer": "adamw-8bit", "steps": 3, **changes}
    narrow, exact = job("narrow", **settings), job("exact", **settings)
    copied: list[int] = []
    enter = LowPrecisionCopies.__enter__
    monkeypatch.setattr(LowPrecisionCopies, "__enter__", lambda self: (copied.append(len(self.copies)), enter(self))[1])
    rows = train(narrow).rows
    assert min(copied) > 10
    monkeypatch.setattr(f"{LOOP}.make_low_precision_copies", lambda *_: LowPrecisionCopies([]))
    assert [row["loss"] for row in train(exact).rows] == [row["loss"] for row in rows]
    assert copied[-1] == 0
    assert equal(weights(narrow), weights(exact))


def test_photos_of_two_shapes_add_up_as_without_copies(job, monkeypatch, tmp_path: Path) -> None:
    needs_compiler()
    picture(7, SIZE, SIZE // 2).save(tmp_path / "wide.png")
    photos = [Sample(tmp_path / "0.png", "a photo of mysks plush toy"), Sample(tmp_path / "wide.png", "mysks, wide")]
    found = []
    for name in ("narrow", "exact"):
        one = job(name, precision="bf16", optimizer="adamw-8bit", steps=2, batch=2, class_images=False)
        object.__setattr__(one, "photos", photos)
        if name == "exact":
            monkeypatch.setattr(
                "pipeline.training.training_loop.make_low_precision_copies", lambda *_: LowPrecisionCopies([])
            )
        train(one)
        found.append(weights(one))
    assert equal(*found)


NO_COPIES = [{"precision": "fp32"}, {"optimizer": "adamw"}, {"method": "dreambooth-lora"}]


@pytest.mark.parametrize("changes", NO_COPIES, ids=str)
def test_there_are_no_copies_where_nobody_keeps_them(job, monkeypatch, changes: dict) -> None:
    copied: list[int] = []
    monkeypatch.setattr(LowPrecisionCopies, "__enter__", lambda self: copied.append(len(self.copies)))
    monkeypatch.setattr(LowPrecisionCopies, "__exit__", lambda self, *_: None)
    train(job(**{"precision": "bf16", "optimizer": "adamw-8bit", "steps": 1, **changes}))
    assert copied and not any(copied)


def linear() -> tuple[torch.nn.Linear, LowPrecisionCopies]:
    layer = torch.nn.Linear(8, 4)
    return layer, LowPrecisionCopies([layer])


def test_layers_compute_with_the_copy_and_keep_their_weights() -> None:
    layer, copies = linear()
    before = layer.weight.detach().clone()
    states = torch.randn(3, 8).bfloat16()
    with copies:
        found = layer(states)
        found.sum().backward()
    assert torch.equal(found, F.linear(states, before.bfloat16(), layer.bias.bfloat16()))
    assert torch.equal(layer.weight, before) and layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.bfloat16


def test_gradients_of_several_parts_are_summed_in_float32() -> None:
    layer, copies = linear()
    parts = [torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)).bfloat16() for seed in range(3)]
    exact = torch.zeros(4, 8)
    for part in parts:
        with copies:
            layer(part).square().sum().backward()
        one, alone = linear()
        one.load_state_dict(layer.state_dict())
        with alone:
            one(part).square().sum().backward()
        exact += one.weight.grad
    assert layer.weight.grad.dtype == torch.float32
    assert torch.equal(layer.weight.grad, exact)


def test_a_part_that_a_layer_has_no_share_in_leaves_its_gradient() -> None:
    layer, copies = linear()
    with copies:
        layer(torch.ones(1, 8).bfloat16()).sum().backward()
    before = layer.weight.grad.clone()
    with copies:
        pass
    assert torch.equal(layer.weight.grad, before)


def test_copies_follow_weights_that_others_changed() -> None:
    layer, copies = linear()
    with torch.no_grad():
        layer.weight.add_(1)
    with copies:
        assert layer.weight.dtype == torch.bfloat16
        inside = layer.weight.detach().clone()
    assert torch.equal(inside, layer.weight.bfloat16())
