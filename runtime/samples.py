"""Pieces of audio as people and drivers hand them over -> one channel of sound float32 samples; numpy only.

Shapes: S samples of one piece.
"""

from typing import NamedTuple

import numpy as np

from .errors import SpeechpressError

SCALES = {"int16": 2.0**-15, "int32": 2.0**-31, "float16": 1.0, "float32": 1.0, "float64": 1.0}
# The largest int16: a clipped recording of 16 bits never reaches 1.0, whatever it was converted to since.
FULL_SCALE = 1.0 - 2.0**-15
# Full scale of 32-bit integers that somebody took for floats. No audio is louder, and squares of it stay finite.
LOUDEST = 2.0**31
FEW_CHANNELS = 8  # a single sample may have so many: a file may end anywhere


class Piece(NamedTuple):
    """Samples (S,) float32, and how many (of all channels) were not as they should be.

    `replaced`: NaN or infinite, taken as silence. `clipped`: at or beyond full scale; left as they are up to LOUDEST,
    and clipped there.
    """

    wave: np.ndarray
    replaced: int
    clipped: int


def read_piece(samples: np.ndarray) -> Piece:
    """One piece, (S,) or (S, channels), which are averaged.

    int16 and int32 are scaled by their full scale; floats are taken as they are.

    Raises:
        SpeechpressError: the samples are no such array, or the channels come before the samples.
    """
    array = np.asarray(samples)
    scale = SCALES.get(array.dtype.name)
    if scale is None or array.ndim not in (1, 2):
        raise SpeechpressError(
            f"a piece of audio is {array.dtype} of shape {array.shape}, but must be "
            f"{', '.join(SCALES)} of shape (samples,) or (samples, channels)"
        )
    if array.ndim == 2:
        _check_channels(*array.shape)
    scaled, replaced, clipped = _mended(array, scale)
    # Averaged after mending: one NaN in a channel would spoil the others.
    return Piece(scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32), replaced, clipped)


def mono(samples: np.ndarray) -> np.ndarray:
    """The wave of `read_piece`, (S,) float32."""
    return read_piece(samples).wave


def _mended(array: np.ndarray, scale: float) -> tuple[np.ndarray, int, int]:
    """Float32 of the same shape, and the counts; counted before the cast: a finite float64 may overflow."""
    if array.dtype.kind == "i":
        scaled = array.astype(np.float32) * np.float32(scale)
        # Integers are never louder than full scale, so nothing needs to be cut.
        return scaled, 0, int((np.abs(scaled) >= FULL_SCALE).sum())
    bad = ~np.isfinite(array)
    sound = np.where(bad, 0.0, array) if bad.any() else array
    clipped = int((np.abs(sound) >= FULL_SCALE).sum())
    if clipped and sound.dtype != np.float16:  # whose largest number is far below
        sound = sound.clip(-LOUDEST, LOUDEST)
    return sound.astype(np.float32), int(bad.sum()), clipped


def _check_channels(count: int, channels: int) -> None:
    """Raises SpeechpressError for what can only be (channels, samples), or has no channel at all."""
    if not channels and count:
        raise SpeechpressError(f"a piece of audio has the shape ({count}, 0), so it has no channel")
    if channels > max(count, FEW_CHANNELS):
        raise SpeechpressError(
            f"a piece of audio has the shape ({count}, {channels}), which is {channels} channels of {count} samples: "
            "samples come first. Transpose it (piece.T); of a single channel, hand over piece[0]"
        )
