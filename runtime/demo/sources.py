"""Where live audio comes from: a file, a pipe; microphones are in `microphone.py`, the browser's in `web.py`.

Shapes: S samples of one block.
"""

import os
import select
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from ..errors import SpeechpressError
from ..samples import FEW_CHANNELS

BLOCK_S = 0.02
FORMATS: dict[str, tuple[np.dtype, np.dtype]] = {  # as they come, and as this machine has them
    "s16le": (np.dtype("<i2"), np.dtype(np.int16)),
    "f32le": (np.dtype("<f4"), np.dtype(np.float32)),
}


class Block(NamedTuple):
    """Samples (S,) or (S, channels), their rate, and `time.perf_counter()` when the last one of them was there."""

    samples: np.ndarray
    sample_rate: int
    at_s: float


class Source(Protocol):
    """Something that audio comes from. `name` is for people; `dropped` counts blocks that were lost on the way."""

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    def read(self, timeout_s: float) -> Block | None:
        """The next block; None when there was none for so long. Raises EOFError at the end."""

    def close(self) -> None: ...


class WavSource:
    """A file of any format, rate and number of channels that libsndfile reads.

    Args:
        path: of the file.
        paced: give it at the speed at which it was recorded, to be watched; else as fast as it is taken.

    Raises:
        SpeechpressError: there is no such file, or it is no audio.
    """

    def __init__(self, path: str | Path, paced: bool = False) -> None:
        if not Path(path).is_file():
            raise SpeechpressError(f"{path}: there is no such file; give an audio file with --wav")
        self._open = ExitStack()
        self._file = _opened(str(path), self._open)
        if not self._file.frames:
            self.close()
            raise SpeechpressError(f"{path}: holds no samples; record it again")
        self.name, self.sample_rate, self.dropped = Path(path).name, self._file.samplerate, 0
        self._paced, self._given, self._started_s = paced, 0, time.perf_counter()

    def read(self, timeout_s: float) -> Block | None:
        samples = self._file.read(round(BLOCK_S * self.sample_rate), dtype="float32", always_2d=True)
        if samples.shape[1] > FEW_CHANNELS:  # the last block may have fewer samples than channels
            samples = samples.mean(axis=1)
        if not len(samples):
            raise EOFError
        self._given += len(samples)
        if self._paced:
            # Against the beginning and not from block to block, whose small delays would add up.
            time.sleep(max(0.0, self._started_s + self._given / self.sample_rate - time.perf_counter()))
        return Block(samples, self.sample_rate, time.perf_counter())

    def close(self) -> None:
        self._open.close()


def _opened(path: str, stack: ExitStack) -> Any:
    """A sound file; without soundfile, which a board need not have, a plain WAV."""
    if find_spec("soundfile") is None:
        from ..sound.plain_wav import open_plain_wav

        return stack.enter_context(open_plain_wav(path))
    from ..sound.sound_file import UnreadableAudio, open_sound

    try:
        return stack.enter_context(open_sound(path, path))
    except UnreadableAudio as error:
        raise SpeechpressError(f"{path}: is not an audio file that can be read ({error.skipped.reason})") from error


class PcmSource:
    """Raw samples of one channel from a pipe, such as `arecord -f S16_LE -r 16000 -t raw | compress demo --stdin`.

    Args:
        pipe: opened for reading bytes.
        sample_rate: in Hz; raw samples do not say it themselves.
        encoding: one of `FORMATS`.

    Raises:
        SpeechpressError: the encoding is unknown, or `pipe` is a keyboard.
    """

    def __init__(self, pipe: BinaryIO, sample_rate: int = 16_000, encoding: str = "s16le") -> None:
        if encoding not in FORMATS:
            raise SpeechpressError(f"--format {encoding!r} is unknown; there are {', '.join(FORMATS)}")
        if pipe.isatty():
            raise SpeechpressError(
                "--stdin waits for raw samples, but stdin is the keyboard; pipe them in: "
                "arecord -f S16_LE -r 16000 -t raw | compress demo --stdin"
            )
        self.name, self.sample_rate, self.dropped = "stdin", sample_rate, 0
        # The descriptor: a buffered reader may hold bytes that select does not see.
        self._pipe, self._rest, self._heard = pipe.fileno(), b"", 0
        self._dtype, self._native = FORMATS[encoding]

    def read(self, timeout_s: float) -> Block | None:
        """Raises SpeechpressError when the pipe ends before the first sample."""
        # os.read would wait for ever when the recorder before the pipe hangs.
        if not select.select([self._pipe], [], [], timeout_s)[0]:
            return None
        size = round(BLOCK_S * self.sample_rate) * self._dtype.itemsize
        found = os.read(self._pipe, size)
        if not found and not self._heard:
            raise SpeechpressError(
                "stdin ended without a single sample; does the program before the pipe record? "
                "Raw samples are wanted, 16-bit and 16 kHz unless --format and --rate say otherwise"
            )
        if not found:
            raise EOFError
        found = self._rest + found
        # A pipe cuts anywhere, also within a sample.
        whole = len(found) // self._dtype.itemsize * self._dtype.itemsize
        self._rest = found[whole:]
        samples = np.frombuffer(found[:whole], self._dtype).astype(self._native)
        self._heard += len(samples)
        return Block(samples, self.sample_rate, time.perf_counter())

    def close(self) -> None:
        """The pipe belongs to the caller."""
