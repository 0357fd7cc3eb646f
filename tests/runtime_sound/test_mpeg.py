"""mp3: all that a file holds is read, whatever its header says, and a header that is wrong is told."""

import time

import numpy as np
import pytest
import soundfile
from sounds import mp3, without_xing

from speechpress.compressor.data.audio import UnreadableAudio, probe, read_audio, read_cut, read_samples
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.sound.mpeg import find_frames, with_true_header


def saved(path, data):
    path.write_bytes(data)
    return path


def likeness(heard, expected, late):
    """The correlation of two recordings, of which the first begins up to `late` samples late."""
    window = slice(40_000, 52_000)
    shift = np.correlate(heard[window.start : window.stop + late], expected[window], "valid").argmax()
    length = min(len(heard) - shift, len(expected))
    return np.corrcoef(heard[shift:][:length], expected[:length])[0, 1]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_are_counted_as_their_encoder_says(rate, channels):
    data = mp3(3.0, rate, channels=channels)
    frames = find_frames(data)
    assert frames.count == frames.claimed and not frames.others
    assert 0 <= frames.samples - 3 * rate < 4 * 1152
    assert (frames.header.rate, frames.header.channels) == (rate, channels)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_variable_rate_without_a_xing_header_is_read_to_its_end(tmp_path, rate, caplog):
    whole, bare = mp3(6.0, rate), without_xing(mp3(6.0, rate))
    path = saved(tmp_path / "bare.mp3", bare)
    assert abs(soundfile.info(str(path)).duration - 6.0) > 1, "libsndfile alone misjudges it, else this tests nothing"
    expected = read_audio(saved(tmp_path / "whole.mp3", whole))
    samples = read_audio(path)
    assert abs(len(samples) - 96_000) < 4_000
    assert likeness(samples, expected, 3_000) > 0.99
    corpus = open_corpus(path)
    assert corpus.cuts[0].duration == pytest.approx(6.0, abs=0.25)
    assert "1 mp3 files say that they last" in corpus.notes[0] and corpus.notes[0] in caplog.text
    assert abs(len(read_cut(corpus.cuts[0])) - len(samples)) <= 1  # of rounding to 16 kHz
    np.testing.assert_allclose(read_samples(corpus.cuts[0], 60_000, 8_000), samples[60_000:68_000], atol=1e-4)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_two_recordings_in_one_file_are_both_read(tmp_path, mode):
    one, two = mp3(3.0, seed=1, mode=mode, quiet=False), mp3(4.0, seed=2, mode=mode, quiet=False)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 4, 0]) + b"\xff\xfb\x90\x64" * 128
    for name, data in {"spliced": one + two, "tagged": one + tag + two + b"TAG".ljust(128, b"x")}.items():
        samples = read_audio(saved(tmp_path / f"{name}.mp3", data))
        assert len(samples) == pytest.approx(7 * 16_000, abs=6_000)
        second = read_audio(saved(tmp_path / "two.mp3", two))
        assert likeness(samples[48_000:], second, 5_000) > 0.98


def test_a_file_cut_short_has_the_length_that_is_left(tmp_path):
    data = mp3(6.0, mode="CONSTANT", quiet=False)
    corpus = open_corpus(saved(tmp_path / "half.mp3", data[: len(data) // 2]))
    assert corpus.cuts[0].duration == pytest.approx(3.0, abs=0.2)
    assert "1 mp3 files say that they last 6" in corpus.notes[0]
    assert len(read_cut(corpus.cuts[0])) == round(corpus.cuts[0].duration * 16_000)


def test_damage_in_the_middle_costs_only_the_frames_that_it_hits(tmp_path):
    data = bytearray(mp3(6.0, mode="CONSTANT", quiet=False))
    middle = len(data) // 2
    data[middle : middle + len(data) // 50] = bytes(len(data) // 50)
    samples = read_audio(saved(tmp_path / "hole.mp3", bytes(data)))
    lost_s = 6 - len(samples) / 16_000
    assert 0 < lost_s < 0.6


def test_a_right_file_is_left_to_libsndfile_and_nothing_is_said(tmp_path, caplog):
    path = saved(tmp_path / "right.mp3", mp3(3.0))
    corpus = open_corpus(path)
    assert not corpus.notes and not caplog.records
    np.testing.assert_allclose(read_audio(path), soundfile.read(path, dtype="float32")[0], atol=1e-6)


def test_a_file_that_changes_its_rate_is_refused_with_the_seconds(tmp_path):
    path = saved(tmp_path / "two.mp3", mp3(3.0, 16_000) + mp3(2.0, 44_100))
    with pytest.raises(UnreadableAudio, match=r"2\.\d s of it have another rate"):
        probe(str(path), "two")


def test_a_rebuilt_stream_says_what_it_holds():
    data = without_xing(mp3(3.0))
    rebuilt = find_frames(with_true_header(data, find_frames(data)))
    assert rebuilt.claimed == rebuilt.count == find_frames(data).count


@pytest.mark.parametrize(
    "data", [b"\xff" * 4_000_000, b"\xff\xfb\x90\x64" * 1_000_000, bytes(4_000_000), b"ID3" + b"\x7f" * 4_000_000]
)
def test_bytes_that_look_like_frames_everywhere_take_no_time(data):
    begun = time.perf_counter()
    assert find_frames(data) is None
    assert time.perf_counter() - begun < 2
