import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.distill.masking import GAP, draw_mask, draw_masks, masked_targets


def spans(mask):
    """Lengths of the runs of True."""
    edges = torch.diff(torch.nn.functional.pad(mask.int(), (1, 1)))
    return (edges.nonzero()[edges[edges != 0] == -1] - edges.nonzero()[edges[edges != 0] == 1])[:, 0].tolist()


@given(st.integers(1, 400), st.floats(0.01, 1), st.integers(1, 20), st.integers(0, 1000))
def test_spans_are_no_longer_than_twice_their_mean_and_fit(frames, prob, length, seed):
    mask = draw_mask(frames, prob, length, random.Random(seed))
    assert mask.shape == (frames,) and mask.dtype == torch.bool
    found = spans(mask)
    assert all(span <= 2 * length for span in found)
    assert len(found) <= prob * frames / length + 1
    assert sum(found) + GAP * max(0, len(found) - 1) <= frames


def test_the_share_that_is_hidden_is_about_what_is_asked_where_there_is_room():
    drawn = [draw_mask(500, 0.4, 10, random.Random(seed)).float().mean() for seed in range(100)]
    assert torch.stack(drawn).mean() == pytest.approx(0.4, abs=0.02)
    more = [draw_mask(500, 0.8, 10, random.Random(seed)).float().mean() for seed in range(100)]
    assert 0.7 < torch.stack(more).mean() < 0.82


def test_rows_have_the_same_mask_wherever_they_are_computed():
    whole = draw_masks(range(6), 50, 0.8, 10, seed=3, step=7)
    parts = [draw_masks(range(rank, 6, 2), 50, 0.8, 10, seed=3, step=7) for rank in range(2)]
    assert torch.equal(whole[0::2], parts[0]) and torch.equal(whole[1::2], parts[1])
    assert not torch.equal(whole, draw_masks(range(6), 50, 0.8, 10, seed=3, step=8))
    assert len({tuple(row.tolist()) for row in whole}) == 6


def test_hidden_frames_are_held_against_the_teacher_that_heard_everything():
    mask = torch.tensor([[True, False, True, False, False]])
    plain, hidden = torch.full((1, 4, 2), 1.0), torch.full((1, 4, 2), 2.0)  # the teacher makes a frame less
    found = masked_targets({3: plain, 6: plain + 10}, {3: hidden, 6: hidden + 10}, mask)
    assert found[3][0, :, 0].tolist() == [1, 2, 1, 2] and found[6][0, :, 1].tolist() == [11, 12, 11, 12]
