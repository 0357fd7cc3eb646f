import numpy as np
import pytest

from speechpress.runtime.parity import compare, compare_layers, describe, within, worst

INFINITELY_FAR = {"max_abs": float("inf"), "snr_db": float("-inf"), "cosine": -1.0}


def test_a_quiet_layer_is_not_hidden_by_a_loud_one():
    rng = np.random.default_rng(0)
    loud, quiet = 100 * rng.standard_normal((20, 8)), rng.standard_normal((20, 8))
    wanted = np.concatenate([loud, quiet], 1)
    frames = np.concatenate([loud, -quiet], 1)
    assert compare(frames, wanted)["cosine"] > 0.99
    found = compare_layers(frames, wanted, 2)
    assert found["cosine"] < -0.99 and found["snr_db"] < -6 and found["max_abs"] == compare(frames, wanted)["max_abs"]


def test_one_layer_is_compared_as_it_is():
    rng = np.random.default_rng(1)
    wanted = rng.standard_normal((7, 6))
    frames = wanted + 0.1 * rng.standard_normal((7, 6))
    assert compare_layers(frames, wanted, 1) == compare(frames, wanted)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2, 5), (2, 3)])
def test_another_shape_is_infinitely_far(shape):
    frames, wanted = np.ones(shape), np.ones((2, 4))
    assert compare(frames, wanted) == compare_layers(frames, wanted, 2) == INFINITELY_FAR


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_infinitely_far(value):
    frames = np.ones((2, 4))
    frames[1, 3] = value
    assert compare(frames, np.ones((2, 4))) == compare_layers(frames, np.ones((2, 4)), 2) == INFINITELY_FAR


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_figures_by_hand(scale):
    """Two frames, one of which is off by 1 in one of its numbers; only the error knows how loud they are."""
    wanted, frames = scale * np.array([[3.0, 4.0], [1.0, -2.0]]), scale * np.array([[4.0, 4.0], [1.0, -2.0]])
    found = compare(frames, wanted)
    assert found["max_abs"] == pytest.approx(scale)
    assert found["snr_db"] == pytest.approx(10 * np.log10(9 + 16 + 1 + 4))
    assert found["cosine"] == pytest.approx(((12 + 16) / (5 * 32**0.5) + 1) / 2)


def test_errors_below_the_digits_of_float32_still_count():
    """A long clip with one frame that is far off: its square is a millionth of the sum."""
    wanted = np.ones((4096, 32), np.float32)
    frames = wanted.copy()
    frames[7, 0] += 0.25
    assert compare(frames, wanted)["snr_db"] == pytest.approx(10 * np.log10(4096 * 32 / 0.0625), abs=1e-9)


def test_silence_has_figures_too():
    """They stand in JSON documents, which have no infinities and no NaN."""
    silence = np.zeros((3, 4))
    assert compare(silence, silence) == {"max_abs": 0.0, "snr_db": 200.0, "cosine": 0.0}
    noise = compare(silence + 0.5, silence)
    assert noise["max_abs"] == 0.5 and noise["cosine"] == 0.0 and -400 < noise["snr_db"] < -200
    assert compare(silence + 2, silence + 2) == {"max_abs": 0.0, "snr_db": 200.0, "cosine": pytest.approx(1.0)}


def test_the_worst_of_each_figure():
    one, two = {"max_abs": 0.1, "snr_db": 30.0, "cosine": 0.9}, {"max_abs": 0.2, "snr_db": 40.0, "cosine": 0.8}
    assert worst([one, two]) == worst([two, one]) == {"max_abs": 0.2, "snr_db": 30.0, "cosine": 0.8}
    assert describe(one) == "error 0.1, SNR 30.0 dB, cosine 0.9000" and describe({"snr_db": 7.25}) == "SNR 7.2 dB"


@pytest.mark.parametrize(
    ("name", "limit", "worse", "better"),
    [
        ("max_abs", 1e-4, 1.01e-4, 0.99e-4),
        ("snr_db", 40.0, 39.9, 40.1),
        ("cosine", 0.999, 0.9989, 0.9991),
    ],
)
def test_every_limit_is_as_it_is_written(name, limit, worse, better):
    """It is the gate of the export: no slack on either side."""
    perfect = {"max_abs": 0.0, "snr_db": 200.0, "cosine": 1.0}
    assert within({**perfect, name: limit}, {name: limit}) and within({**perfect, name: better}, {name: limit})
    assert not within({**perfect, name: worse}, {name: limit})
    assert not within({**perfect, name: worse}, {"max_abs": 1.0, "snr_db": 0.0, "cosine": 0.0, name: limit})
