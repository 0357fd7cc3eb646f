from dataclasses import replace

import pytest
import torch
from bundled import SMALL

from speechpress.compressor.models.attention import Attention, TransformerLayer, attention_weights
from speechpress.compressor.models.encoder import Encoder

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
    layers = [TransformerLayer(config, index).attention for index in range(4)]
    assert [layer.kept for layer in layers] == [True, True, False, False]
    assert [layer.reuses for layer in layers] == [False, True, True, False]


REUSING = replace(CONFIG, num_heads=(2,) * 4, ffn_widths=(64,) * 4, reuse_attention=(False, True) * 2)


@pytest.mark.parametrize("config", [REUSING, replace(REUSING, reuse_attention=())], ids=["reused", "own"])
@pytest.mark.parametrize("chunk_frames", [None, 2])
@torch.no_grad()
def test_padding_changes_no_valid_frame(config, chunk_frames):
    """Frames of padding that see nothing but padding, and a row that has no frame at all."""
    torch.manual_seed(0)
    encoder = Encoder(replace(config, left_context=2)).eval()
    lengths = torch.tensor([16_000, 4_000, 10])
    waves = torch.randn(3, 16_000, generator=torch.Generator().manual_seed(1)) * 0.1
    states = encoder.hidden_states(waves, lengths, chunk_frames)
    assert all(bool(state.isfinite().all()) for state in states)
    for row in (0, 1):
        alone = encoder.hidden_states(waves[row : row + 1, : lengths[row]], None, chunk_frames)
        for state, wanted in zip(states, alone, strict=True):
            torch.testing.assert_close(state[row, : wanted.shape[1]], wanted[0], atol=1e-5, rtol=0)
