import pytest
import torch
import torch.nn.functional as F

from pipeline.training.precision import Narrowed, fast_attention
from pipeline.training.recipe import train
from tests.training.jobs import equal, weights


def test_attention_in_mixed_precision_is_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 16, 8, generator=generator) for _ in range(3))
    exact = F.scaled_dot_product_attention(*(part.bfloat16().float() for part in (query, key, value))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), fast_attention("cpu"):
        found = F.scaled_dot_product_attention(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact)


def test_float32_stays_as_it_is() -> None:
    parts = [torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with fast_attention("cpu"):
        assert torch.equal(F.scaled_dot_product_attention(*parts), F.scaled_dot_product_attention(*parts))


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
    restore = Narrowed.restore
    monkeypatch.setattr(Narrowed, "restore", lambda self: (narrowed.append(len(self.exact)), restore(self)))
    rows = train(narrow).rows
    assert narrowed[0] > 10
    monkeypatch.setattr("pipeline.training.recipe.frozen_precision", lambda params: "fp32")
    assert [row["loss"] for row in train(exact).rows] == [row["loss"] for row in rows]
    assert narrowed[1] == 0
    assert equal(weights(narrow), weights(exact))
