"""Cells, warping and errors against plain loops over every triple."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from speechpress.compressor.abx.cells import make_cells
from speechpress.compressor.abx.dtw import Angular, OtherUnit, distances, edited, warped
from speechpress.compressor.abx.items import Token
from speechpress.compressor.abx.score import entry_errors, mean_error, resampled
from speechpress.compressor.abx.units import centres_of, units_of, without_repeats
from speechpress.compressor.tasks.metrics import edit_distance, interval


def some_tokens(count=60, seed=0, phones="abc", contexts=("xy", "xz"), speakers=("1", "2", "3")):
    draw = np.random.default_rng(seed)
    pick = lambda values: values[int(draw.integers(len(values)))]  # noqa: E731
    return [Token("f", 0, 1, pick(phones), tuple(pick(contexts)), pick(speakers)) for _ in range(count)]


def some_frames(count, seed=0, width=5):
    draw = np.random.default_rng(seed)
    return [draw.standard_normal((int(draw.integers(1, 7)), width)).astype(np.float32) for _ in range(count)]


def packed(frames):
    lengths = np.array([len(one) for one in frames])
    return torch.from_numpy(np.concatenate(frames)), np.concatenate([[0], lengths.cumsum()[:-1]]), lengths


def loop_angle(one, two):
    cosine = float(one @ two) / (math.sqrt(one @ one) * math.sqrt(two @ two))
    return math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def loop_warp(one, two, cost):
    """The sum along the cheapest path and its steps, by walking back through the whole table."""
    n, m = len(one), len(two)
    sums = [[math.inf] * m for _ in range(n)]
    for i, j in itertools.product(range(n), range(m)):
        before = [sums[a][b] for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        sums[i][j] = cost(one[i], two[j]) + (min(before) if before else 0.0)
    i, j, steps = n - 1, m - 1, 1
    while i and j:
        corner, up, left = sums[i - 1][j - 1], sums[i - 1][j], sums[i][j - 1]
        if corner <= left and corner <= up:
            i, j = i - 1, j - 1
        elif left <= up:
            j -= 1
        else:
            i -= 1
        steps += 1
    return sums[-1][-1] / (steps + i + j)


def loop_abx(tokens, apart, mode):
    """Every triple, then the mean over contexts (and speakers of X), speakers, pairs of phones."""
    errors = defaultdict(list)
    for x, a, b in itertools.permutations(range(len(tokens)), 3):
        tx, ta, tb = tokens[x], tokens[a], tokens[b]
        if tx.phone != ta.phone or tb.phone == ta.phone or not tx.context == ta.context == tb.context:
            continue
        if ta.speaker != tb.speaker or (tx.speaker == ta.speaker) != (mode == "within"):
            continue
        near, far = apart(x, a), apart(x, b)
        cell = ta.phone, tb.phone, ta.speaker, ta.context, tx.speaker
        errors[cell].append(1.0 if near > far else 0.5 if near == far else 0.0)
    by_speaker, by_pair = defaultdict(list), defaultdict(list)
    for (a, b, speaker, *_), values in errors.items():
        by_speaker[a, b, speaker].append(np.mean(values))
    for (a, b, _), values in by_speaker.items():
        by_pair[a, b].append(np.mean(values))
    return float(np.mean([np.mean(values) for values in by_pair.values()]))


def test_warping_is_that_of_plain_loops():
    frames = some_frames(25)
    pairs = np.array(list(itertools.permutations(range(25), 2)))
    flat, starts, lengths = packed(frames)
    found = distances(pairs, starts, lengths, Angular(flat))
    wanted = [loop_warp(frames[a], frames[b], loop_angle) for a, b in pairs]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_pairs_that_do_not_fit_together_into_the_memory_give_the_same(monkeypatch):
    flat, starts, lengths = packed(some_frames(12))
    pairs = np.array(list(itertools.permutations(range(12), 2)))
    whole = distances(pairs, starts, lengths, Angular(flat))
    monkeypatch.setattr("speechpress.compressor.abx.dtw.MOST_VALUES", 50)
    np.testing.assert_allclose(distances(pairs, starts, lengths, Angular(flat)), whole, atol=1e-6)


def test_a_frame_of_zeros_is_as_far_as_can_be_from_others_and_equal_to_its_like():
    flat = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    pairs = np.array([[0, 1], [1, 0], [0, 2]])
    found = distances(pairs, np.arange(3), np.ones(3, int), Angular(flat))
    assert found.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("mode", ["within", "across"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_error_is_that_of_plain_loops_over_all_triples(mode, seed):
    tokens, frames = some_tokens(seed=seed), some_frames(60, seed)
    cells = make_cells(tokens, mode, most_tokens=None)
    flat, starts, lengths = packed(frames)
    found = mean_error(cells, entry_errors(cells, distances(cells.pairs, starts, lengths, Angular(flat))))
    apart = {(a, b): loop_warp(frames[a], frames[b], loop_angle) for a, b in itertools.permutations(range(60), 2)}
    assert found == pytest.approx(loop_abx(tokens, lambda x, y: apart[x, y], mode), abs=1e-6)
    assert 0.3 < found < 0.7  # noise tells no phones apart


@pytest.mark.parametrize("mode", ["within", "across"])
def test_units_have_ties_which_count_half(mode):
    draw = np.random.default_rng(3)
    tokens = some_tokens(50)
    units = [draw.integers(0, 3, int(draw.integers(1, 6))) for _ in tokens]
    flat, starts, lengths = packed([one[:, None] for one in units])
    cells = make_cells(tokens, mode, most_tokens=None)
    numbers = flat[:, 0]
    found = mean_error(cells, entry_errors(cells, distances(cells.pairs, starts, lengths, OtherUnit(numbers), warped)))

    def apart(x, y):
        return np.float32(loop_warp(units[x].tolist(), units[y].tolist(), lambda a, b: float(a != b)))

    assert found == pytest.approx(loop_abx(tokens, apart, mode), abs=1e-6)
    short, begins, sizes = without_repeats(numbers, starts.tolist(), lengths.tolist())
    runs = [[key for key, _ in itertools.groupby(one.tolist())] for one in units]
    assert [short[b : b + n].tolist() for b, n in zip(begins, sizes, strict=True)] == runs
    apart_edits = distances(cells.pairs, np.array(begins), np.array(sizes), OtherUnit(short), edited)
    wanted = [edit_distance(runs[a], runs[b]) / max(len(runs[a]), len(runs[b])) for a, b in cells.pairs]
    np.testing.assert_allclose(apart_edits, wanted, atol=1e-6)


def test_phones_that_are_told_apart_have_no_error_and_swapped_ones_nothing_but():
    tokens = [Token("f", 0, 1, phone, ("x", "y"), speaker) for phone in "ab" for speaker in "12" for _ in range(2)]
    near = torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    frames = torch.cat([near, near.flip(1)])
    for mode in ("within", "across"):
        cells = make_cells(tokens, mode)
        apart = distances(cells.pairs, np.arange(8), np.ones(8, int), Angular(frames))
        assert mean_error(cells, entry_errors(cells, apart)) == 0.0
        assert mean_error(cells, entry_errors(cells, -apart)) == 1.0


def test_what_is_drawn_is_the_same_for_a_seed_and_bounded():
    tokens = some_tokens(600, phones="ab", contexts=("xy",))
    one, two, other = (make_cells(tokens, "within", 4, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.pairs, two.pairs) and not np.array_equal(one.pairs, other.pairs)
    assert len(one.tokens()) == 2 * 3 * 4  # phones x speakers x 4
    assert all(block.near.shape[1:] == (4, 3) and block.far.shape[1:] == (4, 4) for block in one.blocks)


def test_across_speakers_at_most_five_listen():
    tokens = [Token("f", 0, 1, phone, ("x", "y"), str(s)) for phone in "ab" for s in range(9)]
    assert make_cells(tokens, "across").count.tolist() == [5] * 18
    assert make_cells(tokens, "across", None).count.tolist() == [8] * 18


def test_the_interval_draws_speakers_and_is_paired():
    """All tokens of a speaker have one error, so the spread is that of so many speakers, not of so many tokens."""
    tokens = [Token("f", 0, 1, phone, ("x", "y"), str(s)) for phone in "ab" for s in range(20) for _ in range(2)]
    cells = make_cells(tokens, "within")
    draw = np.random.default_rng(0)
    by_speaker = (draw.random(20) < 0.3).astype(float)
    errors = by_speaker[cells.speaker]
    low, high = interval(resampled(cells, [errors])[0])
    spread = by_speaker.std() / math.sqrt(20)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.2)
    both = resampled(cells, [errors, errors + 0.01])
    np.testing.assert_allclose(both[1] - both[0], 0.01)  # the same speakers for both


def test_clusters_are_found():
    draw = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    frames = torch.cat([middle + 0.1 * torch.randn(50, 2, generator=draw) for middle in middles])
    centres = centres_of(frames, 3)
    units = units_of(frames, centres).view(3, 50)
    assert (units == units[:, :1]).all() and len(set(units[:, 0].tolist())) == 3
    assert torch.equal(centres_of(frames, 3), centres)
    assert len(centres_of(torch.ones(4, 2), 9)) == 4  # never more centres than frames
