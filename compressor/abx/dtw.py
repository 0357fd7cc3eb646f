"""Distances of many pairs of short sequences at once: dynamic time warping and edit distance.

Shapes: P pairs, N and M frames (padded), D width, F frames in all.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

MOST_VALUES = 24 * 2**20  # numbers in the largest array of a chunk of pairs


class Cost(Protocol):
    """Costs (P, N, M) of rows of frames (P, N) and (P, M); `width` numbers are looked at for each frame."""

    width: int

    def __call__(self, first: Tensor, second: Tensor) -> Tensor: ...


def warped(cost: Tensor, lengths: Tensor, others: Tensor) -> Tensor:
    """Dynamic time warping of costs (P, N, M) over the first `lengths` and `others` frames (P,) of each pair -> (P,).

    The sum along the cheapest path over the number of its steps, as in ZeroSpeech's and fastabx' code: steps go by one
    in the first, the second or both sequences, all at equal weight; of equal ones the diagonal is preferred, then
    the step in the second.
    """
    pairs, rows, columns = cost.shape
    # Border cells are never walked: infinitely dear, but for the corner.
    before = [cost.new_full((pairs,), math.inf) for _ in range(columns + 1)]
    steps_before = [cost.new_zeros(pairs) for _ in range(columns + 1)]
    before[0] = cost.new_zeros(pairs)
    result = cost.new_zeros(pairs)
    for i in range(rows):
        now, steps_now = [cost.new_full((pairs,), math.inf)], [cost.new_zeros(pairs)]
        for j in range(columns):
            corner, left, up = before[j], now[j], before[j + 1]
            best = torch.minimum(torch.minimum(corner, left), up)
            steps = torch.where(left <= up, steps_now[j], steps_before[j + 1])
            steps = torch.where((corner <= left) & (corner <= up), steps_before[j], steps) + 1
            now.append(best + cost[:, i, j])
            steps_now.append(steps)
            ends = (lengths == i + 1) & (others == j + 1)
            result = torch.where(ends, now[-1] / steps, result)
        before, steps_before = now, steps_now
    return result


def edited(cost: Tensor, lengths: Tensor, others: Tensor) -> Tensor:
    """Edit distance from "is another unit" (P, N, M), over the longer of the two lengths -> (P,)."""
    pairs, rows, columns = cost.shape
    before = [cost.new_full((pairs,), float(j)) for j in range(columns + 1)]
    result = cost.new_zeros(pairs)
    for i in range(rows):
        now = [cost.new_full((pairs,), i + 1.0)]
        for j in range(columns):
            now.append(torch.minimum(torch.minimum(now[j], before[j + 1]) + 1, before[j] + cost[:, i, j]))
            ends = (lengths == i + 1) & (others == j + 1)
            result = torch.where(ends, now[-1], result)
        before = now
    return result / torch.maximum(lengths, others)


class Angular:
    """Angle between frames (F, D) over pi, from 0 to 1. A frame of zeros is as far as can be from all others."""

    def __init__(self, frames: Tensor) -> None:
        norms = frames.norm(dim=1, keepdim=True)
        self._unit, self._silent = frames / norms.clamp_min(1e-30), norms[:, 0] == 0
        self.width = frames.shape[1]

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        angles = torch.bmm(self._unit[first], self._unit[second].transpose(1, 2)).clamp_(-1, 1).acos_().div_(math.pi)
        if self._silent.any():
            one, two = self._silent[first][:, :, None], self._silent[second][:, None, :]
            angles = torch.where(one ^ two, 1.0, torch.where(one & two, 0.0, angles))
        return angles


class OtherUnit:
    """0 for the same unit and 1 for another one, of units (F,): as the angle of one-hot frames, but for its scale."""

    width = 1

    def __init__(self, units: Tensor) -> None:
        self._units = units

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return (self._units[first][:, :, None] != self._units[second][:, None, :]).float()


def distances(
    pairs: np.ndarray, starts: np.ndarray, lengths: np.ndarray, cost: Cost, align: Callable[..., Tensor] = warped
) -> np.ndarray:
    """Distances of pairs (P, 2) of tokens, which lie at `starts` in the frames and are so long -> (P,) float32."""
    result = np.zeros(len(pairs), np.float32)
    if not len(pairs):
        return result
    # Of like lengths together, so that little is padded.
    order = np.lexsort((lengths[pairs[:, 1]], lengths[pairs[:, 0]]))
    firsts, seconds = lengths[pairs[order, 0]], lengths[pairs[order, 1]]
    place = 0
    while place < len(order):
        end = int(np.searchsorted(firsts, firsts[place], side="right"))
        # Sorted, so the last of them is the longest.
        values = int(max(firsts[place], seconds[end - 1]) * (cost.width + min(firsts[place], seconds[end - 1])))
        chunk = order[place : min(end, place + max(1, MOST_VALUES // values))]
        first, second = pairs[chunk, 0], pairs[chunk, 1]
        frames = [_padded(starts[side], lengths[side]) for side in (first, second)]
        result[chunk] = align(cost(*frames), *(torch.from_numpy(lengths[side]) for side in (first, second))).numpy()
        place += len(chunk)
    return result


def _padded(starts: np.ndarray, lengths: np.ndarray) -> Tensor:
    """Rows of frames (P, N); beyond its end a token repeats its last frame, which nobody looks at."""
    return torch.from_numpy(starts[:, None] + np.minimum(np.arange(lengths.max()), lengths[:, None] - 1))
