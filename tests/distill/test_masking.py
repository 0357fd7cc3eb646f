import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.masking import GAP, Hearing, draw_mask, draw_masks, masked_targets
from speechpress.compressor.recipe.hear import Hear


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


@pytest.fixture(scope="module")
def hearing(tiny_config, few_clips):
    hear = Hear(mask_prob=0.5, mask_length=3, noise_prob=0.7)
    return Hearing(hear, tiny_config, 3, open_corpus(few_clips).cuts)


@given(world=st.integers(1, 4), rounds=st.integers(1, 4), step=st.integers(0, 50))
@settings(max_examples=15)
def test_a_row_sounds_the_same_wherever_it_is_computed(hearing, world, rounds, step):
    rows, waves = range(8), torch.randn(8, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    whole, masks = hearing.noisy(waves, rows, step), hearing.masks(rows, 4000, step)
    for rank in range(world):
        for micro in range(rounds):
            mine = list(rows)[rank::world][micro::rounds]
            if mine:
                assert torch.equal(hearing.noisy(waves[mine], mine, step), whole[mine])
                assert torch.equal(hearing.masks(mine, 4000, step), masks[mine])


def test_what_a_student_hears_is_drawn_anew_for_each_step_row_and_seed(hearing, tiny_config):
    waves = torch.randn(1, 4000).repeat(20, 1) * 0.1
    first, later = hearing.noisy(waves, range(20), 0), hearing.noisy(waves, range(20), 1)
    noisy = (first != waves).any(1)
    assert 8 <= int(noisy.sum()) < 20 and len({tuple(row[:9].tolist()) for row in first[noisy]}) == int(noisy.sum())
    assert not torch.equal(first, later)
    kept = hearing.seed
    hearing.seed = 4
    assert not torch.equal(hearing.noisy(waves, range(20), 0), first)
    hearing.seed = kept
    assert hearing.masks(range(20), 4000, 0).shape == (20, tiny_config.front_frames(4000))


def test_a_student_may_hear_only_noise_or_only_gaps(tiny_config):
    waves = torch.randn(6, 4000) * 0.1
    gaps = Hearing(Hear(mask_prob=0.5, mask_length=3), tiny_config, 3, [])
    assert torch.equal(gaps.noisy(waves, range(6), 0), waves) and gaps.masks(range(6), 4000, 0).any()
    noise = Hearing(Hear(noise_prob=1.0, noise=("pink",), snr_db=(10.0, 10.0)), tiny_config, 3, [])
    assert noise.masks(range(6), 4000, 0) is None
    added = noise.noisy(waves, range(6), 0) - waves
    torch.testing.assert_close(added.square().mean(1) * 10, waves.square().mean(1), rtol=0.02, atol=0)
