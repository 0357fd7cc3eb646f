"""Pieces of audio of every kind, and what is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.samples import FEW_CHANNELS, FULL_SCALE, LOUDEST, mono, read_piece


def test_integers_are_scaled_and_floats_are_not():
    assert mono(np.array([-32768, 16384], np.int16)).tolist() == [-1.0, 0.5]
    assert mono(np.array([-(2**31), 2**30], np.int32)).tolist() == [-1.0, 0.5]
    for dtype in (np.float16, np.float32, np.float64):
        assert mono(np.array([-1.5, 0.25], dtype)).tolist() == [-1.5, 0.25]


def test_bad_samples_are_counted_once_each():
    piece = read_piece(np.array([np.nan, np.inf, -np.inf, 1e300, -1e38, LOUDEST, 1.0, FULL_SCALE, 0.5]))
    assert piece.wave.tolist() == [0, 0, 0, LOUDEST, -LOUDEST, LOUDEST, 1.0, FULL_SCALE, 0.5]
    assert (piece.replaced, piece.clipped) == (3, 5)
    both = read_piece(np.array([[np.nan, 1.0], [0.5, 0.5]], np.float32))
    assert both.wave.tolist() == [0.5, 0.5] and (both.replaced, both.clipped) == (1, 1)
    assert read_piece(np.array([np.inf, 65_504], np.float16))[1:] == (1, 1)


@given(
    arrays.arrays(
        st.sampled_from([np.int16, np.int32, np.float16, np.float32, np.float64]),
        st.one_of(st.tuples(st.integers(0, 30)), st.tuples(st.integers(0, 30), st.integers(1, FEW_CHANNELS))),
    )
)
def test_whatever_comes_is_finite_and_squares_of_it_are(samples):
    piece = read_piece(samples)
    assert piece.wave.dtype == np.float32 and piece.wave.shape == samples.shape[:1]
    assert np.isfinite(np.square(piece.wave)).all()
    assert 0 <= piece.replaced + piece.clipped <= samples.size


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(5, np.uint8), "is uint8 of shape"),
        (np.zeros(5, complex), "complex128"),
        (np.zeros((2, 2, 2), np.float32), "(2, 2, 2)"),
        (np.float32(1), "of shape ()"),
        (["a"], "must be int16, int32"),
        (None, "object"),
        (np.zeros((1, 320), np.float32), "320 channels of 1 samples"),
        (np.zeros((5, 0), np.float32), "no channel"),
        (np.zeros((10, 11), np.int16), "samples come first"),
    ],
)
def test_what_is_no_audio_is_refused(samples, said):
    with pytest.raises(SpeechpressError) as error:
        mono(samples)
    assert said in str(error.value)


def test_few_samples_of_few_channels_and_many_of_many_are_audio():
    assert mono(np.zeros((1, FEW_CHANNELS), np.float32)).shape == (1,)
    assert mono(np.zeros((64, 64), np.int16)).shape == (64,)
    assert mono(np.zeros((0, 2), np.float32)).shape == (0,)
