"""Errors of cells, their mean as ZeroSpeech takes it, and intervals by speakers.

Shapes: C cells, X, A and B tokens of each, P pairs of tokens, E entries (a pair of phones by one speaker).
"""

from collections.abc import Sequence

import numpy as np

from .cells import Block, Cells

RESAMPLES = 500
MOST_TRIPLES = 2**24


def entry_errors(cells: Cells, distances: np.ndarray) -> np.ndarray:
    """The mean error over the cells of each entry (E,), from the distances of `cells.pairs` (P,)."""
    total = np.zeros(len(cells.count))
    for block in cells.blocks:
        np.add.at(total, block.entry, _block_errors(block, distances))
    return total / cells.count


def _block_errors(block: Block, distances: np.ndarray) -> np.ndarray:
    """How often X is nearer to B than to A, in each cell (C,); of equal distances half."""
    triples = block.near[0].size * block.far.shape[2]
    step = max(1, MOST_TRIPLES // triples)
    parts = []
    for start in range(0, len(block.entry), step):
        near = distances[block.near[start : start + step]][:, :, :, None]
        far = distances[block.far[start : start + step]][:, :, None, :]
        parts.append(((near > far) + 0.5 * (near == far)).mean(axis=(1, 2, 3)))
    return np.concatenate(parts)


def mean_error(cells: Cells, errors: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Over contexts (done in `errors`), then speakers, then ordered pairs of phones, each with equal weight.

    `weights` counts how often each speaker is drawn; a pair of phones that none of them has is left out.
    """
    weight = np.ones(len(errors)) if weights is None else weights[cells.speaker].astype(float)
    whole = np.bincount(cells.phones, weight)
    by_pair = np.bincount(cells.phones, weight * errors)
    there = whole > 0
    return float((by_pair[there] / whole[there]).mean()) if there.any() else float("nan")


def resampled(cells: Cells, errors: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """The mean error of several models with speakers drawn anew (models, resamples); the same speakers for all.

    Tokens of one speaker are not independent of each other, so speakers are what is drawn.
    """
    draw = np.random.default_rng(seed)
    speakers = int(cells.speaker.max()) + 1
    values = np.empty((len(errors), resamples))
    for number in range(resamples):
        weights = np.bincount(draw.integers(speakers, size=speakers), minlength=speakers)
        values[:, number] = [mean_error(cells, one, weights) for one in errors]
    return values
