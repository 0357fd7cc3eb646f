import numpy as np
import pytest

from speechpress.runtime.parity import compare, compare_layers, within


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


def test_another_number_of_frames_is_infinitely_far():
    assert compare_layers(np.zeros((3, 4)), np.zeros((2, 4)), 2)["max_abs"] == float("inf")


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
