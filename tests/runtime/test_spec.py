import math
from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from speechpress.compressor.models.config import EncoderConfig
from speechpress.runtime.spec import StreamSpec


def test_latency_of_huberts_front_end():
    spec = StreamSpec(chunk_frames=4, width=768)
    assert spec.latency() == {"chunk_ms": 80.0, "lookahead_ms": 5.0, "worst_age_ms": 85.0}
    assert replace(spec, lookahead_frames=3).latency() == {
        "chunk_ms": 80.0,
        "lookahead_ms": 65.0,
        "worst_age_ms": 145.0,
    }
    assert (spec.tail_samples, spec.lead_frames, spec.silence_samples, spec.first_frame) == (80, 1, 240, -1)


def test_end_of_frames():
    spec = StreamSpec(chunk_frames=1, width=8)
    assert spec.end_s(0) == 0.025
    assert np.allclose(spec.end_s(np.arange(3)), [0.025, 0.045, 0.065])


def test_a_student_that_answers_late_speaks_of_the_time_before():
    spec = StreamSpec(chunk_frames=4, width=768, lag_frames=5)
    latency = {"chunk_ms": 80.0, "lookahead_ms": 5.0, "lag_ms": 100.0, "worst_age_ms": 185.0}
    assert spec.latency() == latency and spec.first_frame == -1
    assert np.allclose(spec.end_s(np.array([0, 5, 6])), [-0.075, 0.025, 0.045])


def test_a_front_end_without_overlap_needs_no_lead():
    spec = StreamSpec(chunk_frames=2, width=8, hop_samples=320, receptive_samples=320)
    assert (spec.tail_samples, spec.lead_frames, spec.silence_samples) == (0, 0, 0)
    assert spec.latency()["lookahead_ms"] == 0


@given(
    layers=st.lists(st.tuples(st.integers(1, 10), st.integers(1, 5)), min_size=1, max_size=7),
    samples=st.integers(0, 5_000),
)
def test_frames_are_those_of_the_convolutions(layers, samples):
    kernels, strides = zip(*layers, strict=True)
    assume(math.prod(strides) <= 16_000)  # a second to a frame is the most that a config may have
    config = EncoderConfig(conv_channels=(8,) * len(layers), conv_kernels=kernels, conv_strides=strides)
    assert config.stream_spec(1).frames(samples) == max(0, config.frames(samples))
