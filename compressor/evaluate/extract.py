"""Every sound is read once and heard once by each upstream that has not heard it before; the rest comes from the disk.

Shapes: B sounds of one length, S samples, T frames, L layers, D width.
"""

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import Skipped
from ..data.sounds import Sound, durations_s, identity, read_sound
from ..distill.process import keep_freed_memory
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from .features import Upstream, equal_lengths, framed
from .probes import pooled
from .store import FeatureStore, check_space

logger = logging.getLogger(__name__)

Wanted = Mapping[str, Sequence[Sound]]  # of "frames" and "means"
PROGRESS_S = 600.0  # audio between two lines about how far it is


@contextmanager
def stores(cache: Path | None, upstreams: Mapping[str, Upstream]) -> Iterator[dict[str, FeatureStore]]:
    """A store for each upstream: in the cache, or in a temporary folder without one or for an upstream without key."""
    with tempfile.TemporaryDirectory(prefix="speechpress-") as temporary:
        yield {
            # Without a key nothing says what made the features, so no later run may find them.
            name: FeatureStore(
                cache if cache and upstream.key else Path(temporary), upstream.key or f"unnamed-{number}"
            )
            for number, (name, upstream) in enumerate(upstreams.items())
        }


def extract(
    upstreams: Mapping[str, Upstream],
    wanted: Wanted,
    kept: Mapping[str, FeatureStore],
    device: str = "cpu",
    listen: OnText = logger.info,
) -> list[Skipped]:
    """Fill the stores with what is wanted; returns the sounds that could not be read.

    Raises:
        SpeechpressError: no sound can be read, or the disk is too small.
    """
    names = {sound: identity(sound) for sounds in wanted.values() for sound in sounds}
    lacking = {name: _lacking(kept[name], wanted, names) for name in upstreams}
    # Sorted: a set of strings has another order in every process, and groups of clips must not.
    todo = sorted({sound for kinds in lacking.values() for sounds in kinds.values() for sound in sounds}, key=str)
    listen(f"features: {len(names) - len(todo)} of {len(names)} sounds are cached")
    if not todo:
        return []
    keep_freed_memory()
    lengths_s = durations_s(todo)
    needed_bytes = 0.0
    for name, upstream in upstreams.items():
        needed_bytes += _needed_bytes(upstream, lacking[name], lengths_s)
        # Summed up, because all the stores lie on one disk.
        check_space(kept[name].folder, needed_bytes)
    skipped: list[Skipped] = []
    try:
        # Sounds outside, upstreams inside: each recording is decoded once.
        for group, waves in _with_progress(equal_lengths(todo, skipped, read_sound), sum(lengths_s.values()), listen):
            for name, upstream in upstreams.items():
                _hear(upstream, kept[name], lacking[name], names, group, waves.to(device))
    finally:  # what was heard is kept, also when the run is interrupted
        for store in kept.values():
            store.flush()
    _report(skipped, len(todo))
    return skipped


def _needed_bytes(
    upstream: Upstream, lacking: Mapping[str, Collection[Sound]], lengths_s: Mapping[Sound, float]
) -> float:
    frames = sum(lengths_s[sound] for sound in lacking["frames"]) * SAMPLE_RATE / upstream.hop_samples
    # A mean is one row per sound, whose numbers are twice as long.
    return (frames + 2 * len(lacking["means"])) * upstream.row_bytes()


def _lacking(store: FeatureStore, wanted: Wanted, names: Mapping[Sound, str]) -> dict[str, set[Sound]]:
    found = {"frames": set[Sound](), "means": set[Sound]()}
    for kind, sounds in wanted.items():
        gone = set(store.missing((names[sound] for sound in sounds), kind))
        found[kind] = {sound for sound in sounds if names[sound] in gone}
    return found


@torch.inference_mode()
def _hear(
    upstream: Upstream,
    store: FeatureStore,
    lacking: dict[str, set[Sound]],
    names: Mapping[Sound, str],
    group: Sequence[Sound],
    waves: Tensor,
) -> None:
    # A teacher may have heard everything in an earlier run, and then hears nothing again.
    rows = [row for row, sound in enumerate(group) if any(sound in sounds for sounds in lacking.values())]
    if not rows:
        return
    layers = upstream.states(waves[rows])
    wants = {kind: [group[row] in lacking[kind] for row in rows] for kind in lacking}
    features_of = {
        "means": pooled(layers, upstream.norm) if any(wants["means"]) else None,
        "frames": framed(upstream, layers) if any(wants["frames"]) else None,
    }
    for kind, features in features_of.items():
        if features is not None:
            for row, want, one in zip(rows, wants[kind], features, strict=True):
                if want:
                    store.shelves[kind].put(names[group[row]], one)


def _with_progress(
    groups: Iterator[tuple[list[Sound], Tensor]], whole_s: float, listen: OnText
) -> Iterator[tuple[list[Sound], Tensor]]:
    done_s, said_s = 0.0, 0.0
    for group, waves in groups:
        yield group, waves
        done_s += waves.numel() / SAMPLE_RATE
        if done_s - said_s >= PROGRESS_S:
            listen(f"features: {done_s / 60:.0f} of {whole_s / 60:.0f} minutes of audio processed")
            said_s = done_s


def _report(skipped: Sequence[Skipped], count: int) -> None:
    if skipped and len(skipped) == count:
        raise SpeechpressError(f"none of {count} clips can be read; the first: {skipped[0].path}: {skipped[0].reason}")
    if skipped:
        logger.warning("%d clips were left out, the first: %s: %s", len(skipped), skipped[0].path, skipped[0].reason)
