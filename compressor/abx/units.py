"""Discrete units: frames by their nearest of K centres.

Shapes: F frames, D width, K centres.
"""

import torch
from torch import Tensor

ROUNDS = 30
MOST_FRAMES = 100_000  # that centres are found from
BATCH = 8192


def centres_of(frames: Tensor, count: int, seed: int = 0) -> Tensor:
    """K-means (Lloyd), begun from frames that are drawn far from each other (k-means++): (F, D) -> (K, D)."""
    draw = torch.Generator().manual_seed(seed)
    some = frames[torch.randperm(len(frames), generator=draw)[:MOST_FRAMES]]
    centres = some[:1]
    nearest = (some - centres).square().sum(1)
    for _ in range(1, min(count, len(some))):
        # Where all that is left equals a centre, any frame will do.
        chances = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        centres = torch.cat([centres, some[torch.multinomial(chances, 1, generator=draw)]])
        nearest = torch.minimum(nearest, (some - centres[-1]).square().sum(1))
    for _ in range(ROUNDS):
        units = units_of(some, centres)
        sums = torch.zeros_like(centres).index_add_(0, units, some)
        sizes = torch.bincount(units, minlength=len(centres))[:, None]
        # A centre without frames stays where it is.
        moved = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def units_of(frames: Tensor, centres: Tensor) -> Tensor:
    """(F, D) -> (F,), the number of the nearest centre."""
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in frames.split(BATCH)])


def without_repeats(units: Tensor, starts: list[int], lengths: list[int]) -> tuple[Tensor, list[int], list[int]]:
    """Each token's units with every run of one unit cut down to one: units, and where tokens begin and how long."""
    parts = [torch.unique_consecutive(units[s : s + n]) for s, n in zip(starts, lengths, strict=True)]
    sizes = [len(part) for part in parts]
    begins = [sum_ - size for sum_, size in zip(torch.tensor(sizes).cumsum(0).tolist(), sizes, strict=True)]
    return torch.cat(parts), begins, sizes
