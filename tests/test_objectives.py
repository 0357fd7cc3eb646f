import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.objectives import (
    HEADS,
    LayerPairs,
    PredictionHeads,
    distance,
    load_heads,
    loss_sums,
    save_heads,
)
from speechpress.runtime.errors import SpeechpressError


def states(layers=3, batch=2, frames=5, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, frames, width, generator=generator) for _ in range(layers)]


def test_heads_are_linear_gelu_and_one_linear_per_layer():
    heads = PredictionHeads([4, 8, 12], 8, 6)
    last = states()[-1]
    predictions = heads(states())
    hidden = torch.nn.functional.gelu(heads.expand(last))
    for index, layer in enumerate((4, 8, 12)):
        own = hidden[..., 8 * index : 8 * (index + 1)]
        torch.testing.assert_close(predictions[layer], own @ heads.weight[index] + heads.bias[index])


def test_heads_of_distilhubert_have_the_published_size():
    heads = PredictionHeads([4, 8, 12], 768, 768)
    assert sum(p.numel() for p in heads.parameters()) == 3_543_552  # 27.03 M in training - 23.49 M after it


def test_pairs_are_the_states_themselves_when_widths_agree():
    given_states = states()
    predictions = LayerPairs([(0, 4), (2, 12)], 8, 8)(given_states)
    assert predictions[4] is given_states[0] and predictions[12] is given_states[2]
    assert sum(p.numel() for p in LayerPairs([(0, 4)], 8, 8).parameters()) == 0


def test_pairs_of_other_widths_get_a_projection_and_say_so(caplog):
    predictions = LayerPairs([(1, 2)], 8, 6)(states())
    assert predictions[2].shape == (2, 5, 6)
    assert "linear projection" in caplog.text


@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 2), st.floats(0, 2))
def test_loss_of_equal_states_is_the_smallest(batch, frames, l1, cosine):
    target = states(1, batch, frames)[0]
    total, parts = loss_sums({1: target}, {1: target}, l1, cosine)
    least = batch * frames * cosine * math.log1p(math.exp(-1))
    assert total.item() == pytest.approx(least, abs=1e-4)
    assert parts[1][1].item() == pytest.approx(batch * frames, rel=1e-5)
    worse, _ = loss_sums({1: -target}, {1: target}, l1, cosine)
    assert worse.item() >= total.item() - 1e-6


def test_loss_is_the_formula_of_the_paper():
    prediction, target = states(2, seed=3)
    cosine = (prediction * target).sum(-1) / prediction.norm(dim=-1) / target.norm(dim=-1)
    expected = (prediction - target).abs().mean(-1).sum() - 0.5 * torch.log(torch.sigmoid(cosine)).sum()
    total, _ = loss_sums({1: prediction}, {1: target}, 1.0, 0.5)
    torch.testing.assert_close(total, expected)


def test_half_precision_states_with_large_norms_stay_finite():
    target = torch.full((1, 1, 1024), 3000.0, dtype=torch.float16)  # its norm, 96000, is beyond half precision
    assert torch.isinf(target.norm(dim=-1)).all()
    l1, cosine = distance(target, target)
    assert l1.item() == 0 and cosine.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "heads", [PredictionHeads([1, 3], 8, 6), LayerPairs([(0, 1), (2, 4)], 8, 6), LayerPairs([(1, 2)], 6, 6)]
)
def test_saved_heads_predict_the_same(tmp_path, heads):
    save_heads(tmp_path, heads)
    width, teacher_width = (8, 6) if sum(p.numel() for p in heads.parameters()) else (6, 6)
    loaded = load_heads(tmp_path, width, teacher_width)
    given_states = states(width=width)
    for layer, expected in heads(given_states).items():
        assert torch.equal(loaded(given_states)[layer], expected)


def test_no_heads_is_none_and_wrong_widths_are_an_error(tmp_path):
    assert load_heads(tmp_path, 8, 6) is None
    save_heads(tmp_path, PredictionHeads([1], 8, 6))
    with pytest.raises(SpeechpressError, match=HEADS):
        load_heads(tmp_path, 8, 7)
