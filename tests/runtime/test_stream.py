import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import TorchEngine
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.samples import LOUDEST
from speechpress.runtime.spec import NO_END, StreamSpec
from speechpress.runtime.stream import Step, StreamingExtractor, resampler_delay_ms


@pytest.fixture(scope="module")
def engine(tiny_config):
    torch.manual_seed(0)
    encoder = Encoder(replace(tiny_config, conv_norm="static", pos_conv_future=0, left_context=12)).eval()
    encoder.measure_statistics(torch.from_numpy(tone(2.0))[None])
    return TorchEngine(encoder, 4)


def tone(duration_s, rate=16_000):
    """A gliding tone with breaks, the same at every sample rate."""
    t = np.arange(round(duration_s * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * t) * t) * (np.sin(9 * t) > -0.5)).astype(np.float32)


def whole(extractor, wave, piece=1000):
    parts = [extractor.push(wave[start : start + piece]) for start in range(0, len(wave), piece)]
    parts.append(extractor.flush())
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def test_nothing_heavy_is_imported():
    code = """
import sys, speechpress.runtime.stream
heavy = [name for name in sys.modules if "torch" in name or "compressor" in name]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_piece_of_no_samples_changes_nothing(engine):
    one, two, wave = StreamingExtractor(engine), StreamingExtractor(engine), tone(0.5)
    empty = one.push(np.zeros(0, np.float32))
    assert empty.frames.shape == (0, 32) and empty.end_s.shape == (0,)
    first = one.push(wave)
    assert one.push(np.zeros(0, np.int16)).frames.shape == (0, 32)
    assert np.array_equal(np.concatenate([first.frames, one.flush().frames]), whole(two, wave)[0])


@pytest.mark.parametrize("samples", (0, 1, 399))
def test_a_stream_too_short_for_a_frame_has_none(engine, samples):
    extractor = StreamingExtractor(engine)
    assert len(extractor.push(tone(1.0)[:samples]).frames) == len(extractor.flush().frames) == 0


def test_bad_samples_count_as_silence_and_are_said(engine, caplog):
    wave = tone(0.5)
    broken, silent = wave.copy(), wave.copy()
    broken[[3_000, 3_001, 5_000]] = np.nan, np.inf, -np.inf
    silent[[3_000, 3_001, 5_000]] = 0.0
    extractor = StreamingExtractor(engine)
    with caplog.at_level(logging.WARNING):
        frames, *_ = whole(extractor, broken)
    assert np.array_equal(frames, whole(StreamingExtractor(engine), silent)[0])
    assert extractor.counts.replaced == 3 and extractor.counts.samples == len(wave)
    assert len(caplog.records) == 1 and "NaN" in caplog.text  # once, not for every piece


def test_int16_is_scaled_and_its_clipping_counted(engine):
    wave = tone(0.5)
    pcm = np.round(wave * 32768).astype(np.int16)
    pcm[100:103] = 32767, -32768, 32766
    extractor = StreamingExtractor(engine)
    frames, *_ = whole(extractor, pcm)
    wanted, *_ = whole(StreamingExtractor(engine), pcm.astype(np.float32) / 32768)
    assert np.array_equal(frames, wanted)
    assert extractor.counts.clipped == 2
    as_int32, *_ = whole(StreamingExtractor(engine), pcm.astype(np.int32) << 16)
    assert np.array_equal(as_int32, wanted)


def test_floats_beyond_full_scale_are_left_alone_and_counted(engine):
    wave, extractor = tone(0.5) * 8, StreamingExtractor(engine)
    frames, *_ = whole(extractor, wave)
    assert extractor.counts.clipped == (np.abs(wave) >= 1 - 2**-15).sum() > 0
    assert not np.allclose(frames, whole(StreamingExtractor(engine), wave.clip(-1, 1))[0])


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_what_no_audio_reaches_is_clipped_and_counted(dtype, tiny_config):
    """Even where the model squares what it hears: 1e38 of a float32 would be infinite then."""
    encoder = Encoder(
        replace(tiny_config, conv_norm="frame", input_norm="running", pos_conv_future=0, left_context=12)
    ).eval()
    loud = tone(0.5).astype(dtype)
    loud[[3_000, 3_001, 5_000]] = (1e38, -3e38, 1e300) if dtype == np.float64 else (1e38, -3e38, 1e20)
    extractor = StreamingExtractor(TorchEngine(encoder, 4))
    frames, *_ = whole(extractor, loud)
    assert np.isfinite(frames).all()
    assert extractor.counts.clipped == 3 and extractor.counts.replaced == 0
    again = loud.clip(-LOUDEST, LOUDEST).astype(np.float32)
    assert np.array_equal(frames, whole(StreamingExtractor(TorchEngine(encoder, 4)), again)[0])


@pytest.mark.parametrize("shape", [(1, 4_000), (2, 4_000), (1, 9)])
def test_channels_before_samples_are_refused(engine, shape):
    extractor = StreamingExtractor(engine)
    with pytest.raises(SpeechpressError, match=r"samples come first\. Transpose it \(piece\.T\).*piece\[0\]"):
        extractor.push(np.zeros(shape, np.float32))
    assert extractor.counts.samples == 0
    wave = np.stack([tone(0.4)] * 2)
    frames, *_ = whole(extractor, wave.T)
    assert np.array_equal(frames, whole(StreamingExtractor(engine), tone(0.4))[0])


def test_channels_are_averaged(engine):
    left, right = tone(0.4), tone(0.4)[::-1]
    frames, *_ = whole(StreamingExtractor(engine), np.stack([left, right], 1))
    assert np.allclose(frames, whole(StreamingExtractor(engine), (left + right) / 2)[0], atol=1e-5)


@pytest.mark.parametrize("samples", (np.zeros(5, np.uint8), np.zeros((2, 2, 2), np.float32), np.float32(1), ["a"]))
def test_what_is_no_audio_is_refused(engine, samples):
    extractor = StreamingExtractor(engine)
    with pytest.raises(SpeechpressError, match="a piece of audio is"):
        extractor.push(samples)
    assert len(whole(extractor, tone(0.2))[0])  # and the stream lives on


@pytest.mark.parametrize("rate", (8_000, 22_050, 44_100, 48_000))
def test_another_sample_rate_is_resampled_as_it_streams(engine, rate):
    wave = tone(1.0, rate)
    frames, end_s, *_ = whole(StreamingExtractor(engine, rate), wave, piece=rate // 100)
    again, *_ = whole(StreamingExtractor(engine, rate), wave, piece=len(wave))
    reference, times, *_ = whole(StreamingExtractor(engine), soxr.resample(wave, rate, 16_000))
    assert np.abs(frames - again).max() <= 1e-4
    assert np.array_equal(end_s, times)
    assert np.abs(frames - reference).max() <= 1e-3


def test_a_change_of_rate_in_mid_stream_leaves_no_gap(engine):
    """The second half comes at 48 kHz: the same frames, but for those around the change, at the same times."""
    extractor, slow, fast = StreamingExtractor(engine), tone(1.6), tone(1.6, 48_000)
    parts = [extractor.push(slow[:12_800]), extractor.push(fast[38_400:], sample_rate=48_000), extractor.flush()]
    frames, end_s, *_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    wanted, times, *_ = whole(StreamingExtractor(engine), slow)
    assert np.array_equal(end_s, times) and extractor.counts.rate_changes == 1
    error = np.abs(frames - wanted).max(1)
    assert error[:38].max() <= 1e-4
    assert np.median(error[39:]) < 0.05 * np.abs(wanted).max()
    with pytest.raises(SpeechpressError, match="0 Hz is not an audio rate"):
        StreamingExtractor(engine, 0)


@pytest.mark.parametrize(("before", "after"), [(48_000, 16_000), (44_100, 48_000), (8_000, 44_100)])
def test_what_a_resampler_holds_is_heard_at_a_change_of_rate(engine, before, after):
    """All frames come at their times, and those after the change hear what comes after it: no audio is lost."""
    extractor = StreamingExtractor(engine, before)
    first, second = tone(1.6, before)[: round(0.8 * before)], tone(1.6, after)[round(0.8 * after) :]
    parts = [extractor.push(first), extractor.push(second, sample_rate=after), extractor.flush()]
    frames, end_s, *_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    halves = soxr.resample(first, before, 16_000), soxr.resample(second, after, 16_000)
    wanted, times, *_ = whole(StreamingExtractor(engine), np.concatenate(halves))
    assert np.array_equal(end_s, times)
    assert np.abs(frames - wanted).max() <= 1e-3


def test_no_sample_is_older_than_the_stated_worst_age(engine):
    extractor, wave, ages = StreamingExtractor(engine), tone(1.0), []
    frame = 0
    for start in range(0, len(wave), 80):
        end_s = extractor.push(wave[start : start + 80]).end_s
        now_s = (start + 80) / 16_000
        assert (end_s <= now_s).all()
        ages += [1000 * (now_s - 0.020 * index) for index in range(frame, frame + len(end_s))]
        frame += len(end_s)
    assert max(ages) == pytest.approx(extractor.latency()["worst_age_ms"]) == pytest.approx(85.0)


def test_latency_at_another_rate_has_the_resamplers_part(engine):
    latency = StreamingExtractor(engine, 48_000).latency()
    assert latency["resampler_ms"] == resampler_delay_ms(48_000, 16_000) > 0
    assert latency["worst_age_ms"] == 85.0 + latency["resampler_ms"]
    extractor, wave, behind = StreamingExtractor(engine, 48_000), tone(1.0, 48_000), []
    for start in range(0, len(wave), 48):
        end_s = extractor.push(wave[start : start + 48]).end_s
        behind += [1000 * (start + 48) / 48_000 - 1000 * (time - 0.025) for time in end_s]
    assert max(behind) <= latency["worst_age_ms"] + 1e-6


def test_reset_starts_anew_and_a_flushed_stream_takes_no_more(engine):
    extractor, wave = StreamingExtractor(engine), tone(0.7)
    first, times, *_ = whole(extractor, wave)
    for call in (lambda: extractor.push(wave), extractor.flush):
        with pytest.raises(SpeechpressError, match="call reset"):
            call()
    extractor.reset()
    again, same_times, *_ = whole(extractor, wave)
    assert np.array_equal(first, again) and np.array_equal(times, same_times)


def test_memory_does_not_grow_with_what_was_heard(engine):
    extractor = StreamingExtractor(engine)

    def held():
        pieces = [piece for array in extractor._pending for piece in (array, array.base) if piece is not None]
        return sum(array.nbytes for array in [*pieces, *extractor.state.values()])

    extractor.push(tone(1.0))
    after_one_s = held()
    for _ in range(5):
        extractor.push(tone(3.0))
        assert held() <= after_one_s + 4 * extractor.spec.chunk_samples


class Window:
    """An engine whose frame t is the audio that it is made from, samples [t x hop, t x hop + receptive)."""

    heads = ()

    def __init__(self, chunk_frames, hop, receptive, lookahead):
        self.spec = StreamSpec(chunk_frames, receptive, 16_000, hop, receptive, lookahead)
        self.ends, self.chunks = [], 0

    def initial_state(self):
        past = self.spec.receptive_samples + self.spec.lookahead_frames * self.spec.hop_samples
        return {"past": np.zeros(past, np.float32), "end": np.array([NO_END], np.int64)}

    def step(self, chunk, state):
        assert chunk.shape == (1, self.spec.chunk_samples) and chunk.dtype == np.float32
        self.chunks += 1
        self.ends.append(int(state["end"][0]))
        heard = np.concatenate([state["past"], chunk[0]])
        later = (self.spec.lookahead_frames + np.arange(self.spec.chunk_frames)[::-1]) * self.spec.hop_samples
        frames = [heard[len(heard) - back - self.spec.receptive_samples : len(heard) - back] for back in later]
        return Step(np.stack(frames)[None], {**state, "past": heard[-len(state["past"]) :]})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_frame_is_made_from_its_own_samples(data):
    """Whatever the pieces and the model's cut of time; the frames of a stream are those that its audio fills."""
    chunk_frames, hop, lookahead = (data.draw(st.integers(*ends)) for ends in ((1, 5), (1, 7), (0, 6)))
    engine = Window(chunk_frames, hop, data.draw(st.integers(hop, 4 * hop)), lookahead)
    receptive = engine.spec.receptive_samples
    cuts = sorted(data.draw(st.lists(st.integers(0, 120), max_size=6)))
    wave = np.arange(1, data.draw(st.integers(0, 120)) + 1, dtype=np.float32) / 128
    extractor = StreamingExtractor(engine)
    for _again in range(2):
        parts = [extractor.push(piece) for piece in np.split(wave, cuts)]
        live, number = sum(len(part.frames) for part in parts), extractor.spec.frames(len(wave))
        # What has been heard and its look-ahead is there at once, but for what the last chunk still waits for.
        assert number - live <= lookahead + chunk_frames and all(end == NO_END for end in engine.ends)
        parts.append(extractor.flush())
        frames, end_s, *_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        wanted = [wave[start : start + receptive] for start in range(0, len(wave) - receptive + 1, hop)]
        assert number == len(wanted) and np.array_equal(frames, np.reshape(wanted, (-1, receptive)))
        assert np.allclose(end_s, (np.arange(number) * hop + receptive) / 16_000)
        assert extractor.counts.samples == len(wave) and extractor.counts.replaced == 0
        assert set(engine.ends) <= {NO_END, number}
        assert engine.chunks * chunk_frames < number - engine.spec.first_frame + 2 * chunk_frames
        engine.chunks, engine.ends = 0, []
        extractor.reset()


@pytest.mark.parametrize("rate", (4_000, 768_000))
def test_audio_rates_are_those_from_4_to_768_khz(engine, rate):
    assert StreamingExtractor(engine, rate).push(np.zeros(10, np.float32)).frames.shape == (0, 32)
    for odd in (rate - 1, rate + 1):
        if not 4_000 <= odd <= 768_000:
            with pytest.raises(SpeechpressError, match=rf"sample rate {odd} Hz is not an audio rate"):
                StreamingExtractor(engine, odd)
            with pytest.raises(SpeechpressError, match="is not an audio rate"):
                StreamingExtractor(engine).push(np.zeros(10, np.float32), sample_rate=odd)


def test_the_lag_of_a_resampler_is_what_it_holds_back_at_worst():
    """By running one for a second in pieces of a millisecond."""
    for rate in (8_000, 44_100, 48_000):
        resampler = soxr.ResampleStream(rate, 16_000, 1, quality="HQ")
        piece, out, worst = rate // 1000, 0, 0.0
        for number in range(1, rate // piece + 2):
            worst = max(worst, number * piece / rate - out / 16_000)
            out += len(resampler.resample_chunk(np.zeros(piece, np.float32)))
        assert resampler_delay_ms(rate, 16_000) == pytest.approx(1000 * worst, abs=0.01)
        assert 1 < resampler_delay_ms(rate, 16_000) < 200
    assert resampler_delay_ms(16_000, 16_000) == 0
    latency = StreamingExtractor(Window(4, 320, 400, 0)).latency()
    assert latency["resampler_ms"] == 0 and latency["worst_age_ms"] == 85.0


def test_what_is_said_of_a_stream_is_all_of_it(engine):
    """Counts go on over pieces and changes of rate, and begin anew with a reset."""
    extractor, broken = StreamingExtractor(engine), np.full(100, np.nan, np.float32)
    for rate in (16_000, 48_000, 48_000, 8_000):
        extractor.push(broken, sample_rate=rate)
        extractor.push(np.full(50, 1.0, np.float32))
    counts = extractor.counts
    assert (counts.samples, counts.replaced, counts.clipped, counts.rate_changes) == (600, 400, 200, 2)
    assert extractor.sample_rate == 8_000
    extractor.reset()
    assert vars(extractor.counts) == {"samples": 0, "replaced": 0, "clipped": 0, "rate_changes": 0}
    assert extractor.sample_rate == 16_000  # what it was made for


class Numbered:
    """Frame t says t, and its head that it is t."""

    heads = (HeadSpec("talk", "vad", ("talk",), (1,), threshold=0.5),)

    def __init__(self, spec):
        self.spec = spec

    def initial_state(self):
        return {"end": np.array([NO_END]), "next": np.array([self.spec.first_frame])}

    def step(self, chunk, state):
        first = int(state["next"][0])
        numbers = np.arange(first, first + self.spec.chunk_frames, dtype=np.float32)[None, :, None]
        # Talk from frame 60 to 119.
        answers = {"talk": {"logits": np.where((numbers >= 60) & (numbers < 120), 9.0, -9.0).astype(np.float32)}}
        return Step(numbers, {**state, "next": np.array([first + self.spec.chunk_frames])}, answers)


def test_what_a_student_says_late_is_of_the_time_that_it_speaks_of():
    """Frames keep their numbers; their times, and those of events, are so much earlier."""
    plain, late = (StreamSpec(chunk_frames=4, width=1, lag_frames=lag) for lag in (0, 5))
    outs = []
    for spec in (plain, late):
        extractor = StreamingExtractor(Numbered(spec))
        one, rest = extractor.push(tone(4.0)), extractor.flush()
        outs.append((np.concatenate([one.frames, rest.frames]), np.concatenate([one.end_s, rest.end_s]),
                     list(one.events + rest.events)))  # fmt: skip
    (frames, end_s, events), (late_frames, late_end_s, late_events) = outs
    assert np.array_equal(frames, late_frames) and np.allclose(end_s - late_end_s, 0.1)
    assert len(events) == len(late_events) > 0
    for one, other in zip(events, late_events, strict=True):
        assert one.kind == other.kind and one.end_s - other.end_s == pytest.approx(0.1)
    assert all(event.start_s >= 0 for event in late_events)
    ages = [StreamingExtractor(Numbered(spec)).latency() for spec in (plain, late)]
    assert ages[1]["lag_ms"] == 100 and ages[1]["worst_age_ms"] == ages[0]["worst_age_ms"] + 100
    assert ages[1]["heads"]["talk"]["final_ms"] == ages[0]["heads"]["talk"]["final_ms"] + 100
