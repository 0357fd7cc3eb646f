"""Real audio files for the tests of reading and batching."""

from pathlib import Path

import numpy as np
import soundfile


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
