"""Real audio files for the tests of reading and batching."""

import io
from pathlib import Path

import numpy as np
import soundfile

from speechpress.runtime.sound.mpeg import find_frames


def voice(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Something like speech: harmonics of a gliding pitch below 3 kHz under a slow envelope, (S,) float64."""
    t = np.arange(round(seconds * rate)) / rate
    pitch = 2 * np.pi * (110 + 7 * seed) * (t + 0.02 * np.sin(2 * np.pi * 1.7 * t))
    tones = sum(np.sin(k * pitch + k * seed) / k for k in range(1, 12))
    return 0.2 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t + seed))


def write(path: Path, seconds: float = 1.0, rate: int = 16_000, seed: int = 0, **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(seconds, rate, seed), rate, **kwargs)
    return path


def mp3(seconds=3.0, rate=16_000, seed=0, mode="VARIABLE", channels=1, quiet=True):
    """Bytes of an mp3 whose bit rate rises after a quiet beginning, so that its first frame misleads."""
    samples = voice(seconds, rate, seed)
    if quiet:
        samples[: len(samples) // 3] *= 1e-5
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples] * channels, 1), rate, format="MP3", bitrate_mode=mode)
    return file.getvalue()


def without_xing(data):
    """The same frames without the one that gives their number."""
    frames = find_frames(data)
    return b"".join(data[begin:end] for begin, end in frames.spans)
