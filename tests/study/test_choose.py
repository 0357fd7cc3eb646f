"""The suggestion of layers, on cases whose answer is known."""

import pytest

from speechpress.compressor.study.choose import LEAST_GAIN, evenly, suggest
from speechpress.runtime.errors import SpeechpressError


def likeness(count, near=0.9, far=0.2):
    """Layers of the lower and of the upper half are alike; 0 is the input."""
    half = count // 2
    return [[1.0 if i == j else near if (i > half) == (j > half) else far for j in range(count)] for i in range(count)]


CHANCE = {"words": 0.1, "voices": 0.1}
SPLIT = {"words": [0.2, 0.3, 0.4, 0.8, 0.9], "voices": [0.5, 0.9, 0.6, 0.3, 0.2]}


def test_layers_that_are_good_at_different_tasks_are_chosen_together():
    found = suggest(SPLIT, CHANCE, likeness(5), most=3)
    assert found.first(2) == (1, 4)
    assert found.heads == 2 and found.layers == (1, 4)
    assert "distil layers 1, 4: one more" in found.reason
    assert "voices goes from 0.12 to 1.00" in found.steps[1].reason or "words goes" in found.steps[1].reason


def test_every_gain_is_said_and_none_grows():
    found = suggest(SPLIT, CHANCE, likeness(5), most=4)
    gains = [step.gain for step in found.steps]
    assert gains == sorted(gains, reverse=True) and len({step.layer for step in found.steps}) == 4
    assert all(f"layer {step.layer}" in step.reason for step in found.steps)
    assert all(gain >= LEAST_GAIN for gain in gains[: found.heads])


def test_equal_layers_need_one_head_only():
    found = suggest({"words": [0.5] * 4}, {"words": 0.1}, [[1.0] * 4] * 4)
    assert found.heads == 1 and found.layers == (3,)  # of equal ones the deepest


def test_equally_good_layers_that_are_unlike_are_told_apart_by_cka():
    cka = likeness(7)
    found = suggest({"words": [0.5] * 7}, {"words": 0.1}, cka, most=2)
    low, high = found.first(2)
    assert low <= 3 < high
    assert "no task gains by it" in found.steps[1].reason


def test_layer_zero_is_never_chosen():
    found = suggest({"words": [0.99, 0.2, 0.2]}, {"words": 0.1}, [[1.0] * 3] * 3, most=3)
    assert 0 not in [step.layer for step in found.steps] and len(found.steps) == 2


def test_a_gain_within_noise_is_called_so():
    scores = {"words": [0.1, 0.50, 0.90], "voices": [0.1, 0.92, 0.90]}
    told = suggest(scores, CHANCE, likeness(3), most=2, noise={"words": 0.01, "voices": 0.05})
    assert "voices goes from 0.98 to 1.00 (within noise)" in told.steps[1].reason


def test_a_task_at_chance_does_not_decide():
    with_noise = suggest({**SPLIT, "er": [0.1] * 5}, {**CHANCE, "er": 0.1}, likeness(5), most=2)
    assert with_noise.first(2) == (1, 4)


@pytest.mark.parametrize(("depth", "words"), [(1, "has 1 layer"), (0, "has 0 layer")])
def test_nothing_to_choose(depth, words):
    scores = {"words": [0.5] * (depth + 1)}
    with pytest.raises(SpeechpressError, match=words):
        suggest(scores, {"words": 0.1}, [[1.0] * (depth + 1)] * (depth + 1))


def test_no_task():
    with pytest.raises(SpeechpressError, match="no task was probed"):
        suggest({}, {}, likeness(5))


def test_even_steps_are_the_papers():
    assert evenly(3, 12) == (4, 8, 12) and evenly(2, 6) == (3, 6) and evenly(1, 6) == (6,) and evenly(3, 2) == (1, 2)
