"""Sounds: files, parts of them, mixtures; what they are known by; what is wrong with them before anything is heard."""

import os

import numpy as np
import pytest
from sounds import write

from speechpress.compressor.data.audio import UnreadableAudio, read_audio
from speechpress.compressor.data.sounds import Sound, check_sounds, clip, durations_s, identity, read_sound
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture
def two(tmp_path):
    return str(write(tmp_path / "a.wav", 1.0)), str(write(tmp_path / "b.wav", 0.5, seed=3))


def test_a_clip_its_middle_and_a_part(two):
    whole = read_audio(two[0])
    assert np.array_equal(read_sound(clip(two[0])), whole)
    assert np.array_equal(read_sound(clip(two[0], 0.5)), whole[4000:12000])
    assert np.array_equal(read_sound(Sound(((two[0], 0.0),), 0.25, 0.5)), whole[8000:12000])
    assert len(read_sound(clip(two[0], 9.0))) == 16000  # no more than there is


def test_a_mixture_is_the_sum_of_its_parts_where_they_begin(two):
    mixed = read_sound(Sound(((two[0], 0.0), (two[1], 0.75))))
    expected = np.zeros(20000, np.float32)
    expected[:16000] += read_audio(two[0])
    expected[12000:] += read_audio(two[1])
    assert np.array_equal(mixed, expected)
    assert durations_s([Sound(((two[0], 0.0), (two[1], 0.75)))]) == {Sound(((two[0], 0.0), (two[1], 0.75))): 1.25}


def test_the_identity_is_that_of_what_is_heard(two, tmp_path):
    sound = clip(two[0])
    others = [clip(two[1]), clip(two[0], 0.5), Sound(((two[0], 0.0),), 0.5, 0.1), Sound(((two[0], 0.0), (two[1], 0.0)))]
    names = {identity(one) for one in [sound, *others]}
    assert len(names) == 5 and identity(sound) == identity(clip(two[0]))
    assert identity(clip(os.path.relpath(two[0]))) == identity(sound)
    before = identity(sound)
    write(tmp_path / "a.wav", 1.0, seed=5)  # as long as before, but something else
    assert identity(sound) != before
    assert identity(clip(tmp_path / "gone.wav")) != identity(sound)


def test_what_is_missing_or_too_short_is_said_at_once(two, tmp_path):
    assert check_sounds([clip(one) for one in two], 0.025, "task 'ks'") == pytest.approx(1.5)
    with pytest.raises(SpeechpressError, match=r"task 'ks': 1 labelled files are not there, the first is .*gone\.wav"):
        check_sounds([clip(two[0]), clip(tmp_path / "gone.wav")], 0.025, "task 'ks'")
    with pytest.raises(
        SpeechpressError, match=r"1 clips are shorter than the 800 ms that a frame needs: .*b\.wav \(500 ms\)"
    ):
        check_sounds([clip(one) for one in two], 0.8, "task 'ks'")
    short = write(tmp_path / "short.wav", 0.01)
    with pytest.raises(UnreadableAudio, match="too short"):
        read_sound(clip(short))


def test_a_file_that_is_no_audio_has_no_length_and_is_found_when_it_is_read(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF no more")
    assert durations_s([clip(tmp_path / "x.wav")]) == {clip(tmp_path / "x.wav"): 0.0}
    check_sounds([clip(tmp_path / "x.wav")], 0.025, "here")
    with pytest.raises(UnreadableAudio, match="not readable"):
        read_sound(clip(tmp_path / "x.wav"))
