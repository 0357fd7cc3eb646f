"""Reading recordings: any format that libsndfile knows, any rate, any channels -> float32, mono, 16 kHz.

Shapes: S samples. Parts of a file are read by seeking, not by decoding all of it; resampled parts carry some context on
both sides, so that a part equals the same samples of the whole. (In Opus, whose decoder remembers long, a tenth of the
parts differ by some 50 dB below the speech, rarely 26; but the same part is the same at every reading.)
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from lhotse import AudioSource, MonoCut, MultiCut, Recording

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular

from .config import SAMPLE_RATE

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
MIN_DURATION_S = 0.1  # four receptive fields of a HuBERT front end
GRID_SAMPLES = 640  # 40 ms: a whole number of samples at 8, 11.025, 22.05, 24, 32, 44.1, 48 and 96 kHz too
_HEAD_S = 0.1
_LEAD_S = 0.2  # after a seek, MP3 lacks its bit reservoir and Opus its prediction for the first frames
_UNKNOWN_FRAMES = 1 << 40

Cut: TypeAlias = MonoCut | MultiCut


@dataclass(frozen=True)
class Skipped:
    """A recording that was left out, and why."""

    path: str
    reason: str


class UnreadableAudio(SpeechpressError):
    """A recording that cannot be used; `skipped` says which and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.skipped = Skipped(path, reason)


def read_audio(path: str | Path) -> np.ndarray:
    """A whole file as (S,) float32, mono, 16 kHz. Raises UnreadableAudio."""
    with _open(str(path), str(path)) as file:
        samples = _mono(file.read(dtype="float32", always_2d=True))
        rate = file.samplerate
    if not len(samples):
        raise UnreadableAudio(str(path), "holds no samples")
    return _finite(_resample(samples, rate), str(path))


def read_cut(cut: Cut, offset_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
    """A part of a cut, the whole of it by default, as (S,) float32, mono, 16 kHz. Raises UnreadableAudio."""
    start = round(offset_s * SAMPLE_RATE)
    count = cut_samples(cut) - start if duration_s is None else round(duration_s * SAMPLE_RATE)
    return read_samples(cut, start, count)


def read_samples(cut: Cut, start: int, count: int) -> np.ndarray:
    """(count,) float32 from sample `start` of a cut, both counted at 16 kHz.

    Raises:
        UnreadableAudio: the file is damaged, shorter than it should be, or holds NaN or infinite samples there.
    """
    if start < 0 or count < 0 or start + count > cut_samples(cut):
        raise ValueError(f"{cut.id}: samples {start}..{start + count} of a cut that has {cut_samples(cut)}")
    place = cut_place(cut)
    if cut.recording.transforms or len(cut.recording.sources) != 1 or cut.recording.sources[0].type == "url":
        samples = _read_with_lhotse(cut, place)[start : start + count]
    else:
        samples = _read_part(cut, start, count, place)
    if len(samples) < count:
        raise UnreadableAudio(place, f"ends {(count - len(samples)) / SAMPLE_RATE:.3f} s before it should")
    return _finite(samples, place)


def cut_samples(cut: Cut) -> int:
    """Length of a cut in samples at 16 kHz."""
    return round(cut.duration * cut.sampling_rate) * SAMPLE_RATE // cut.sampling_rate


def cut_place(cut: Cut) -> str:
    """Where a cut's audio is, for people: its file, or its id where it has none of its own."""
    source = cut.recording.sources[0]
    return str(source.source) if source.type in ("file", "url") else cut.id


def probe(path: str, recording_id: str) -> Recording:
    """Look at a file's header and its first 0.1 s, and describe it. Raises UnreadableAudio if it cannot be used."""
    if Path(path).is_file() and not Path(path).stat().st_size:
        raise UnreadableAudio(path, "empty file")
    with _open(path, path) as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
        head = file.read(int(_HEAD_S * rate), dtype="float32", always_2d=True)
    if not 0 <= frames < _UNKNOWN_FRAMES:
        raise UnreadableAudio(path, "its header does not say how long it is (rewrite it with any converter)")
    check_duration(path, frames / rate)
    if len(head) < int(_HEAD_S * rate):
        raise UnreadableAudio(path, "damaged: the header promises samples that are not there")
    _finite(head, path)
    source = AudioSource(type="file", channels=list(range(channels)), source=path)
    return Recording(id=recording_id, sources=[source], sampling_rate=rate, num_samples=frames, duration=frames / rate)


def check_duration(place: str, duration_s: float) -> None:
    """Raises UnreadableAudio for a recording that is too short to train on."""
    if not duration_s:
        raise UnreadableAudio(place, "holds no samples")
    if duration_s < MIN_DURATION_S:
        raise UnreadableAudio(place, f"too short: {duration_s:.3f} s, at least {MIN_DURATION_S} s are needed")


def _read_part(cut: Cut, start: int, count: int, place: str) -> np.ndarray:
    """Decode, mix down and resample only what is needed of a recording with one source."""
    rate = cut.sampling_rate
    origin, length = round(cut.start * rate), round(cut.duration * rate)
    if rate == SAMPLE_RATE:
        return _decode(cut, origin + start, count, place)
    first = max(0, start // GRID_SAMPLES - 1) * GRID_SAMPLES
    begin = first * rate // SAMPLE_RATE
    end = min(length, -(-(start + count + GRID_SAMPLES) * rate // SAMPLE_RATE))
    samples = _resample(_decode(cut, origin + begin, end - begin, place), rate)
    return samples[start - first : start - first + count]


def _decode(cut: Cut, start: int, count: int, place: str) -> np.ndarray:
    """(count,) samples at the file's own rate, fewer where the file ends early."""
    source = cut.recording.sources[0]
    with _open(_opened(source), place) as file:
        if file.samplerate != cut.sampling_rate:
            raise UnreadableAudio(place, f"is {file.samplerate} Hz, but its manifest says {cut.sampling_rate} Hz")
        if start > file.frames:
            raise UnreadableAudio(
                place, f"ends at {file.frames / file.samplerate:.3f} s, before the part that is wanted"
            )
        lead = min(start, int(_LEAD_S * file.samplerate)) if file.format in ("MP3", "OGG") else 0
        file.seek(start - lead)
        samples = file.read(lead + count, dtype="float32", always_2d=True)[lead:]
    wanted = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    columns = [index for index, channel in enumerate(source.channels) if channel in wanted]
    if samples.shape[1] == len(source.channels) > len(columns) > 0:
        samples = samples[:, columns]
    return _mono(samples)


def _opened(source: AudioSource) -> str | io.BytesIO:
    if source.type == "memory":
        return io.BytesIO(source.source)
    if source.type != "shar":
        return str(source.source)
    tar, offset, size_bytes = str(source.source).rsplit(":", 2)
    check_regular(tar)
    with Path(tar).open("rb") as file:
        file.seek(int(offset))
        return io.BytesIO(file.read(int(size_bytes)))


@contextmanager
def _open(file: str | io.BytesIO, place: str) -> Iterator[soundfile.SoundFile]:
    """A file open for reading; what libsndfile and the system say against it becomes UnreadableAudio."""
    try:
        if isinstance(file, str) and not Path(file).is_file():
            raise UnreadableAudio(place, "no such file")
        with soundfile.SoundFile(file) as opened:
            yield opened
    except soundfile.LibsndfileError as error:
        raise UnreadableAudio(place, f"not readable: {error.error_string}") from error
    except OSError as error:
        raise UnreadableAudio(place, f"not readable: {error.strerror or error}") from error


def _read_with_lhotse(cut: Cut, place: str) -> np.ndarray:
    """What only lhotse knows how to read: several files per recording, lazy transforms, addresses."""
    try:
        samples = cut.load_audio()
    except Exception as error:  # every backend of lhotse has its own kinds
        raise UnreadableAudio(place, f"not readable: {str(error).splitlines()[0]}") from error
    return _resample(_mono(np.asarray(samples, dtype=np.float32).T), cut.sampling_rate)


def _mono(samples: np.ndarray) -> np.ndarray:
    """(S, channels) -> (S,)."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE)


def _finite(samples: np.ndarray, place: str) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise UnreadableAudio(place, "holds NaN or infinite samples")
    return samples
