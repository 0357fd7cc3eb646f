"""`voices`: are phones told apart across two voices, on the English prompts of the starter that no starter run hears?

Half of the prompts are played slower, which lowers the formants about as far as a man's lie below a woman's: a second,
simulated voice. X is a token of a phone in one voice, A one of the same phone in the other, B one of another phone in
the voice of A; an error is an X that is nearer to B. Their neighbours may differ: there are too few tokens for more.

Shapes: N tokens; X, A and B of them in a cell.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..data.sounds import clip, read_sound
from ..data.transforms import Speed, apply
from ..evaluate.features import Upstream, last_layer
from ..evaluate.lineup import Comparison
from ..models.events import OnText
from ..starter import PHONES, SPEECH
from .asked import VOICES
from .dtw import Angular, distances
from .hear import heard, too_short
from .items import Token, read_items
from .task_entry import task_entry

logger = logging.getLogger(__name__)

# Women's formants are about 17 % above men's (Peterson and Barney, 1952); the English voice is a woman's.
LOWER = 1 / 1.17
AS_RECORDED, LOWERED = "as recorded", "lower"
MOST_TOKENS = 10  # of a phone in one voice, as `cells.MOST_TOKENS`
LEAST_TOKENS = 2
RESAMPLES = 300
METHOD = "bootstrap over the recordings"
NOTE = "one real voice, played slower for the second one; no starter run trains on these prompts"


@dataclass(frozen=True)
class Phones:
    """Tokens of both voices; `recording` (N,) and `phone` (N,) are their numbers, `lower` (N,) those of the second."""

    tokens: list[Token]
    recording: np.ndarray
    phone: np.ndarray
    lower: np.ndarray

    @cached_property
    def cells(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Tokens X, A and B of every phone in each voice; B are all other phones in the voice of A."""
        found = []
        for side in (False, True):
            for phone in range(int(self.phone.max()) + 1):
                mine, here = self.phone == phone, self.lower == side
                x, a, b = (np.flatnonzero(these) for these in (mine & here, mine & ~here, ~mine & ~here))
                found.append((x, a, b))
        return found


def voices(comparison: Comparison, device: str = "cpu", listen: OnText = logger.info) -> dict[str, Any]:
    """The last layer of everything that is compared, with 95 % intervals; an entry as a suite's tasks have it."""
    phones = two_voices(read_items(PHONES, SPEECH / "audio"), comparison.upstreams)
    recordings = len(np.unique(phones.recording))
    listen(f"{VOICES}: {len(phones.tokens)} tokens of phones in {recordings} recordings, in two voices")
    errors = {name: errors_of(one, phones, device) for name, one in comparison.upstreams.items()}
    return entry(phones, errors)


def two_voices(tokens: list[Token], upstreams: Mapping[str, Upstream], seed: int = 0) -> Phones:
    """Every second recording is slowed down; of each phone and voice at most MOST_TOKENS, the same ones for a seed.

    Tokens without a frame of some upstream are left out for all: frames may be longer than a short phone.
    """
    paths = sorted({token.path for token in tokens})
    recording = np.array([paths.index(token.path) for token in tokens])
    lower, names = recording % 2 == 1, np.array([token.phone for token in tokens])
    voiced = [_voiced(token, bool(low)) for token, low in zip(tokens, lower, strict=True)]
    heard_by_all = ~too_short(voiced, upstreams)
    draw, chosen = np.random.default_rng(seed), []
    for name in sorted(set(names)):
        sides = [np.flatnonzero((names == name) & (lower == side) & heard_by_all) for side in (False, True)]
        # With one alone in a voice there would be no other for a bootstrap to draw.
        if min(map(len, sides)) >= LEAST_TOKENS:
            chosen += [draw.permutation(side)[:MOST_TOKENS] for side in sides]
    kept = np.concatenate(chosen)
    numbers = np.unique(names[kept], return_inverse=True)[1]
    return Phones([voiced[k] for k in kept], recording[kept], numbers, lower[kept])


def _voiced(token: Token, lower: bool) -> Token:
    if not lower:
        return replace(token, speaker=AS_RECORDED)
    onset, offset = (round(edge / LOWER) for edge in (token.onset_us, token.offset_us))
    return replace(token, onset_us=onset, offset_us=offset, speaker=LOWERED)


def errors_of(upstream: Upstream, phones: Phones, device: str = "cpu") -> list[np.ndarray]:
    """For each of the cells: 1 where X is nearer to B than to A, a half where they are equally near (X, A, B)."""
    lowered = {token.path for token in phones.tokens if token.speaker == LOWERED}

    def read(path: str) -> np.ndarray:
        wave = read_sound(clip(path))
        return apply(wave, [Speed(LOWER)]) if path in lowered else wave

    *_, last = heard(last_layer(upstream), phones.tokens, device, read)
    voice = [np.flatnonzero(phones.lower == side) for side in (False, True)]
    apart = np.full((len(phones.tokens),) * 2, np.nan, np.float32)
    pairs = np.stack(np.meshgrid(*voice, indexing="ij"), -1).reshape(-1, 2)
    apart[pairs[:, 0], pairs[:, 1]] = distances(pairs, last.starts, last.lengths, Angular(last.frames))
    apart[pairs[:, 1], pairs[:, 0]] = apart[pairs[:, 0], pairs[:, 1]]
    return wrong_of(phones, apart)


def wrong_of(phones: Phones, apart: np.ndarray) -> list[np.ndarray]:
    """The same from distances of all tokens (N, N)."""
    found = []
    for x, a, b in phones.cells:
        near, far = apart[np.ix_(x, a)][:, :, None], apart[np.ix_(x, b)][:, None, :]
        found.append((near > far).astype(np.float32) + np.float32(0.5) * (near == far))
    return found


def mean_error(phones: Phones, errors: Sequence[np.ndarray], weight: np.ndarray) -> float:
    """The error over triples, then over pairs of phones in each voice of X, each pair with equal weight.

    `weight` (N,) counts how often each token is drawn; a pair that has lost a side is left out.
    """
    rows = []
    for (x, a, b), wrong in zip(phones.cells, errors, strict=True):
        heavy = np.outer(weight[x], weight[a]).ravel()
        by_b = (heavy @ wrong.reshape(len(heavy), len(b))) * weight[b]
        whole = np.bincount(phones.phone[b], weight[b]) * heavy.sum()
        sums = np.bincount(phones.phone[b], by_b)
        rows.append(sums[whole > 0] / whole[whole > 0])
    return float(np.concatenate(rows).mean())


def resampled(phones: Phones, errors: Mapping[str, list[np.ndarray]], seed: int = 0) -> dict[str, np.ndarray]:
    """The mean error of each model with recordings drawn anew (RESAMPLES,), the same ones for all models.

    Recordings are drawn within each voice, and play every part of a triple.
    """
    draw, sides = np.random.default_rng(seed), [np.unique(phones.recording[phones.lower == s]) for s in (False, True)]
    found: dict[str, list[float]] = {name: [] for name in errors}
    for _ in range(RESAMPLES):
        drawn = np.concatenate([draw.choice(side, len(side)) for side in sides])
        weight = np.bincount(drawn, minlength=int(phones.recording.max()) + 1)[phones.recording].astype(np.float32)
        for name, one in errors.items():
            found[name].append(mean_error(phones, one, weight))
    return {name: np.array(values) for name, values in found.items()}


def entry(phones: Phones, errors: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    """The entry in the JSON, of the form that a suite's tasks have."""
    whole = np.ones(len(phones.tokens), np.float32)
    scores = {name: mean_error(phones, one, whole) for name, one in errors.items()}
    facts = {
        "layer": "last",
        "tokens": len(phones.tokens),
        "phones": len(np.unique(phones.phone)),
        "recordings": len(np.unique(phones.recording)),
        "notes": [NOTE],
    }
    return task_entry(scores, resampled(phones, errors), METHOD, facts)
