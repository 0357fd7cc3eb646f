"""What a head is trained on: layers of a frozen student, heard as it will hear on a device.

Shapes: N sounds, T frames, L layers (0 included), D width.

A student that streams is heard in chunks, and each training clip in one of several sizes, so that one head serves them
all; what it is chosen and judged by is heard in the smallest one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import Skipped
from ..data.sounds import Sound, identity
from ..evaluate.extract import extract, stores
from ..evaluate.store import FeatureStore
from ..evaluate.upstreams import encoder_upstream
from ..models.checkpoint import Checkpoint
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.streaming import chunk_frames_of
from ..tasks.kinds import Item

DEFAULT_MS = (80.0, 640.0)  # of `recipe.schema.Streaming`, where a card does not say how its student was trained
Chunk = int | None  # frames of a chunk; None is the whole recording at once


def chunks_of(opened: Checkpoint, chunks_ms: Sequence[float] = ()) -> tuple[Chunk, ...]:
    """Sizes in which a student hears: those asked for, else the ends of its streaming training and their middle.

    Raises SpeechpressError for chunks that it cannot have.
    """
    config = opened.encoder.config
    if config.blockers:
        if chunks_ms:
            raise SpeechpressError(f"{opened.path}: does not stream, so it has no chunks: {'; '.join(config.blockers)}")
        return (None,)
    if chunks_ms:
        return tuple(sorted({chunk_frames_of(config, ms) for ms in chunks_ms}))
    low, high = _trained_ms(opened)
    hop_ms = 1000 * config.hop_samples / 16_000
    return tuple(sorted({max(1, round(ms / hop_ms)) for ms in (low, (low * high) ** 0.5, high)}))


def _trained_ms(opened: Checkpoint) -> tuple[float, float]:
    recipe = opened.card.get("recipe")
    told = recipe.get("streaming") if isinstance(recipe, dict) else None
    said = told.get("chunk_ms") if isinstance(told, dict) else None
    good = isinstance(said, list) and len(said) == 2 and all(type(ms) in (int, float) and ms > 0 for ms in said)
    return (float(said[0]), float(said[1])) if good and said else DEFAULT_MS


@dataclass(frozen=True)
class Heard:
    """Features of clips by the identity of the sound, whichever chunks they were heard in; see `store.Features`."""

    places: Mapping[str, FeatureStore]
    hop_samples: int
    skipped: tuple[Skipped, ...] = ()

    def frames(self, name: str) -> np.ndarray:
        return self.places[name].frames(name)

    def means(self, names: Sequence[str]) -> Tensor:
        return torch.cat([self.places[name].means([name]) for name in names])


@contextmanager
def heard(
    encoder: Encoder,
    items: Sequence[Item],
    kind: str,
    chunks: Sequence[Chunk],
    cache: Path | None,
    device: str,
    say: OnText,
) -> Iterator[Heard]:
    """Hear all clips, frames or means as `kind` says, or take what the cache has.

    Raises SpeechpressError when none can be read, or the disk is too small.
    """
    encoder = encoder.to(device)
    upstreams = {str(chunk): encoder_upstream(encoder, chunk) for chunk in chunks}
    dealt: dict[str, list[Sound]] = {name: [] for name in upstreams}
    trained = sorted({item.sound for item in items if item.split == "train"}, key=identity)
    for number, sound in enumerate(trained):
        dealt[str(chunks[number % len(chunks)])].append(sound)
    dealt[str(chunks[0])] += sorted({item.sound for item in items if item.split != "train"}, key=identity)
    with stores(cache, upstreams) as kept:
        skipped, places = [], {}
        for name, sounds in dealt.items():
            if not sounds:
                continue
            skipped += extract({name: upstreams[name]}, {kind: sounds}, kept, device, say)
            places.update({identity(sound): kept[name] for sound in sounds})
        hop_samples = next(iter(upstreams.values())).hop_samples
        yield Heard(places, hop_samples, tuple(skipped))
