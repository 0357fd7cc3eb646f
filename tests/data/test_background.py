import numpy as np
import pytest

from speechpress.compressor.data.background import background_clips, background_of, cache_folder, with_pauses
from speechpress.compressor.models.config import SAMPLE_RATE
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.engine import PteEngine


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, threads=1)


def test_clips_are_speech_of_that_length_and_always_the_same():
    clips = background_clips(20)
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    assert 20 <= seconds < 40 and all(clip.dtype == np.float32 for clip in clips)
    assert all(np.array_equal(*pair) for pair in zip(clips, background_clips(20), strict=True))
    assert sum(map(len, with_pauses(clips))) / SAMPLE_RATE == pytest.approx(seconds + 0.5 * len(clips))


def test_it_is_heard_once_and_kept(engine, small_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("speechpress.compressor.data.background.DURATION_S", 20.0)
    monkeypatch.setattr(background_clips, "__defaults__", (20.0,))
    said = []
    first = background_of(read_bundle(small_bundle), engine, said.append)
    again = background_of(read_bundle(small_bundle), engine, said.append)
    assert len(said) == 1 and len(list(cache_folder().iterdir())) == 1
    assert np.abs(first.frames - again.frames).max() < 0.01 and first.frame_s == 0.02


def test_a_cache_that_cannot_be_written(engine, small_bundle, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(background_clips, "__defaults__", (10.0,))
    assert background_of(read_bundle(small_bundle), engine, lambda word: None).hours > 0
    assert "processed again next time" in caplog.text
