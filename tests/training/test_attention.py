import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from pipeline.training.attention import Float32Processor, prepare_attention


def layer(**settings: object) -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=32, heads=4, dim_head=8, **settings)


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize("cross", [False, True])
def test_between_its_projections_it_is_float32(cross: bool) -> None:
    attention = layer(cross_attention_dim=24 if cross else None)
    hidden, context = states(2, 16, 32), states(2, 5, 24) if cross else None
    with torch.autocast("cpu", torch.bfloat16):
        attention.set_processor(Float32Processor())
        found = attention(hidden, encoder_hidden_states=context)
        other = hidden if context is None else context
        query, key, value = attention.to_q(hidden), attention.to_k(other), attention.to_v(other)
        heads = [part.float().view(2, -1, 4, 8).transpose(1, 2) for part in (query, key, value)]
        with torch.autocast("cpu", enabled=False):
            scores = (heads[0] @ heads[1].transpose(-1, -2)) / 8**0.5
            mixed = (scores.softmax(dim=-1) @ heads[2]).transpose(1, 2).reshape(2, 16, 32)
        expected = attention.to_out[0](mixed.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)  # a rounding to bfloat16 apart


def test_attention_itself_never_sees_bfloat16(monkeypatch) -> None:
    seen = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *parts: seen.append(parts) or real(*parts))
    attention = layer()
    attention.set_processor(Float32Processor())
    with torch.autocast("cpu", torch.bfloat16):
        attention(states(1, 16, 32))
    assert {part.dtype for part in seen[0]} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_in_float32_it_is_the_layer_itself() -> None:
    attention = layer()
    hidden = states(2, 16, 32).float()
    expected = attention(hidden)
    attention.set_processor(Float32Processor())
    assert torch.equal(attention(hidden), expected)


def test_a_mask_is_kept() -> None:
    attention = layer()
    hidden, mask = states(2, 16, 32).float(), torch.zeros(2, 16).masked_fill(torch.arange(16) > 7, -1e4)
    expected = attention(hidden, attention_mask=mask)
    assert not torch.equal(expected, attention(hidden))
    attention.set_processor(Float32Processor())
    assert torch.equal(attention(hidden, attention_mask=mask), expected)


@pytest.mark.parametrize(
    ("device", "precision", "ours"), [("cpu", "bf16", True), ("cpu", "fp32", False), ("cuda", "bf16", False)]
)
def test_where_it_is_taken(tiny_base, device: str, precision: str, ours: bool) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
    prepare_attention(unet, device, precision)
    kinds = {type(processor) for processor in unet.attn_processors.values()}
    assert kinds == {Float32Processor if ours else AttnProcessor2_0}


def test_layers_with_norms_of_their_own_stay_as_they_are() -> None:
    block = torch.nn.ModuleList([layer(norm_num_groups=4), layer(residual_connection=True), layer()])
    prepare_attention(block, "cpu", "bf16")
    assert [type(one.processor) for one in block] == [AttnProcessor2_0, AttnProcessor2_0, Float32Processor]
