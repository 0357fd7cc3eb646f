"""Which recordings are heard together: a plan that does not depend on what is done already.

Shapes: S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.audio import Cut, cut_samples
from ..models.config import SAMPLE_RATE
from .options import Shard

PADDED = 0.05  # of a batch may be silence that fills up shorter recordings


@dataclass(frozen=True)
class Item:
    """A recording: its cut, its length in samples at 16 kHz, and the path of its file below the folder."""

    cut: Cut
    samples: int
    path: str

    @property
    def name(self) -> str:
        return self.cut.id


def share(items: Sequence[Item], shard: Shard) -> list[Item]:
    """One shard's recordings: by length in turn, so that shards take equally long; each is in exactly one."""
    ordered = sorted(items, key=lambda item: (-item.samples, item.name))
    return ordered[shard.number - 1 :: shard.count]


def batches(items: Sequence[Item], batch_s: float, padding: bool) -> list[list[Item]]:
    """Groups of recordings of one length, or with `padding` of nearly one, longest first.

    The longest come first because they are what memory may not suffice for, and so that workers end together.
    """
    most, planned = round(batch_s * SAMPLE_RATE), list[list[Item]]()
    for item in sorted(items, key=lambda item: (-item.samples, item.name)):
        group = planned[-1] if planned else []
        if group and _fits(group[0].samples, item.samples, len(group), most, padding):
            group.append(item)
        else:
            planned.append([item])
    return planned


def _fits(longest: int, samples: int, count: int, most: int, padding: bool) -> bool:
    close = samples >= (1 - PADDED) * longest if padding else samples == longest
    return close and (count + 1) * longest <= most


def item_of(cut: Cut, path: str) -> Item:
    return Item(cut, cut_samples(cut), path)
