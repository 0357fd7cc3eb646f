"""What an upstream hears: a recording, a part of one, or several laid over each other.

Shapes: S samples.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text
from speechpress.runtime.sound.sound_file import open_sound

from ..models.config import SAMPLE_RATE
from .audio import MIN_DURATION_S, UnreadableAudio, read_audio


@dataclass(frozen=True)
class Noise:
    """`pad_s` of silence before and after a recording, and pink noise under all of it, `snr_db` below the recording.

    `seed` draws the noise; an infinite `snr_db` is none.
    """

    pad_s: float = 0.0
    snr_db: float = math.inf
    seed: int = 0


@dataclass(frozen=True)
class Sound:
    """Files with the second at which each begins, added up; `crop_s` takes so much of the sum, from its middle or from
    `start_s` on; `noise` is put around and under that."""

    parts: tuple[tuple[str, float], ...]
    crop_s: float | None = None
    start_s: float | None = None
    noise: "Noise | None" = None

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return " + ".join(path for path, _ in self.parts)


def clip(path: str | Path, crop_s: float | None = None) -> Sound:
    """One file, or its middle."""
    return Sound(((str(path), 0.0),), crop_s)


def read_sound(sound: Sound) -> np.ndarray:
    """(S,) float32 at 16 kHz. Raises UnreadableAudio, also when it is too short for any encoder."""
    waves = [(read_audio(path), round(start_s * SAMPLE_RATE)) for path, start_s in sound.parts]
    whole = waves[0][0]
    if len(waves) > 1 or waves[0][1]:
        whole = np.zeros(max(start + len(wave) for wave, start in waves), np.float32)
        for wave, start in waves:
            whole[start : start + len(wave)] += wave
    if len(whole) < MIN_DURATION_S * SAMPLE_RATE:
        raise UnreadableAudio(sound.parts[0][0], f"too short: {len(whole) / SAMPLE_RATE:.3f} s")
    if sound.crop_s is not None:
        wanted = round(sound.crop_s * SAMPLE_RATE)
        start = max(0, (len(whole) - wanted) // 2) if sound.start_s is None else round(sound.start_s * SAMPLE_RATE)
        whole = whole[start : start + wanted]
    return whole if sound.noise is None else noisy(whole, sound.noise)


def noisy(wave: np.ndarray, noise: Noise) -> np.ndarray:
    """(S,) float32 -> (S',) float32."""
    padded = np.pad(wave, round(noise.pad_s * SAMPLE_RATE))
    if math.isinf(noise.snr_db):
        return padded
    spectrum = np.fft.rfft(np.random.default_rng(noise.seed).standard_normal(len(padded)))
    # Pink: power falls with frequency; nothing at 0 Hz.
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, len(padded))
    level = np.sqrt((wave.astype(np.float64) ** 2).mean()) * 10 ** (-noise.snr_db / 20)
    return (padded + pink * (level / max(pink.std(), 1e-12))).astype(np.float32)


def identity(sound: Sound) -> str:
    """A hash of what is heard: every file's path, size and time of change, and how the files lie.

    A file that cannot be looked at has an identity too; reading it says what is wrong.
    """
    facts = [[*_file_facts(Path(path)), start_s] for path, start_s in sound.parts]
    # Only where there is some: sounds without any keep the names under which their features were kept before.
    noise = [] if sound.noise is None else [sound.noise.pad_s, str(sound.noise.snr_db), sound.noise.seed]
    return hashlib.sha256(json_text([facts, sound.crop_s, sound.start_s, *noise], ascii=True).encode()).hexdigest()[:32]


def _file_facts(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError:
        return str(path), -1, -1
    # Not a hash of the content: that would read a whole corpus to save reading it.
    return str(path.resolve()), facts.st_size, facts.st_mtime_ns


def durations_s(sounds: Iterable[Sound]) -> dict[Sound, float]:
    """How long each lasts, by the headers of its files; 0 for one that cannot be opened."""
    # Mixtures share their files; each is opened once.
    files: dict[str, float] = {}
    found = {}
    for sound in sounds:
        for path, _ in sound.parts:
            if path not in files:
                files[path] = _header_s(path)
        whole = max(start_s + files[path] for path, start_s in sound.parts)
        heard = whole if sound.crop_s is None else min(whole, sound.crop_s)
        found[sound] = heard + (2 * sound.noise.pad_s if sound.noise else 0.0)
    return found


def _header_s(path: str) -> float:
    try:
        with open_sound(path, path) as file:
            return file.frames / file.samplerate
    except UnreadableAudio:
        return 0.0


def check_sounds(sounds: Iterable[Sound], receptive_s: float, where: str) -> float:
    """Seconds in all, after a look at every file, before any long work.

    Raises:
        SpeechpressError: files are not there, or a sound is shorter than what one frame of an upstream sees.
    """
    lengths = durations_s(sounds)
    gone = [path for sound in lengths for path, _ in sound.parts if not Path(path).is_file()]
    if gone:
        raise SpeechpressError(
            f"{where}: {len(gone)} labelled files are not there, the first is {gone[0]}; unpack the corpus again or "
            "take their rows out of the labels"
        )
    limit_s = max(receptive_s, MIN_DURATION_S)
    # 0 is a file that cannot be opened; reading it later says why.
    short = [sound for sound, length_s in lengths.items() if 0 < length_s < limit_s]
    if short:
        raise SpeechpressError(
            f"{where}: {len(short)} clips are shorter than the {limit_s * 1000:.0f} ms that a frame needs: "
            f"{short[0].place} ({lengths[short[0]] * 1000:.0f} ms); take them out of the labels"
        )
    return sum(lengths.values())
