import torch
import torch.nn.functional as F

from pipeline.training.precision import fast_attention


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
