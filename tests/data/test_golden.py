"""The clip that is the same on every machine."""

import numpy as np
import pytest

from speechpress.compressor.data import golden
from speechpress.runtime.errors import SpeechpressError


def test_the_golden_clip_is_speech_and_always_the_same():
    clip = golden.golden_clip(2.0)
    assert clip.shape == (32_000,) and clip.dtype == np.float32 and clip.std() > 0.01
    assert np.array_equal(clip, golden.golden_clip(2.0)) and np.array_equal(clip, golden.golden_clip(9.0)[:32_000])


def test_an_installation_without_the_speech_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "SPEECH", tmp_path)
    with pytest.raises(SpeechpressError, match="holds less than 2 s of speech; reinstall"):
        golden.golden_clip(2.0)
