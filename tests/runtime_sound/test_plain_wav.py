"""WAV files read without libsndfile, held against what libsndfile reads."""

import numpy as np
import pytest
import soundfile

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.plain_wav import open_plain_wav


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_reads_what_libsndfile_reads(tmp_path, subtype, channels):
    path = tmp_path / "a.wav"
    wave = np.random.default_rng(0).uniform(-1, 1, (1_001, channels))
    wave[:2] = [[-1.0], [1.0]]
    soundfile.write(path, wave, 22_050, subtype, format="WAV")
    wanted, rate = soundfile.read(path, dtype="float32", always_2d=True)
    with open_plain_wav(str(path)) as file:
        assert (file.samplerate, file.channels, file.frames) == (rate, channels, 1_001)
        parts = [file.read(400) for _ in range(4)]
    assert [len(part) for part in parts] == [400, 400, 201, 0]
    found = np.concatenate(parts)
    assert found.dtype == np.float32 and np.array_equal(found, wanted)


def test_a_file_that_was_cut_short_gives_whole_samples(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((100, 2)), 16_000, "PCM_16")
    path.write_bytes(path.read_bytes()[:-3])
    with open_plain_wav(str(path)) as file:
        assert file.read(1_000).shape == (99, 2)


@pytest.mark.parametrize("content", [b"", b"fLaC", b"RIFF\x04\x00\x00\x00WAVE"])
def test_what_it_cannot_read_says_what_can(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(SpeechpressError, match=r"is not a plain WAV .*pip install 'speechpress-runtime\[demo\]'"):
        open_plain_wav(str(path)).__enter__()


def test_floats_are_for_libsndfile(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 16_000, "FLOAT")
    with pytest.raises(SpeechpressError, match="is not a plain WAV"):
        open_plain_wav(str(path)).__enter__()
