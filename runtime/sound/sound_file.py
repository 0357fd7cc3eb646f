"""One sound file, opened by what it holds: libsndfile decides by content what it can read, never by a name's ending.

What a file says of itself is not believed where believing costs: rates, channels and lengths are bounded, memory grows
with the samples that come and not with those that were promised, and the frames of an mp3 are counted.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import soundfile

from ..errors import SpeechpressError
from ..escape import readable_name as readable_name
from .mpeg import Frames, find_frames, parse_header, with_true_header

MIN_RATE, MAX_RATE = 1_000, 1_000_000
MAX_CHANNELS = 256
MAX_WHOLE_SAMPLES = 1 << 28  # 4.6 hours at 16 kHz, 1 GiB of float32
_BLOCK_SAMPLES = 1 << 20
_HEAD_BYTES = 16
_LIKE_FRAMES = 2
_OTHERS_S = 0.5
# A rebuilt file lies in memory; at 128 kbit/s so many bytes are four and a half hours.
_REBUILT_BYTES = 1 << 28


@dataclass(frozen=True)
class Skipped:
    """A recording that was left out, and why."""

    path: str
    reason: str


class UnreadableAudio(SpeechpressError):
    """A recording that cannot be used; `skipped` says which and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{readable_name(path)}: {reason}")
        self.skipped = Skipped(readable_name(path), reason)


@dataclass(frozen=True)
class WrongLength:
    """An mp3 that is longer or shorter than its header says; all that it holds is read."""

    path: str
    claimed_s: float
    held_s: float


@contextmanager
def open_sound(file: str | bytes, place: str) -> Iterator[soundfile.SoundFile]:
    """A file (its path, or all of its bytes) open for reading.

    Raises:
        UnreadableAudio: it is no regular file, libsndfile does not know it, or its rate or channels are out of bounds.
    """
    with _source(file, place) as source, _decoder(source, place) as decoder:
        if not MIN_RATE <= decoder.samplerate <= MAX_RATE:
            raise UnreadableAudio(place, f"is {decoder.samplerate} Hz; from {MIN_RATE} to {MAX_RATE} Hz can be read")
        if decoder.channels > MAX_CHANNELS:
            raise UnreadableAudio(place, f"has {decoder.channels} channels; at most {MAX_CHANNELS} can be read")
        yield decoder


def read_mono(
    file: soundfile.SoundFile, place: str, count: int | None = None, columns: list[int] | None = None
) -> np.ndarray:
    """(S,) float32: the next `count` samples (None: all), fewer where the file ends, the mean of all or some channels.

    Raises:
        UnreadableAudio: more samples than are ever taken into memory at once.
    """
    parts: list[np.ndarray] = []
    block = max(1, _BLOCK_SAMPLES // file.channels)
    held = 0
    while count is None or held < count:
        samples = file.read(block if count is None else min(block, count - held), dtype="float32", always_2d=True)
        if not len(samples):
            break
        held += len(samples)
        if held > MAX_WHOLE_SAMPLES:
            raise UnreadableAudio(place, f"more than {MAX_WHOLE_SAMPLES} samples at once: cut it into pieces")
        # Block by block, so that hours of 256 channels never lie in memory side by side.
        parts.append(mix_down(samples if columns is None else samples[:, columns]))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def go_to(file: soundfile.SoundFile, sample: int) -> None:
    """Stand before a sample of a file just opened, by reading where its coding has no way in (GSM)."""
    if file.seekable():
        file.seek(sample)
        return
    block = max(1, _BLOCK_SAMPLES // file.channels)
    while sample > 0 and (read := len(file.read(min(sample, block), always_2d=True))):
        sample -= read


def mix_down(samples: np.ndarray) -> np.ndarray:
    """(S, channels) -> (S,)."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


def wrong_length(path: str) -> WrongLength | None:
    """What an mp3's header says of its length and what it holds, where the two differ by more than two frames."""
    with _source(path, path) as source:
        frames = source.frames
        if frames is None:
            return None
        claimed = frames.claimed
        if claimed is None:
            with _libsndfile(source.start(), path) as decoder:
                claimed = decoder.frames // frames.header.samples
        if abs(claimed - frames.count) <= _LIKE_FRAMES:
            return None
        frame_s = frames.header.samples / frames.header.rate
        return WrongLength(readable_name(path), claimed * frame_s, frames.count * frame_s)


class _Source:
    """The bytes of a sound: an open file, or memory.

    Attributes:
        frames: of MPEG audio, if that is what the bytes are.
        mpeg: whether they begin with the header of a frame.
        text: whether they begin like a text in UTF-16, which libsndfile takes for MPEG and complains about.
    """

    def __init__(self, file: int | bytes, head: bytes, frames: Frames | None) -> None:
        self._file = file
        self.frames = frames
        self.mpeg = parse_header(head, 0) is not None
        self.text = head[:2] == b"\xff\xfe"

    def start(self) -> int | io.BytesIO:
        """The first byte, as soundfile takes it: without a name, whose ending would count for more than the content."""
        if isinstance(self._file, bytes):
            return io.BytesIO(self._file)
        os.lseek(self._file, 0, os.SEEK_SET)
        return self._file

    def rebuilt(self, frames: Frames, place: str) -> io.BytesIO:
        """The frames behind a header that gives their number."""
        if frames.spans[-1][1] > _REBUILT_BYTES:
            raise UnreadableAudio(place, "its header is wrong about its length, and it is large: convert it to FLAC")
        if isinstance(self._file, bytes):
            return io.BytesIO(with_true_header(self._file, frames))
        with mmap(self._file, 0, access=ACCESS_READ) as data:
            return io.BytesIO(with_true_header(data, frames))


@contextmanager
def _source(file: str | bytes, place: str) -> Iterator[_Source]:
    if isinstance(file, bytes):
        head = file[:_HEAD_BYTES]
        yield _Source(file, head, find_frames(file) if _may_be_mpeg(head) else None)
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not wait for its writer
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"not readable: {_said(error)}"
        raise UnreadableAudio(place, reason) from error
    try:
        # Asked of the open file: what its name stands for may change in between.
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableAudio(place, "is not a regular file")
        if not facts.st_size:
            raise UnreadableAudio(place, "empty file")
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        # Every crop opens its file anew, and counting frames walks all of it; a file that changed is counted again.
        identity = facts.st_ino, facts.st_size, facts.st_mtime_ns
        yield _Source(descriptor, head, _frames(file, *identity) if _may_be_mpeg(head) else None)
    finally:
        os.close(descriptor)


def _said(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _may_be_mpeg(head: bytes) -> bool:
    return head[:3] == b"ID3" or parse_header(head, 0) is not None


@lru_cache(maxsize=1 << 16)
def _frames(path: str, *_identity: int) -> Frames | None:
    with Path(path).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return find_frames(data)


@contextmanager
def _decoder(source: _Source, place: str) -> Iterator[soundfile.SoundFile]:
    """libsndfile on the bytes as they are; of an mp3 that is longer or shorter than it says, on its frames."""
    frames = source.frames
    if frames is None and source.mpeg:
        raise UnreadableAudio(place, "not readable: begins like an mp3, but no frames follow")
    if frames is not None and frames.others_s > _OTHERS_S:
        raise UnreadableAudio(
            place,
            f"{frames.others_s:.1f} s of it have another rate or number of channels than its beginning: two recordings "
            "in one file. Cut or convert it",
        )
    if frames is None or (frames.claimed is not None and abs(frames.claimed - frames.count) <= 1):
        with _libsndfile(source.start(), place) as decoder:
            yield decoder
        return
    if frames.claimed is None:
        with _libsndfile(source.start(), place) as decoder:
            # Of a constant rate libsndfile's guess is right; and an ID3 tag can stand before other formats.
            if decoder.frames == frames.samples or decoder.format != "MP3":
                yield decoder
                return
    with _libsndfile(source.rebuilt(frames, place), place) as decoder:
        yield decoder


@contextmanager
def _libsndfile(file: int | io.BytesIO, place: str) -> Iterator[soundfile.SoundFile]:
    """What libsndfile and the system say against a file becomes UnreadableAudio."""
    try:
        # The descriptor belongs to `_source`, and may be read once more to rebuild the file.
        with soundfile.SoundFile(file, closefd=False) as opened:
            yield opened
    except soundfile.LibsndfileError as error:
        raise UnreadableAudio(place, f"not readable: {error.error_string}") from error
    except OSError as error:
        raise UnreadableAudio(place, f"not readable: {error.strerror or error}") from error


def knows(path: str) -> bool:
    """Whether libsndfile takes a file for sound, by its content."""
    try:
        with _source(path, path) as source:
            if source.text:
                return False
            with _decoder(source, path):
                return True
    except UnreadableAudio:
        return False
