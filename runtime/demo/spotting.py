"""Words taught by a few examples, and found in a stream; no training.

Shapes: T frames of the stream, n frames of an example, K examples of a word, D width of what is compared.

How a frame of the stream is compared with an example is a `Way`: by the best path through the example that ends there
(`dtw.Space`, on features, or `dtw.EmbeddingSpace`, on what a `words` head gives), or by the nearest vector of a window
that ends there (`answers.words.VectorSpace`). Either gives a cost.

A word's score in a frame says by how many standard deviations that cost is lower than it is in speech without the word
(the background), averaged over the examples that fit best. So scores of short and of long words, of clear and of
mumbled examples, can be compared, and one threshold serves them all.

What sounds like a word and is not may be taught as well ("not this one"): where that fits better, the score is lower.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import SpeechpressError
from .dtw import Space

MIN_EXAMPLE_S, MAX_EXAMPLE_S = 0.16, 3.0
FALSE_ALARMS_PER_H = 1.0
HELD, NEARLY = 10, 1.0  # frames that a negative example counts; a score so much lower is nearly as good
BEST = 2  # examples that count: the ones that fit best in that frame
PEAK_S = 0.1  # a peak that was not topped for so long is the word
REST_S = 0.3  # after a word the same word is not looked for
TYPICAL = 4.6  # for one false alarm per hour, chosen with benchmarks/taught_words.py --tune
TAIL_PEAKS = 12  # highest scores of the background, from which the rate of false alarms is extrapolated
PEAK_APART_S = 0.5


class Hit(NamedTuple):
    """A word that was found, its score, and when it was said, in seconds since the stream began."""

    word: str
    score: float
    start_s: float
    end_s: float


class Searching(Protocol):
    """One stream that is searched for examples while it comes in."""

    frames_heard: int

    def push(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames (T, D) -> costs (T, Q), and the frame (T, Q) where what is compared begins."""


class Way(Protocol):
    """How frames and examples are compared."""

    def unit(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, D) as they are compared."""

    def search(self, examples: Sequence[np.ndarray]) -> Searching:
        """For examples (n, D), as `unit` gives them."""


class Background:
    """Speech that holds none of the words: what frames are like, and how often a score is met by chance.

    Args:
        frames: (T, D), of at least some tens of seconds; four minutes by several speakers are good.
        frame_s: seconds from frame to frame.
        way: how frames are compared; None is by paths of features, which these frames then are.
        head: of the bundle, whose outputs the frames are; "" when they are features.
    """

    def __init__(self, frames: np.ndarray, frame_s: float = 0.02, way: Way | None = None, head: str = "") -> None:
        self.space: Way = Space.of(frames) if way is None else way
        self.head = head
        self.frames, self.frame_s = self.space.unit(frames), frame_s

    @property
    def hours(self) -> float:
        return len(self.frames) * self.frame_s / 3600


@dataclass(frozen=True)
class Word:
    """What is known of a word.

    `examples`: (n, D) each, as the model gave them. `usual`: (K, 2), mean and standard deviation of each example's cost
    in the background. `threshold`: the score from which on it counts as said. `agreement`: the lowest score that one of
    the examples gets from the others, None when there is only one. `against`: N examples (n, D) of what sounds like it
    and is not; `usual_against` (N, 2) as `usual`.
    """

    name: str
    examples: tuple[np.ndarray, ...]
    usual: np.ndarray
    threshold: float
    agreement: float | None = None
    against: tuple[np.ndarray, ...] = ()
    usual_against: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """All examples, in the order of the columns of costs."""
        return (*self.examples, *self.against)

    @property
    def doubtful(self) -> bool:
        """Whether the examples are so unlike each other that one would not have been found by the others."""
        return self.agreement is not None and self.agreement < self.threshold


def learn(
    name: str,
    examples: Sequence[np.ndarray],
    background: Background,
    false_alarms_per_h: float = FALSE_ALARMS_PER_H,
    against: Sequence[np.ndarray] = (),
) -> Word:
    """A word from one or more examples of it, frames (n, D) that hold the word and as little else as possible.

    The threshold is meant to leave so many false alarms per hour of other speech; see `_threshold`. `against` are
    examples of what was taken for the word and is not.

    Raises:
        SpeechpressError: no examples, or one that is too short or too long for a word.
    """
    if not examples:
        raise SpeechpressError(f"the word {name!r} has no examples; say it at least once, better three times")
    for example in (*examples, *against):
        _check_length(name, len(example) * background.frame_s)
    units = [background.space.unit(example) for example in (*examples, *against)]
    costs, _ = background.space.search(units).push(background.frames)
    settled = costs[max(map(len, units)) :]  # before, no path is complete
    if len(settled) < 2:
        raise SpeechpressError("the background speech is shorter than the examples; give at least some tens of seconds")
    # 1e-6, because the spread is divided by and may be 0.
    usual, own = np.stack([settled.mean(0), settled.std(0) + 1e-6], axis=1), len(examples)
    word = Word(name, tuple(examples), usual[:own], 0.0, None, tuple(against), usual[own:])
    threshold = _threshold(word_scores(settled, word)[0], background, false_alarms_per_h)
    agreement = _agreement(units[:own], usual[:own], background.space)
    return replace(word, threshold=threshold, agreement=agreement)


def _check_length(name: str, duration_s: float) -> None:
    if not MIN_EXAMPLE_S <= duration_s <= MAX_EXAMPLE_S:
        raise SpeechpressError(
            f"an example of {name!r} lasts {duration_s:.2f} s, but a word lasts {MIN_EXAMPLE_S:g} to "
            f"{MAX_EXAMPLE_S:g} s; say it once, with silence before and after"
        )


def scores_of(costs: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Costs (T, K) of a word's examples and what is usual for them (K, 2) -> the word's score (T,)."""
    apart = (usual[:, 0] - costs) / usual[:, 1]
    best = min(BEST, apart.shape[1])
    return np.sort(apart, axis=1)[:, -best:].mean(axis=1)


def word_scores(costs: np.ndarray, word: Word, before: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Costs (T, K + N) of a word's columns -> its score (T,), and what `before` is for the frames after these.

    Where the word's negative examples fit nearly as well as its own, or better, the score is so much lower that the
    difference counts twice. They count for `HELD` frames, because the best frame of the one is not that of the other.
    """
    count = len(word.examples)
    own = scores_of(costs[:, :count], word.usual)
    if not word.against:
        return own, np.zeros(0)
    last = np.full(HELD - 1, -np.inf) if before is None else before
    other = np.concatenate([last, scores_of(costs[:, count:], word.usual_against)])
    held = np.lib.stride_tricks.sliding_window_view(other, HELD).max(1)
    return own - 2 * np.maximum(0.0, held - own + NEARLY), other[len(other) - HELD + 1 :]


def _threshold(scores: np.ndarray, background: Background, per_h: float) -> float:
    """The score that is passed so many times per hour.

    Half of it is what the highest scores of the background say, if they fall off exponentially; a few minutes say that
    only roughly, so the other half is what is typical of words.
    """
    # One more than wanted: the excess is measured over the lowest of them.
    top = np.array(peaks(scores, round(PEAK_APART_S / background.frame_s))[: TAIL_PEAKS + 1])
    lowest, higher = top[-1], top[:-1]
    if not len(higher):
        return TYPICAL
    # Exponential tail: its mean excess is also its scale (a peaks-over-threshold estimate).
    excess, rate = float((higher - lowest).mean()), len(higher) / background.hours
    found = float(lowest) + excess * max(0.0, math.log(rate / per_h))
    return (found + TYPICAL - excess * math.log(per_h)) / 2


def peaks(scores: np.ndarray, apart: int) -> list[float]:
    """The highest score, the highest that is at least `apart` frames from it, and so on down."""
    order, free, found = np.argsort(scores)[::-1], np.ones(len(scores), bool), []
    for index in order:
        if free[index]:
            found.append(float(scores[index]))
            free[max(0, index - apart) : index + apart + 1] = False
    return found


def _agreement(units: Sequence[np.ndarray], usual: np.ndarray, way: Way) -> float | None:
    """Each example searched with the others, by its best score; the lowest of these."""
    if len(units) < 2:
        return None
    lowest = math.inf
    for index, unit in enumerate(units):
        others = [k for k in range(len(units)) if k != index]
        # Without itself, which would fit perfectly.
        costs, _ = way.search([units[k] for k in others]).push(unit)
        lowest = min(lowest, float(scores_of(costs, usual[others]).max()))
    return lowest


class Spotter:
    """Finds words in one stream of features.

    Args:
        words: from `learn`.
        background: the one with which they were learned.
    """

    def __init__(self, words: Sequence[Word], background: Background) -> None:
        self.background = background
        self.words: tuple[Word, ...] = ()
        self.set_words(words)

    def set_words(self, words: Sequence[Word]) -> None:
        """Look for these from the next frame on; what was half said is forgotten."""
        self.words = tuple(words)
        self._candidates: list[Hit | None] = [None] * len(self.words)
        self._rest_until_s = [-math.inf] * len(self.words)
        self._told_until_s = [-math.inf] * len(self.words)
        self.last_scores = np.full(len(self.words), -math.inf)
        self._held: list[np.ndarray | None] = [None] * len(self.words)
        units = [self.background.space.unit(example) for word in self.words for example in word.columns]
        # None without words: a search needs at least one example.
        self._search = self.background.space.search(units) if units else None

    def push(self, frames: np.ndarray, end_s: np.ndarray) -> list[Hit]:
        """Frames (T, D) and the end (T,) of each one's audio in seconds -> the words that are now known to be said.

        A word is told 0.1 s after its score was highest, so that it is told once.
        """
        if self._search is None or not len(frames):
            return []
        costs, starts = self._search.push(self.background.space.unit(frames))
        first, hits = self._search.frames_heard - len(frames), []
        column = 0
        for number, word in enumerate(self.words):
            columns = slice(column, column + len(word.columns))
            scores, self._held[number] = word_scores(costs[:, columns], word, self._held[number])
            self.last_scores[number] = scores.max()
            # The start is that of the example that fits best; those of the others belong to other paths.
            own = slice(column, column + len(word.examples))
            cheapest = costs[:, own].argmin(axis=1)
            began = np.take_along_axis(starts[:, own], cheapest[:, None], 1)[:, 0]
            column = columns.stop
            lengths_s = (first + np.arange(len(frames)) - began + 1) * self.background.frame_s
            hits += self._tell(number, scores, end_s, lengths_s)
        # Word by word they were found, but people read them in time.
        return sorted(hits, key=lambda hit: hit.end_s)

    def finish(self) -> list[Hit]:
        """The stream has ended: words that only waited for a higher score."""
        waiting = [hit for hit in self._candidates if hit is not None]
        self._candidates = [None] * len(self.words)
        return waiting

    def _tell(self, number: int, scores: np.ndarray, end_s: np.ndarray, lengths_s: np.ndarray) -> list[Hit]:
        """Hits of one word: peaks above its threshold that were not topped for a while, most of each after the last."""
        word, told = self.words[number], []
        for score, now_s, length_s in zip(scores.tolist(), end_s.tolist(), lengths_s.tolist(), strict=True):
            best = self._candidates[number]
            # A longer path through a word that was told is no second one.
            new = now_s >= self._rest_until_s[number] and now_s - length_s / 2 >= self._told_until_s[number]
            if score >= word.threshold and new and (not best or score > best.score):
                best = self._candidates[number] = Hit(word.name, score, now_s - length_s, now_s)
            if best and now_s - best.end_s >= PEAK_S:
                told.append(best)
                self._candidates[number] = None
                self._rest_until_s[number], self._told_until_s[number] = now_s + REST_S, best.end_s
        return told
