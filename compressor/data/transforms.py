"""The few lazy transforms of a Lhotse recording that are followed: a change of rate, of speed, of volume.

Lhotse's own code is not run: a transform by name can carry a recording of its own, which can be a shell command, and
its resampler builds tables as large as two rates without a common divisor make them.

Shapes: S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from speechpress.runtime.sound.sound_file import MAX_RATE, MIN_RATE

# A file is at most so much longer than its recording: a short cut cannot ask for hours of it.
MAX_SPEED = 4.0  # and at least a quarter
_MAX_VOLUME = 1e4
_SPEED_STEPS = 1e6


@dataclass(frozen=True)
class Resample:
    """From one rate to another, both in Hz."""

    source: int
    target: int


@dataclass(frozen=True)
class Speed:
    """Faster and higher by a factor."""

    factor: float


@dataclass(frozen=True)
class Volume:
    """Louder by a factor."""

    factor: float


Transform = Resample | Speed | Volume
ALLOWED = ("Resample", "Speed", "Volume")


class RefusedTransform(ValueError):
    """A transform that is not followed; the text says why."""


def parse_transforms(listed: Any) -> list[Transform]:
    """Lhotse's `transforms`, as JSON or as its own objects.

    Raises:
        RefusedTransform: one that is not followed, or does not say what it should.
    """
    if listed is None:
        return []
    if not isinstance(listed, list | tuple):
        raise RefusedTransform("transforms must be a list")
    return [_parse(item if isinstance(item, dict) else item.to_dict()) for item in map(_known, listed)]


def file_rate(rate: int, transforms: Sequence[Transform]) -> int:
    """The rate of the file below a recording of a rate, both in Hz."""
    # A recording's rate is that after the last transform, so the file's is found backwards.
    for transform in reversed(transforms):
        if isinstance(transform, Resample):
            rate = transform.source
    return rate


def speed(transforms: Sequence[Transform]) -> float:
    """How much longer the file is than the recording."""
    return math.prod(transform.factor for transform in transforms if isinstance(transform, Speed))


def apply(samples: np.ndarray, transforms: Sequence[Transform]) -> np.ndarray:
    """(S,) at the file's rate -> (S,) at the recording's."""
    for transform in transforms:
        if isinstance(transform, Volume):
            samples = samples * np.float32(transform.factor)
        elif isinstance(transform, Resample):
            samples = _soxr(samples, transform.source, transform.target)
        else:
            # Speed is resampling while the rate is said to stay; soxr takes two rates, of which only the ratio counts.
            samples = _soxr(samples, transform.factor * _SPEED_STEPS, _SPEED_STEPS)
    return samples


def _soxr(samples: np.ndarray, before: float, after: float) -> np.ndarray:
    return samples if before == after or not len(samples) else soxr.resample(samples, before, after)


def _known(item: Any) -> Any:
    """One of the list, if it has a name that is followed."""
    name = item.get("name") if isinstance(item, dict) else type(item).__name__
    if name not in ALLOWED:
        raise RefusedTransform(f"has the transform {str(name)[:60]!r}; only {', '.join(ALLOWED)} are followed")
    return item


def _parse(item: dict[str, Any]) -> Transform:
    name, given = item["name"], item.get("kwargs")
    if not isinstance(given, dict):
        raise RefusedTransform(f"{name}: its kwargs must be an object")
    if name == "Resample":
        _only(name, given, "source_sampling_rate", "target_sampling_rate")
        return Resample(_rate(given, "source_sampling_rate"), _rate(given, "target_sampling_rate"))
    _only(name, given, "factor")
    if name == "Speed":
        return Speed(_number(given, "factor", 1 / MAX_SPEED, MAX_SPEED))
    # A negative volume only turns the phase.
    return Volume(_number(given, "factor", -_MAX_VOLUME, _MAX_VOLUME))


def _only(name: str, given: dict[str, Any], *keys: str) -> None:
    if set(given) != set(keys):
        raise RefusedTransform(f"{name}: needs {' and '.join(keys)} and nothing else, but has {sorted(given)!r:.200}")


def _rate(given: dict[str, Any], key: str) -> int:
    rate = _number(given, key, MIN_RATE, MAX_RATE)
    if rate != int(rate):
        raise RefusedTransform(f"{key} must be a whole number of Hz, not {rate}")
    return int(rate)


def _number(given: dict[str, Any], key: str, least: float, most: float) -> float:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RefusedTransform(f"{key} must be a number from {least} to {most}, not {value!r:.60}")
    return float(value)
