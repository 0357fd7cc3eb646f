"""Query by example: where in a stream of features something was said that is like an example. No training.

Shapes: T frames of the stream, n frames of an example, Q examples, D width.

Subsequence dynamic time warping in the slope-limited form of Sakoe & Chiba (doi:10.1109/TASSP.1978.1163055, figure 4,
P = 1): an example may be said up to twice as fast or half as fast, and every frame of it counts once, whatever path is
taken. Nothing in a column depends on the same column, so a frame of the stream costs a dozen array operations for all
examples together, and a stream costs the same at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SpeechpressError

FAR = np.float32(1e6)  # the cost of a path that cannot be; finite, so that sums stay numbers
BLOCK = 256


@dataclass(frozen=True)
class Space:
    """How frames are compared: by their cosine, after each dimension was centred and scaled as in `speech`.

    Without it the few dimensions that are large in every frame would say that all frames are alike.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, speech: np.ndarray) -> "Space":
        """From frames (T, D) of any speech; raises SpeechpressError when there are fewer than two."""
        if speech.ndim != 2 or len(speech) < 2:
            raise SpeechpressError(f"speech of shape {speech.shape} is too little to compare frames in; give (T, D)")
        return cls(speech.mean(0), 1 / (speech.std(0) + 1e-5))

    def unit(self, frames: np.ndarray) -> np.ndarray:
        """(T, D) of length one."""
        moved = ((frames - self.mean) * self.scale).astype(np.float32)
        # 1e-9: a frame of zeros stays one, at distance 1 from everything.
        return moved / (np.linalg.norm(moved, axis=-1, keepdims=True) + 1e-9)

    def search(self, examples: Sequence[np.ndarray]) -> "Search":
        """A stream that is searched for examples (n, D), each as `unit` gives them."""
        return Search(examples)


@dataclass(frozen=True)
class EmbeddingSpace(Space):
    """The same for what a `words` head gives, (T, E + 1): a frame's weight, the last column, is not compared."""

    @classmethod
    def of(cls, speech: np.ndarray) -> "EmbeddingSpace":
        found = Space.of(speech[:, :-1])
        return cls(found.mean, found.scale)

    def unit(self, frames: np.ndarray) -> np.ndarray:
        """(T, E + 1) -> (T, E) of length one."""
        return super().unit(frames[:, :-1])


class Search:
    """One stream that is searched for Q examples while it comes in.

    Args:
        examples: (n, D) each, as `Space.unit` gives them.
    """

    def __init__(self, examples: Sequence[np.ndarray]) -> None:
        self._sizes = np.array([len(example) for example in examples], np.int64)
        if not len(self._sizes) or self._sizes.min() < 2:
            raise SpeechpressError("an example to search for has fewer than two frames")
        width, longest = examples[0].shape[1], int(self._sizes.max())
        # Padded to one size, so that a single matrix product compares a frame with all examples.
        padded = np.zeros((len(examples), longest, width), np.float32)
        for row, example in zip(padded, examples, strict=True):
            row[: len(example)] = example
        self._rows = padded.reshape(-1, width)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next frame is number 0."""
        shape = (len(self._sizes), int(self._sizes.max()) + 2)
        # Two columns before an example's first frame: one that no path comes from, and one where every path begins.
        empty = np.full(shape, FAR, np.float32)
        empty[:, 1] = 0
        self._paths = [(empty, np.zeros(shape, np.int32)), (empty.copy(), np.zeros(shape, np.int32))]
        self._last = np.full((shape[0], shape[1] - 2), FAR, np.float32)
        self.frames_heard = 0

    def push(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames (T, D) as `Space.unit` gives them -> costs (T, Q), and the frame (T, Q) where each best path began.

        The cost is the mean of 1 - cosine over an example's frames along the best path that ends there: 0 for the same
        sounds, about 1 for unrelated ones.
        """
        count, which = len(self._sizes), np.arange(len(self._sizes))
        costs = np.empty((len(frames), count), np.float32)
        starts = np.empty((len(frames), count), np.int32)
        for first in range(0, len(frames), BLOCK):  # all at once, the distances of an hour would not fit in memory
            for index, near in enumerate(frames[first : first + BLOCK] @ self._rows.T, first):
                paths, began = self._advance(1 - near.reshape(count, -1))
                # + 1 for the two columns before the first frame; the mean makes short and long examples alike.
                costs[index] = paths[which, self._sizes + 1] / self._sizes
                starts[index] = began[which, self._sizes + 1]
        return costs, starts

    def _advance(self, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next column of path costs and of their first frames, from the distances (Q, n) to this frame."""
        (last, last_began), (before, before_began) = self._paths
        paths, began = np.full_like(last, FAR), np.empty_like(last_began)
        paths[:, 1] = 0
        # A path may begin at any frame: that is what makes it a search in a stream.
        last_began[:, 1], before_began[:, 1] = self.frames_heard, self.frames_heard - 1
        even = last[:, 1:-1] + now
        # Two frames of the stream share one of the example, so each has half its weight.
        slow = before[:, 1:-1] + (self._last + now) / 2
        fast = last[:, :-2] + now
        # The example's frame that is skipped over counts as well, so that skipping is not cheaper.
        fast[:, 1:] += now[:, :-1]
        best = np.minimum(np.minimum(even, slow), fast)
        paths[:, 2:] = best
        began[:, 2:] = np.where(
            best == even, last_began[:, 1:-1], np.where(best == slow, before_began[:, 1:-1], last_began[:, :-2])
        )
        # No step reaches back further than two frames.
        self._paths = [(paths, began), (last, last_began)]
        self._last = now
        self.frames_heard += 1
        return paths, began


def search(examples: Sequence[np.ndarray], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A whole recording (T, D) searched for examples (n, D) each: costs and first frames, (T, Q); see `Search.push`."""
    return Search(examples).push(frames)
