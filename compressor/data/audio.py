"""Reading recordings: any format that libsndfile knows, any rate, any channels -> float32, mono, 16 kHz.

Shapes: S samples. Parts of a file are read by seeking, not by decoding all of it; resampled parts carry some context on
both sides, so that a part equals the same samples of the whole. (In Opus, whose decoder remembers long, a tenth of the
parts differ by some 50 dB below the speech, rarely 26; but the same part is the same at every reading.)
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from lhotse import AudioSource, MonoCut, MultiCut, Recording

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import open_regular
from speechpress.runtime.samples import LOUDEST
from speechpress.runtime.sound.sound_file import MAX_WHOLE_SAMPLES, UnreadableAudio, go_to, open_sound, read_mono
from speechpress.runtime.sound.sound_file import Skipped as Skipped

from ..models.config import SAMPLE_RATE
from .formats.cells import CELL, read_cell
from .remote.address import is_address
from .remote.reader import reader
from .transforms import RefusedTransform, Transform, apply, file_rate, parse_transforms, speed

MIN_DURATION_S = 0.1  # four receptive fields of a HuBERT front end
GRID_SAMPLES = 640  # 40 ms: a whole number of samples at 8, 11.025, 22.05, 24, 32, 44.1, 48 and 96 kHz too
_HEAD_S = 0.1
_LEAD_S = 0.2  # after a seek, MP3 lacks its bit reservoir and Opus its prediction for the first frames
# libsndfile answers with about 2^63 where it cannot tell; 2^40 samples at 16 kHz are two years.
_UNKNOWN_FRAMES = 1 << 40
_DENSEST = 1 << 16  # samples that a byte of any format can stand for: silence in FLAC comes nearest
_ROUNDING = 32  # samples; a chain of transforms may end so much before what was reckoned

Cut: TypeAlias = MonoCut | MultiCut


def read_audio(path: str | Path) -> np.ndarray:
    """A whole file as (S,) float32, mono, 16 kHz. Raises UnreadableAudio."""
    with open_sound(str(path), str(path)) as file:
        samples, rate = read_mono(file, str(path)), file.samplerate
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
    # A transform moves samples in time, so that there is no place in the file to seek to.
    if cut.recording.transforms or len(cut.recording.sources) != 1:
        samples = _read_whole(cut, place)[start : start + count]
    else:
        samples = _read_part(cut, start, count, place)
    if len(samples) < count:
        raise UnreadableAudio(place, f"ends {(count - len(samples)) / SAMPLE_RATE:.3f} s before it should")
    return _finite(samples, place)


def cut_samples(cut: Cut) -> int:
    """Length of a cut in samples at 16 kHz."""
    # To whole samples of the file first, as seconds in a manifest are rounded; then down, to what is surely there.
    return round(cut.duration * cut.sampling_rate) * SAMPLE_RATE // cut.sampling_rate


def cut_place(cut: Cut) -> str:
    """Where a cut's audio is, for people: its file, or its id where it has none of its own."""
    source = cut.recording.sources[0]
    return str(source.source) if source.type == "file" else cut.id


def probe(path: str, recording_id: str) -> Recording:
    """Look at a file's header and its first 0.1 s, and describe it. Raises UnreadableAudio if it cannot be used."""
    with open_sound(path, path) as file:
        return _described(file, path, recording_id, Path(path).stat().st_size, AudioSource("file", [], path))


def probe_bytes(content: bytes, place: str, recording_id: str, source: AudioSource) -> Recording:
    """The same of a sound that lies inside another file, where `source` finds it again."""
    with open_sound(content, place) as file:
        return _described(file, place, recording_id, len(content), source)


def _described(
    file: soundfile.SoundFile, place: str, recording_id: str, size_bytes: int, source: AudioSource
) -> Recording:
    frames, rate = file.frames, file.samplerate
    # A header alone proves nothing: the first samples show whether the decoder can do anything with the rest.
    head = read_mono(file, place, int(_HEAD_S * rate))
    if not 0 <= frames < _UNKNOWN_FRAMES:
        raise UnreadableAudio(place, "its header does not say how long it is (rewrite it with any converter)")
    check_duration(place, frames / rate)
    if len(head) < int(_HEAD_S * rate) or frames > _DENSEST * size_bytes:
        raise UnreadableAudio(place, "damaged: the header promises samples that are not there")
    _finite(head, place)
    source = replace(source, channels=list(range(file.channels)))
    return Recording(id=recording_id, sources=[source], sampling_rate=rate, num_samples=frames, duration=frames / rate)


def held_samples(recording: Recording) -> int:
    """How many samples a recording really has, at its own rate, by its files' headers (an mp3: by its frames).

    Raises:
        UnreadableAudio: a file cannot be opened, or has another rate or number of channels than the recording says.
    """
    transforms = followed(recording)
    rate = file_rate(recording.sampling_rate, transforms)
    frames = []
    for source in recording.sources:
        place = _place(source, recording.id)
        with open_sound(_opened(source, place), place) as file:
            _check_rate(file.samplerate, rate, place)
            if file.channels != len(source.channels):
                said = f"its manifest says {len(source.channels)}"
                raise UnreadableAudio(place, f"has {file.channels} channels, but {said}")
            frames.append(file.frames)
    # Files of one recording are mixed sample by sample, so it ends with the shortest.
    held = math.floor(min(frames) / speed(transforms) * recording.sampling_rate / rate)
    rounded = bool(transforms) and abs(held - recording.num_samples) <= _ROUNDING
    return recording.num_samples if rounded else held


def followed(recording: Recording) -> list[Transform]:
    """The transforms of a recording. Raises UnreadableAudio for one that is not allowed."""
    try:
        return parse_transforms(recording.transforms)
    except RefusedTransform as error:
        raise UnreadableAudio(recording.id, str(error)) from error


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
    # A whole step of the grid before and one after are the resampler's context. On the grid a sample of the file and
    # one at 16 kHz fall together, so that a part is resampled in the same phase as the whole.
    first = max(0, start // GRID_SAMPLES - 1) * GRID_SAMPLES
    begin = first * rate // SAMPLE_RATE
    end = min(length, -(-(start + count + GRID_SAMPLES) * rate // SAMPLE_RATE))
    samples = _resample(_decode(cut, origin + begin, end - begin, place), rate)
    return samples[start - first : start - first + count]


def _decode(cut: Cut, start: int, count: int, place: str) -> np.ndarray:
    """(count,) samples at the file's own rate, fewer where the file ends early."""
    source = cut.recording.sources[0]
    return _decode_source(source, cut.sampling_rate, _columns(cut, source, place), start, count, place)


def _decode_source(
    source: AudioSource, rate: int, columns: list[int] | None, start: int, count: int, place: str
) -> np.ndarray:
    with open_sound(_opened(source, place), place) as file:
        _check_rate(file.samplerate, rate, place)
        if start > file.frames:
            raise UnreadableAudio(
                place, f"ends at {file.frames / file.samplerate:.3f} s, before the part that is wanted"
            )
        if columns is not None and max(columns) >= file.channels:
            raise UnreadableAudio(place, f"has {file.channels} channels, fewer than its manifest says")
        lead = min(start, int(_LEAD_S * file.samplerate)) if file.format in ("MP3", "OGG") else 0
        go_to(file, start - lead)
        return read_mono(file, place, lead + count, columns)[lead:]


def _check_rate(rate: int, said: int, place: str) -> None:
    if rate != said:
        raise UnreadableAudio(place, f"is {rate} Hz, but its manifest says {said} Hz")


def _columns(cut: Cut, source: AudioSource, place: str) -> list[int] | None:
    """Which channels of a file a cut wants; None for all of them. Raises UnreadableAudio if it has none of them."""
    wanted = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    columns = [index for index, channel in enumerate(source.channels) if channel in wanted]
    if not columns and len(cut.recording.sources) == 1:
        raise UnreadableAudio(place, f"has no channel {', '.join(map(str, wanted))}")
    return None if len(columns) == len(source.channels) else columns


def _place(source: AudioSource, recording_id: str) -> str:
    return str(source.source) if source.type == "file" else recording_id


def _opened(source: AudioSource, place: str) -> str | bytes:
    """A path, or bytes. A manifest never makes anything run or connect: only these four kinds are read."""
    if source.type == "file":
        return str(source.source)
    if source.type == "memory" and isinstance(source.source, bytes):
        return source.source
    if source.type == CELL:
        return read_cell(str(source.source), place)
    if source.type != "shar" or not source.source:
        raise UnreadableAudio(place, f"its audio is a {source.type}, which is never opened")
    # From the right, because the path of a tar file may hold colons itself.
    tar, offset, size_bytes = str(source.source).rsplit(":", 2)
    if is_address(tar):
        # Not as a recording that is skipped: what cannot be reached now is not damaged.
        return reader().read((tar, int(offset), int(size_bytes)))
    try:
        with open_regular(Path(tar)) as file:
            file.seek(int(offset))
            return file.read(int(size_bytes))
    except SpeechpressError as error:
        raise UnreadableAudio(place, f"not readable: {error}") from error
    except OSError as error:
        raise UnreadableAudio(place, f"not readable: {error.strerror or error}") from error


def _read_whole(cut: Cut, place: str) -> np.ndarray:
    """(S,) of a cut whose recording has several files or lazy transforms, at 16 kHz."""
    transforms = followed(cut.recording)
    rate = file_rate(cut.sampling_rate, transforms)
    longer = speed(transforms)
    # Rounded up: a sample too many is cut off later, one too few would be missing.
    start, count = round(cut.start * longer * rate), math.ceil(cut.duration * longer * rate)
    if count > MAX_WHOLE_SAMPLES:
        raise UnreadableAudio(place, f"{count / rate / 3600:.1f} h in one piece with transforms: cut it into pieces")
    parts, weights = [], []
    for source in cut.recording.sources:
        columns = _columns(cut, source, place)
        if columns is None or columns:
            parts.append(_decode_source(source, rate, columns, start, count, _place(source, place)))
            weights.append(len(source.channels if columns is None else columns))
    if not parts:
        raise UnreadableAudio(place, "has none of the channels that its manifest wants")
    shortest = min(map(len, parts))
    # By their channels, so that each counts the same, whichever file it lies in.
    mixed = np.average([part[:shortest] for part in parts], axis=0, weights=weights).astype(np.float32)
    samples = _resample(apply(mixed, transforms), cut.sampling_rate)
    missing = cut_samples(cut) - len(samples)
    return np.pad(samples, (0, missing), mode="edge") if 0 < missing <= _ROUNDING and len(samples) else samples


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    return samples if rate == SAMPLE_RATE or not len(samples) else soxr.resample(samples, rate, SAMPLE_RATE)


def _finite(samples: np.ndarray, place: str) -> np.ndarray:
    # A single NaN would make the loss of its whole batch NaN, and all weights with it.
    if not np.isfinite(samples).all():
        raise UnreadableAudio(place, "holds NaN or infinite samples")
    if len(samples) and np.abs(samples).max() > LOUDEST:
        raise UnreadableAudio(place, f"holds samples beyond {LOUDEST:g}, louder than any full scale")
    return samples
