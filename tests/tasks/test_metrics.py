"""Metrics against values by hand, and what must hold for any input."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.tasks.kinds import quality
from speechpress.compressor.tasks.metrics import (
    FALSE_ALARM_WEIGHT,
    accuracy,
    bootstrap,
    diarization_counts,
    edit_counts,
    edit_distance,
    equal_error_rate,
    error_rate,
    interval,
    max_twv,
    mean_f1,
    resampled,
    resampled_by_speaker,
    slot_cer,
    slot_counts,
    slot_f1,
    slot_type_f1,
    spelled_cer,
    spelled_counts,
    spelled_slots,
)

words = st.lists(st.sampled_from("abc"), max_size=7)


@pytest.mark.parametrize(
    ("reference", "guess", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("ab", "ba", 2), ("", "", 0)],
)
def test_edit_distance_by_hand(reference, guess, edits):
    assert edit_distance(reference, guess) == edits


@given(words, words, words)
def test_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a) <= max(len(a), len(b))
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_error_rates_add_up_over_clips_rather_than_average():
    counts = np.array([edit_counts(["a", "b", "c", "d"], ["a", "b", "x", "d"]), edit_counts(["a"], [])])
    assert error_rate(counts) == pytest.approx(2 / 5)
    assert error_rate(np.array([[0, 0]])) == 0 and error_rate(np.array([[2, 0]])) == 1
    assert accuracy(np.array([[1], [0], [1], [1]])) == 0.75


def test_slots_by_hand():
    wanted = {"size": "small", "drink": "latte", "roast": "dark"}
    given = {"size": "small", "drink": "matte", "sugar": "two"}
    counts = np.array([slot_counts(wanted, given)])
    assert counts.tolist() == [[1, 3, 3, 1 + 4 + 3, 5 + 5 + 4]]
    assert slot_f1(counts) == pytest.approx(1 / 3)
    assert slot_cer(counts) == pytest.approx(8 / 14)
    assert slot_f1(np.array([slot_counts(wanted, wanted)])) == 1 and slot_cer(np.array([slot_counts({}, {})])) == 0


def test_spelled_slots_by_hand():
    tokens = (*"PLAY ", "B-genre", *"JAZZ", "E-genre", " ", "B-year", *"99")
    assert spelled_slots(tokens) == [("genre", "JAZZ")]  # what is never closed is none
    assert spelled_slots(("B-a", "X", "E-b", "Y", "E-a")) == [] and spelled_slots(("B-a", " ", "E-a")) == []
    assert spelled_counts([("genre", "JAZZ")], [("genre", "JAZ"), ("year", "9")]) == (pytest.approx(2 / 3), 1, 4)
    assert spelled_counts([("a", "XY"), ("b", "Z")], []) == (0.0, 3, 3)
    counts = np.array([(1.0, 1, 4), (0.5, 3, 4)])
    assert mean_f1(counts) == 0.75 and spelled_cer(counts) == 0.5


kinds = st.sets(st.sampled_from("abcd"))


@given(kinds, kinds)
def test_f1_of_kinds_is_symmetric_and_perfect_only_for_the_same(one, other):
    assert slot_type_f1(one, other) == slot_type_f1(other, one)
    assert (slot_type_f1(one, other) == 1) == (one == other) and 0 <= slot_type_f1(one, other) <= 1


spelled = st.lists(st.tuples(st.sampled_from("ab"), st.text("XY", min_size=1, max_size=3)), max_size=4)


@given(spelled, spelled)
def test_spelled_values_are_never_more_wrong_than_saying_nothing(reference, guess):
    kinds_f1, edits, letters = spelled_counts(reference, guess)
    assert letters == sum(len(value) for _, value in reference) and 0 <= kinds_f1 <= 1
    assert spelled_counts(reference, reference)[:2] == (1.0, 0)
    marked = [token for slot, value in reference for token in (f"B-{slot}", *value, f"E-{slot}", " ")]
    assert spelled_slots(marked) == reference and edits >= 0


def trials(targets, others):
    return np.array([(score, 1) for score in targets] + [(score, 0) for score in others], float)


@pytest.mark.parametrize(
    ("targets", "others", "rate"),
    [
        ([3, 4], [1, 2], 0.0),
        ([1, 2], [3, 4], 1.0),
        ([1, 3], [2, 0], 0.5),
        ([4, 3, 2, 1], [3.5, 0.5, 0.4, 0.3], 0.25),
        ([1, 1], [1, 1], 0.5),  # nothing is known, so any threshold is as good as a coin
    ],
)
def test_equal_error_rate_by_hand(targets, others, rate):
    assert equal_error_rate(trials(targets, others)) == pytest.approx(rate)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@given(scores, scores)
def test_equal_error_rate_swaps_with_the_sign_and_ignores_scale(targets, others):
    rate = equal_error_rate(trials(targets, others))
    assert 0 <= rate <= 1
    assert equal_error_rate(trials([-s for s in targets], [-s for s in others])) == pytest.approx(1 - rate)
    assert equal_error_rate(trials([3 * s + 7 for s in targets], [3 * s + 7 for s in others])) == pytest.approx(rate)


@given(scores, scores)
def test_equal_error_rate_is_where_the_lines_between_thresholds_cross(targets, others):
    """By loops over thresholds: from one to the next, misses fall and false alarms rise linearly."""
    points = [(1.0, 0.0)]
    for limit in sorted({*targets, *others}, reverse=True):
        miss = sum(score < limit for score in targets) / len(targets)
        points.append((miss, sum(score >= limit for score in others) / len(others)))
    for (miss, alarm), (less, more) in itertools.pairwise(points):
        if more >= less:
            share = (miss - alarm) / ((miss - alarm) + (more - less))
            assert equal_error_rate(trials(targets, others)) == pytest.approx(miss + share * (less - miss))
            return


def test_an_equal_error_rate_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        equal_error_rate(trials([1], []))
    with pytest.raises(ValueError, match="both kinds"):
        equal_error_rate(trials([], [1, 2]))


def test_diarization_by_hand_and_in_any_order_of_speakers():
    wanted = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0]], bool)
    assert diarization_counts(wanted, wanted) == (0, 5)
    assert diarization_counts(wanted, wanted[:, ::-1]) == (0, 5)
    silent = np.zeros_like(wanted)
    assert diarization_counts(wanted, silent) == (5, 5)
    one_wrong = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]], bool)  # confused, missed in the overlap, false alarm
    assert diarization_counts(wanted, one_wrong) == (3, 5)


activity = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=9).map(lambda rows: np.array(rows))


@given(activity, st.data())
def test_diarization_errors_are_bounded(wanted, data):
    given_ = np.array([data.draw(st.tuples(st.booleans(), st.booleans())) for _ in wanted])
    wrong, speech = diarization_counts(wanted, given_)
    assert 0 <= wrong <= 2 * len(wanted) and speech == wanted.sum()
    assert wrong == diarization_counts(wanted, given_[:, ::-1])[0]


def test_term_weighted_value_by_hand():
    targets = np.array([[True, False, False], [False, True, False]])
    assert max_twv(np.where(targets, 1.0, 0.0), targets) == 1
    assert max_twv(np.where(targets, 0.0, 1.0), targets) == 0  # better to accept nothing
    # One query found, the other only behind a false alarm of it, which is one of its two chances.
    half = np.array([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    assert max_twv(half, targets) == pytest.approx(max(0.5, 1 - FALSE_ALARM_WEIGHT / 4))
    assert pytest.approx(12.49) == FALSE_ALARM_WEIGHT
    absent = np.vstack([targets, [False, False, False]])
    assert max_twv(np.vstack([half, [9.0, 9.0, 9.0]]), absent) == max_twv(half, targets)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=8))
def test_term_weighted_value_is_the_best_of_all_thresholds(row):
    score, target = np.array([[s for s, _ in row]], float), np.array([[t for _, t in row]])
    if not target.any():
        return
    values = [0.0]
    for limit in set(score[0].tolist()):
        said = score >= limit
        miss = (target & ~said).sum() / target.sum()
        alarm = (said & ~target).sum() / max(1, (~target).sum())
        values.append(1 - miss - FALSE_ALARM_WEIGHT * alarm)
    assert max_twv(score, target) == pytest.approx(max(values))


@settings(max_examples=80)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=4), min_size=1, max_size=3))
def test_the_threshold_is_shared_by_all_queries(rows):
    """By loops over thresholds and queries; those without a target do not count."""
    score, target = (np.array([[pair[k] for pair in row] for row in rows], kind) for k, kind in ((0, float), (1, bool)))
    held = [(s, t) for s, t in zip(score, target, strict=True) if t.any()]
    if not held:
        with pytest.raises(ValueError, match="a query that occurs"):
            max_twv(score, target)
        return
    values = [0.0]
    for limit in range(6):
        costs = [sum(t & (s < limit)) / sum(t) + 12.49 * sum(~t & (s >= limit)) / max(1, sum(~t)) for s, t in held]
        values.append(1 - sum(costs) / len(costs))
    assert max_twv(score, target) == pytest.approx(max(values))


def test_f1_of_kinds_by_hand():
    assert slot_type_f1("ab", "bcd") == pytest.approx(0.4) and slot_type_f1("aab", "ab") == 1
    assert slot_type_f1("a", "") == slot_type_f1("", "a") == 0 and slot_type_f1("", "") == 1
    two = np.array([slot_counts({"a": "1", "b": "2"}, {"a": "1"}), slot_counts({}, {"c": "3", "d": "4", "e": "5"})])
    assert slot_f1(two) == pytest.approx(2 * 1 / (4 + 2)) and slot_f1(np.array([slot_counts({}, {})])) == 1


def test_a_value_is_compared_with_the_nearest_that_was_given_for_its_slot():
    found = spelled_counts([("a", "ABCD"), ("a", "XY")], [("a", "ABC"), ("b", "XY"), ("a", "ABCDE"), ("a", "X")])
    assert found == (pytest.approx(2 / 3), 1 + 1, 6)


def test_a_mark_begins_anew_what_was_open():
    assert spelled_slots(("B-a", "X", "B-b", "Y", "Z", "E-b", "E-a")) == [("b", "YZ")]
    assert spelled_slots(("X", "E-a", "B-a", " ", "Y", " ", "Z", " ", "E-a", "E-a")) == [("a", "Y Z")]


def test_a_draw_without_a_value_is_left_out():
    counts, drawn = np.array([[[1.0], [2.0], [4.0]]]), []

    def statistic(rows):
        drawn.append(sorted(rows[:, 0].tolist()))
        if len(set(drawn[-1])) < 2:
            raise ValueError("as an equal error rate of one kind")
        return float(rows.max())

    found = bootstrap(counts, statistic)
    assert len(drawn) == 500 and [1.0, 1.0, 1.0] in drawn and found == (2.0, 4.0)
    assert all(set(draw) <= {1.0, 2.0, 4.0} and len(draw) == 3 for draw in drawn)

    def nothing(rows):
        raise ValueError("never one")

    assert bootstrap(counts, nothing) == (0.0, 1.0)
    many = np.random.default_rng(0).random((2, 50, 1))
    assert bootstrap(many, mean_f1) == bootstrap(many, mean_f1, 500, 0) != bootstrap(many, mean_f1, seed=1)


def test_an_interval_holds_the_value_and_narrows_with_more_clips():
    draw = np.random.default_rng(1)
    few, many = (draw.random((1, count, 1)) < 0.7 for count in (40, 4000))
    for counts in (few, many):
        low, high = bootstrap(counts, accuracy)
        assert low <= accuracy(counts[0]) <= high
    assert np.ptp(bootstrap(many, accuracy)) < 0.05 < np.ptp(bootstrap(few, accuracy))
    both = np.concatenate([few, ~few])
    assert bootstrap(both, accuracy) == pytest.approx((0.5, 0.5))  # each draw takes the same clips for all seeds


def test_an_interval_is_the_normal_one_of_95_percent_where_that_can_be_trusted():
    """Of a mean over many clips: 1.96 standard errors to either side (90 % would be 1.645, 99 % 2.576)."""
    counts = (np.arange(400) < 260)[None, :, None].astype(float)
    low, high = bootstrap(counts, accuracy, resamples=3000)
    error = (0.65 * 0.35 / 400) ** 0.5
    assert 0.65 - low == pytest.approx(1.96 * error, rel=0.07) and high - 0.65 == pytest.approx(1.96 * error, rel=0.07)


def test_a_weight_is_a_trial_that_is_there_so_often():
    draw = np.random.default_rng(0)
    one = np.stack([draw.standard_normal(60).round(1), draw.random(60) < 0.4], 1)
    weights = draw.integers(0, 4, 60)
    assert equal_error_rate(one, weights) == pytest.approx(equal_error_rate(np.repeat(one, weights, 0)))
    with pytest.raises(ValueError, match="both kinds"):
        equal_error_rate(one, (one[:, 1] > 0.5).astype(int))


def test_the_interval_of_an_equal_error_rate_is_that_of_speakers():
    """Three of twelve speakers are always taken for others: twelve draws of a coin, however many trials there are."""
    speakers = np.array([(a, b) for a in range(12) for b in range(12) for _ in range(20 if a == b else 2)])
    same = speakers[:, 0] == speakers[:, 1]
    found = np.where(same & (speakers[:, 0] < 3), -1.0, np.where(same, 1.0, -0.5))
    found = found + 1e-3 * np.random.default_rng(0).standard_normal(len(found))
    trials = np.stack([found, same], 1)[None]
    by_speaker, by_trial = interval(resampled_by_speaker(trials, speakers)), bootstrap(trials, equal_error_rate)
    assert by_speaker[0] <= equal_error_rate(trials[0]) <= by_speaker[1]
    assert np.ptp(by_speaker) > 2 * np.ptp(by_trial)


def test_draws_of_two_models_are_paired():
    counts = (np.random.default_rng(0).random((1, 200, 1)) < 0.5).astype(float)
    np.testing.assert_allclose(resampled(counts + 0.25, accuracy) - resampled(counts, accuracy), 0.25)
    trials = np.stack([np.arange(40.0), np.arange(40) % 2], 1)[None]
    speakers = np.arange(80).reshape(40, 2) % 9
    scaled = trials * np.array([3.0, 1.0])
    assert np.array_equal(resampled_by_speaker(trials, speakers), resampled_by_speaker(scaled, speakers))


def test_quality_puts_metrics_on_one_scale():
    assert quality("PER", 0.2) == 0.8 and quality("PER", 1.3) == 0 and quality("accuracy", 0.3) == 0.3
    pairs = itertools.product(("PER", "WER", "EER", "DER", "CER"), (0.1,))
    assert all(quality(metric, value) == 0.9 for metric, value in pairs)
