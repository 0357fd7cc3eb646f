"""Words taught by a few examples, found by the vectors of a `words` head; numpy only.

Shapes: T frames of the stream, n frames of an example, E width of an embedding, S sizes of window, P parts of a
window, N windows, Q examples, V width of a word's vector.

A head gives an embedding per frame and the logarithm of the frame's weight. A stretch of frames is cut into `PARTS`
equal parts; the weighted mean of each, side by side and scaled to length 1, is its vector. So stretches of any length
are compared by one product, and the order of their sounds counts. A stream is searched with windows of several sizes
that end in each frame; of those about as long as an example, the one counts whose vector is nearest to the example's.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import SpeechpressError
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Outputs, Wait, options, rows

PARTS = 3
LOUDEST = 6.0  # log weights beyond this count as this, so that no frame is all and none is nothing
FAR = np.float32(1e6)  # the cost where there is no window yet; finite, so that sums stay numbers
STEP = 1.15  # from one size of window to the next
SHORTEST, LONGEST = 0.7, 1.4  # windows that are compared with an example, in its own length
BLOCK = 256


def sums_of(outputs: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
    """Outputs (T, E + 1) -> sums (T + 1, E + 1) up to each frame; row 0 is `before`, the last one of the last call.

    Row by row from the beginning of the stream, so that they do not depend on how it was cut.
    """
    weights = np.exp(np.clip(outputs[:, -1:].astype(np.float64), -LOUDEST, LOUDEST))
    rows = np.concatenate([weights, weights * outputs[:, :-1]], 1)
    first = np.zeros((1, outputs.shape[1])) if before is None else before[None]
    return np.cumsum(np.concatenate([first, rows]), axis=0)


def vectors_of(sums: np.ndarray, stops: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Vectors (N, S, V) of the windows of each size that end before frames `stops` (N,), from the sums up to frames."""
    part = np.arange(PARTS + 1)
    edges = (sizes[:, None] * part + PARTS // 2) // PARTS - sizes[:, None]
    parts = np.diff(sums[stops[:, None, None] + edges], axis=2)
    vectors = (parts[..., 1:] / parts[..., :1]).astype(np.float32).reshape(len(stops), len(sizes), -1)
    # 1e-9: of frames that are all embedded as 0.
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def vector_of(example: np.ndarray) -> np.ndarray:
    """The vector (V,) of an example (n, E + 1) of at least `PARTS` frames."""
    size = len(example)
    return vectors_of(sums_of(example), np.array([size]), np.array([size]))[0, 0]


class WordsDecoder:
    """See `decode.Decoder`. A head knows no word by itself: words are taught to an app, which finds them by
    `VectorSearch` in what the head gives. So it brings no events, whatever is heard, but checks what it is given.
    """

    def __init__(self, spec: HeadSpec) -> None:
        options(spec, {})
        self.spec = spec

    def initial_state(self) -> DecoderState:
        return {}

    def wait(self) -> Wait:
        return Wait(0.0, 0.0)

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        rows(self.spec, outputs, "vectors")
        return [], state

    def finish(self, state: DecoderState) -> list[Event]:
        return []


class VectorSpace:
    """How the outputs of a head are compared; in the place of `demo.dtw.Space`, which compares frames."""

    def unit(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (T, E + 1) as they are: vectors are scaled, not frames."""
        return outputs.astype(np.float32)

    def search(self, examples: Sequence[np.ndarray]) -> "VectorSearch":
        return VectorSearch(examples)


class VectorSearch:
    """One stream that is searched for Q examples while it comes in.

    Args:
        examples: outputs (n, E + 1) of the head each.
    """

    def __init__(self, examples: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(example) for example in examples], np.int64)
        if not len(lengths) or lengths.min() < PARTS:
            raise SpeechpressError(f"an example to search for has fewer than {PARTS} frames")
        self._vectors = np.stack([vector_of(example) for example in examples], axis=1)
        sizes = _sizes(int(SHORTEST * lengths.min()), int(LONGEST * lengths.max()) + 1)
        # A word said by itself is as long as its example; sizes in between would miss that one.
        self._sizes = np.union1d(sizes, lengths)
        share = self._sizes[:, None] / lengths
        self._compared = (share >= SHORTEST) & (share <= LONGEST)
        self._width = examples[0].shape[1]
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next frame is number 0."""
        self._sums = np.zeros((1, self._width))
        self.frames_heard = 0

    def push(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (T, E + 1) -> costs (T, Q), 1 - cosine, and the frame (T, Q) where each nearest window begins."""
        parts = [self._block(outputs[first : first + BLOCK]) for first in range(0, len(outputs), BLOCK)]
        none = np.zeros((0, self._vectors.shape[1]))
        costs, starts = zip(*parts, strict=True) if parts else ((none.astype(np.float32),), (none.astype(np.int32),))
        return np.concatenate(costs), np.concatenate(starts)

    def _block(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        added = sums_of(outputs, self._sums[-1])[1:]
        sums, before = np.concatenate([self._sums, added]), len(self._sums) - 1
        stops = np.arange(before + 1, len(sums))
        longest = int(self._sizes[-1])
        # Rows before the stream's first frame: what is read there is not used.
        padded = np.concatenate([np.zeros((longest, self._width)), sums])
        with np.errstate(invalid="ignore", divide="ignore"):
            vectors = vectors_of(padded, stops + longest, self._sizes)
        near = np.where(self._compared, vectors @ self._vectors, -FAR)
        near = np.where((self._sizes <= stops[:, None])[..., None], near, -FAR)
        best = near.argmax(axis=1)
        cosine = np.take_along_axis(near, best[:, None], 1)[:, 0]
        first = self.frames_heard - before
        starts = stops[:, None] + first - self._sizes[best]
        self.frames_heard += len(outputs)
        self._sums = sums[-longest - 1 :]
        return np.where(cosine <= -FAR, FAR, 1 - cosine).astype(np.float32), starts.astype(np.int32)


def _sizes(first: int, last: int) -> np.ndarray:
    """Sizes of window from about `first` to about `last` frames, each `STEP` times the one before."""
    count = int(np.log(max(last, 1) / max(first, 1)) / np.log(STEP)) + 1
    return np.unique(np.maximum(np.round(max(first, 1) * STEP ** np.arange(count + 1)).astype(np.int64), PARTS))
