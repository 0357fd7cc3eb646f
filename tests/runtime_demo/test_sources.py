import os

import numpy as np
import pytest
import soundfile
from sounds import mp3, voice, without_xing

from speechpress.runtime.demo.sources import PcmSource, WavSource
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.samples import mono


def heard(source):
    blocks = []
    while True:
        try:
            block = source.read(1.0)
        except EOFError:
            return np.concatenate([block.samples for block in blocks])
        if block is not None:
            blocks.append(block)


@pytest.fixture
def piped():
    """A source of bytes that a test wrote."""
    opened = []

    def make(content, **more):
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        opened.append(os.fdopen(read, "rb"))
        return PcmSource(opened[-1], **more)

    yield make
    for pipe in opened:
        pipe.close()


@pytest.mark.parametrize(("suffix", "more"), [("wav", {"subtype": "PCM_24"}), ("flac", {}), ("ogg", {})])
def test_files_of_any_format_rate_and_channels(tmp_path, suffix, more):
    path = tmp_path / f"clip.{suffix}"
    wave = np.stack([voice(0.5, 44_100), voice(0.5, 44_100, seed=1)], 1)
    soundfile.write(path, wave, 44_100, **more)
    source = WavSource(path)
    found = heard(source)
    source.close()
    assert source.sample_rate == 44_100 and found.shape == wave.shape and np.abs(found - wave).max() < 0.05


@pytest.mark.parametrize(("channels", "shape"), [(2, (1, 2)), (8, (1, 8)), (12, (1,))])
def test_a_last_block_of_one_sample_is_heard_however_many_channels_it_has(tmp_path, channels, shape):
    wave = np.repeat(voice(0.5, 16_000)[:321, None], channels, 1)
    soundfile.write(tmp_path / "clip.wav", wave, 16_000, subtype="FLOAT")
    source = WavSource(tmp_path / "clip.wav")
    blocks = [source.read(1.0), source.read(1.0)]
    source.close()
    assert blocks[1].samples.shape == shape
    assert np.concatenate([mono(block.samples) for block in blocks]) == pytest.approx(wave[:, 0], abs=1e-6)


def test_a_paced_file_takes_its_time(tmp_path):
    soundfile.write(tmp_path / "clip.wav", voice(0.3), 16_000)
    source = WavSource(tmp_path / "clip.wav", paced=True)
    first = source.read(1.0)
    heard(source)
    source.close()
    assert len(first.samples) == 320


@pytest.mark.parametrize(("content", "said"), [(None, "there is no such file"), (b"text", "not an audio file")])
def test_files_that_are_none(tmp_path, content, said):
    if content is not None:
        (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(SpeechpressError, match=rf"clip\.wav: .*{said}"):
        WavSource(tmp_path / "clip.wav")


def test_a_file_without_samples(tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.zeros(0), 16_000)
    with pytest.raises(SpeechpressError, match="holds no samples"):
        WavSource(tmp_path / "clip.wav")


@pytest.mark.parametrize(("encoding", "dtype"), [("s16le", "<i2"), ("f32le", "<f4")])
def test_raw_samples(piped, encoding, dtype):
    samples = (1000 * voice(0.3)).astype(dtype)
    assert np.array_equal(heard(piped(samples.tobytes(), encoding=encoding)), samples)


def test_half_a_sample_at_the_end_is_left_out(piped):
    assert len(heard(piped(b"\0" * 2001))) == 1000


def test_an_empty_pipe(piped):
    with pytest.raises(SpeechpressError, match="without a single sample"):
        piped(b"").read(1.0)


def test_a_pipe_that_waits():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        assert PcmSource(pipe).read(0.01) is None


def test_a_keyboard_and_an_unknown_encoding():
    main, terminal = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as keyboard, os.fdopen(main, "rb", buffering=0):
        with pytest.raises(SpeechpressError, match="arecord"):
            PcmSource(keyboard)
        with pytest.raises(SpeechpressError, match="s16le, f32le"):
            PcmSource(keyboard, encoding="mp3")


def test_an_mp3_whose_header_misleads_is_played_to_its_end(tmp_path):
    (tmp_path / "a.mp3").write_bytes(without_xing(mp3(6.0)))
    assert soundfile.info(str(tmp_path / "a.mp3")).duration > 7, "libsndfile alone misjudges it, else nothing is tested"
    source = WavSource(tmp_path / "a.mp3")
    assert abs(len(heard(source)) - 96_000) < 4_000
    source.close()
