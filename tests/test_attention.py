from dataclasses import replace

import pytest
import torch
from bundled import SMALL

from speechpress.compressor.attention import Attention, Layer, attention_weights

CONFIG = replace(SMALL, attention_dropout=0.0, dropout=0.0, activation_dropout=0.0)


def frames(count=7, batch=2, seed=0):
    return torch.randn(batch, count, CONFIG.width, generator=torch.Generator().manual_seed(seed))


def masks(count=7):
    allowed = torch.rand(count, count, generator=torch.Generator().manual_seed(1)) > 0.4
    allowed |= torch.eye(count, dtype=torch.bool)
    return {"none": None, "allowed": allowed, "added": torch.where(allowed, 0.0, -1e4)[None, None]}


@pytest.mark.parametrize("mask", masks().values(), ids=masks())
@torch.no_grad()
def test_attention_that_is_kept_is_the_same(mask):
    torch.manual_seed(0)
    kept, plain = Attention(CONFIG, 2, kept=True), Attention(CONFIG, 2)
    plain.load_state_dict(kept.state_dict())
    (ours, _, weights), (wanted, _, nothing) = kept(frames(), mask), plain(frames(), mask)
    assert nothing is None and weights.shape == (2, 2, 7, 7)
    assert torch.allclose(ours, wanted, atol=1e-6)
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-6)
    if mask is not None and mask.dtype == torch.bool:
        assert not weights[..., ~mask].any()


@torch.no_grad()
def test_attention_that_is_reused_weighs_its_own_values():
    torch.manual_seed(0)
    source, reusing = Attention(CONFIG, 2, kept=True), Attention(CONFIG, 2, reuses=True)
    assert {name.split(".")[0] for name in reusing.state_dict()} == {"v_proj", "out_proj"}
    _, _, weights = source(frames(), None)
    other = frames(seed=5)
    ours, _, again = reusing(other, None, None, weights)
    assert again is weights
    values = reusing.v_proj(other).unflatten(-1, (2, -1))
    naive = torch.einsum("bhij,bjhd->bihd", weights, values).flatten(2)
    assert torch.allclose(ours, reusing.out_proj(naive), atol=1e-6)


@torch.no_grad()
def test_the_past_of_a_layer_that_reuses_is_values_alone():
    torch.manual_seed(0)
    layers = [Attention(CONFIG, 2, kept=True), Attention(CONFIG, 2, reuses=True)]
    first = [torch.randn(2, 2, 3, CONFIG.head_dim) for _ in range(2)], [torch.randn(2, 2, 3, CONFIG.head_dim)]
    x, weights = frames(), None
    for layer, cache in zip(layers, first, strict=True):
        x, new, weights = layer(x, None, tuple(cache), weights)
        assert len(new) == len(cache) and all(one.shape == two.shape for one, two in zip(new, cache, strict=True))
        assert weights.shape == (2, 2, 7, 3 + 7)


def test_dropout_falls_on_what_a_layer_does_itself_not_on_what_it_hands_on():
    torch.manual_seed(0)
    config = replace(CONFIG, attention_dropout=0.9)
    layer, plain = Attention(config, 2, kept=True).train(), Attention(config, 2, kept=True).eval()
    plain.load_state_dict(layer.state_dict())
    (dropped, _, weights), (whole, _, wanted) = layer(frames(), None), plain(frames(), None)
    assert torch.equal(weights, wanted) and not torch.allclose(dropped, whole, atol=1e-3)


def test_weights_are_a_softmax_of_scaled_products():
    q, k = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 5, 8)
    assert torch.allclose(attention_weights(q, k, None), (torch.einsum("bhid,bhjd->bhij", q, k) / 8**0.5).softmax(-1))


def test_a_layer_knows_whether_the_next_one_reuses_its_attention():
    config = replace(CONFIG, num_heads=(2,) * 4, ffn_widths=(8,) * 4, reuse_attention=(False, True, True, False))
    layers = [Layer(config, index).attention for index in range(4)]
    assert [layer.kept for layer in layers] == [True, True, False, False]
    assert [layer.reuses for layer in layers] == [False, True, True, False]
