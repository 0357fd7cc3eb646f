"""Plain WAV files (PCM of 8 to 32 bits), read without libsndfile: for a board that has only numpy.

Shapes: S samples.
"""

import wave
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..errors import SpeechpressError

OTHERS = "other files are read with soundfile: pip install 'speechpress-runtime[demo]'"


class PlainWav:
    """An open file, with what `soundfile.SoundFile` has of it."""

    def __init__(self, file: wave.Wave_read, path: str) -> None:
        self._file, self._bytes = file, file.getsampwidth()
        self.samplerate, self.channels, self.frames = file.getframerate(), file.getnchannels(), file.getnframes()
        if self._bytes not in (1, 2, 3, 4) or not self.channels or not self.samplerate:
            raise SpeechpressError(f"{path}: is not a WAV of 8 to 32 bits; {OTHERS}")

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next samples (S, channels), fewer where the file ends, with full scale at 1."""
        data = self._file.readframes(count)
        size = self._bytes * self.channels  # a file that was cut short may end within a sample
        return scaled(data[: len(data) // size * size], self._bytes).reshape(-1, self.channels)


def scaled(data: bytes, width: int) -> np.ndarray:
    """PCM samples of `width` bytes as (S,) float32; 8 bits are without a sign, as WAV has them."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        # As the upper three bytes of 32 bits, so that the sign is where it belongs.
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        return (wide.reshape(-1).view("<i4") / 2**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)).astype(np.float32)


@contextmanager
def open_plain_wav(path: str) -> Iterator[PlainWav]:
    """Raises SpeechpressError when it is no plain WAV."""
    try:
        file = wave.open(path, "rb")  # noqa: SIM115  closed below
    except (wave.Error, EOFError, OSError) as error:
        raise SpeechpressError(f"{path}: is not a plain WAV ({error or 'it is too short'}); {OTHERS}") from error
    with file:
        yield PlainWav(file, path)
