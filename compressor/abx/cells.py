"""Which tokens stand against which: A and X are of one phone, B of another, all three between the same neighbours.

Within speakers all three are by one speaker, and X is another token than A. Across speakers A and B are by one and X by
another. A cell is the triples of one pair of phones, one context, one speaker of A and B, and across one speaker of X.

Shapes: C cells of one size, X, A and B tokens of each, P pairs of tokens.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .items import Token

MOST_TOKENS = 10  # of a phone in one context by one speaker, as in ZeroSpeech's own code
MOST_SPEAKERS = 5  # of X for one A and B, as there
MODES = ("within", "across")

Group = dict[tuple[str, str, str], dict[str, np.ndarray]]  # (before, after, phone) -> speaker -> tokens


@dataclass(frozen=True)
class Block:
    """Cells of one size: `near` (C, X, A) and `far` (C, X, B) are rows of the table of pairs, `entry` (C,) of Cells."""

    near: np.ndarray
    far: np.ndarray
    entry: np.ndarray


@dataclass(frozen=True)
class Cells:
    """All cells of one mode.

    `pairs` (P, 2) are the tokens X and A, or X and B, whose distance is needed. An entry is a pair of phones by one
    speaker, over which cells are averaged first: `phones` and `speaker` are its numbers, `count` how many cells it has.
    """

    mode: str
    pairs: np.ndarray
    blocks: tuple[Block, ...]
    phones: np.ndarray
    speaker: np.ndarray
    count: np.ndarray

    @property
    def cells(self) -> int:
        return int(self.count.sum())

    def tokens(self) -> np.ndarray:
        """The tokens that take part."""
        return np.unique(self.pairs)


def make_cells(tokens: Sequence[Token], mode: str, most_tokens: int | None = MOST_TOKENS, seed: int = 0) -> Cells:
    """The cells of a mode; with `most_tokens` some tokens are drawn, the same ones for a seed.

    Without it all tokens and all speakers of X count. There may be no cell at all.
    """
    groups = _groups(tokens, most_tokens, np.random.default_rng(seed))
    found = _within(groups) if mode == "within" else _across(groups, most_tokens, np.random.default_rng(seed))
    sizes: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
    entries: dict[tuple[str, str, str], int] = {}
    for name, x, a, b in found:
        entry = entries.setdefault(name, len(entries))
        sizes[len(x), len(a), len(b), int(x is a)].append((entry, x, a, b))
    return _packed(mode, len(tokens), sizes, entries)


def _groups(tokens: Sequence[Token], most: int | None, draw: np.random.Generator) -> Group:
    lists: dict[tuple[str, str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, token in enumerate(tokens):
        lists[(*token.context, token.phone)][token.speaker].append(number)
    # Sorted: the order of an item file's rows must not decide what is drawn.
    return {
        key: {speaker: _drawn(np.array(lists[key][speaker]), most, draw) for speaker in sorted(lists[key])}
        for key in sorted(lists)
    }


def _drawn(values: np.ndarray, most: int | None, draw: np.random.Generator) -> np.ndarray:
    return values if most is None or len(values) <= most else np.sort(draw.choice(values, most, replace=False))


Found = Iterator[tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray]]


def _contexts(groups: Group) -> Iterator[list[tuple[str, dict[str, np.ndarray]]]]:
    """The phones between the same neighbours, with their tokens by speaker."""
    contexts: dict[tuple[str, str], list[tuple[str, dict[str, np.ndarray]]]] = defaultdict(list)
    for (before, after, phone), speakers in groups.items():
        contexts[before, after].append((phone, speakers))
    yield from contexts.values()


def _within(groups: Group) -> Found:
    for phones in _contexts(groups):
        for phone, speakers in phones:
            for speaker, a in speakers.items():
                if len(a) < 2:
                    continue
                for other, others in phones:
                    if other != phone and speaker in others:
                        yield (phone, other, speaker), a, a, others[speaker]


def _across(groups: Group, most: int | None, draw: np.random.Generator) -> Found:
    for phones in _contexts(groups):
        for phone, speakers in phones:
            for speaker, a in speakers.items():
                listeners = [name for name in speakers if name != speaker]
                for other, others in phones:
                    if other == phone or speaker not in others or not listeners:
                        continue
                    some = _drawn(np.arange(len(listeners)), None if most is None else MOST_SPEAKERS, draw)
                    for number in some:
                        yield (phone, other, speaker), speakers[listeners[number]], a, others[speaker]


def _packed(mode: str, tokens: int, sizes: dict, entries: dict[tuple[str, str, str], int]) -> Cells:
    raw = []
    for (_, _, _, same), cells in sorted(sizes.items()):
        entry = np.array([cell[0] for cell in cells])
        x, a, b = (np.stack([cell[side] for cell in cells]) for side in (1, 2, 3))
        near = x[:, :, None] * tokens + a[:, None, :]
        if same:
            # X is every A in turn, and stands against the others.
            others = ~np.eye(x.shape[1], dtype=bool)
            near = near[:, others].reshape(len(x), x.shape[1], -1)
        raw.append((near, x[:, :, None] * tokens + b[:, None, :], entry))
    none = np.empty(0, int)
    codes = np.unique(np.concatenate([none, *(side.ravel() for near, far, _ in raw for side in (near, far))]))
    blocks = tuple(Block(np.searchsorted(codes, near), np.searchsorted(codes, far), entry) for near, far, entry in raw)
    names = list(entries)
    pair_of = {pair: number for number, pair in enumerate(sorted({(a, b) for a, b, _ in names}))}
    speaker_of = {speaker: number for number, speaker in enumerate(sorted({speaker for *_, speaker in names}))}
    return Cells(
        mode,
        np.stack([codes // tokens, codes % tokens], 1),
        blocks,
        np.array([pair_of[a, b] for a, b, _ in names], int),
        np.array([speaker_of[speaker] for *_, speaker in names], int),
        np.bincount(np.concatenate([none, *(block.entry for block in blocks)]), minlength=len(names)),
    )
