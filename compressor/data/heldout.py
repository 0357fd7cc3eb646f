"""Splitting a corpus into what is trained on and what is held out, so that nobody is heard on both sides."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from lhotse import CutSet
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

from ..models.config import SAMPLE_RATE
from .audio import Cut, Skipped, UnreadableAudio, read_cut
from .corpus import Corpus, list_skipped
from .labels import label, speakers

logger = logging.getLogger(__name__)


# Beginnings, so that LibriSpeech's dev-clean or test-other and "validation" are known as well.
_TRAIN, _VALID, _TEST = ("train",), ("val", "dev"), ("test", "eval")


# Whole speakers never add up to what is wanted; so much more is taken without cutting.
_OVERSHOOT = 1.5


def split_heldout(
    corpus: Corpus, seconds: float | None = None, fraction: float | None = None, seed: int = 0
) -> tuple[Corpus, Corpus]:
    """(train, held out): by speaker where speakers are known, else by recording; the same every time.

    A `split` label is honoured: "val" or "dev" recordings are the held-out side if there are any, "test" and "eval"
    ones are on neither side. Whole speakers go to one side; of more speech than 1.5 times what is wanted, the held-out
    side keeps only a part, and that is said.

    Args:
        corpus: what to split.
        seconds: how much to hold out. Never more than half of the corpus.
        fraction: the same as a share of the corpus; one of the two is given.
        seed: chooses among the speakers or recordings.

    Raises:
        SpeechpressError: everything is one recording, or is marked as test, so that no side can be made.
    """
    if (seconds is None) == (fraction is None):
        raise ValueError("give either seconds or fraction")
    trainable, marked = _by_label(corpus)
    if marked:
        if not trainable:
            raise SpeechpressError(
                f"{corpus.source}: every recording is marked held-out or test, none is left to train on"
            )
        return _said(corpus, trainable, marked)
    total_s = _seconds(trainable)
    wanted_s = seconds if seconds is not None else (fraction or 0.0) * total_s
    if wanted_s <= 0:
        raise SpeechpressError(f"{corpus.source}: the held-out part must be more than 0 seconds")
    groups = _groups(corpus.source, trainable)
    train, held = _choose(groups, min(wanted_s, total_s / 2), seed)
    return _said(corpus, train, _trim(held, wanted_s, seed))


def split_notes(corpus: Corpus, train: Corpus, held: Corpus) -> list[str]:
    """What has to be said of a split: speakers on both sides, and what is on neither."""
    return [note for note in (_overlap(train, held), _left_out(corpus, train, held)) if note]


def _left_out(corpus: Corpus, train: Corpus, held: Corpus) -> str | None:
    """What of a corpus is on neither side of its split, and why; None if all of it is used."""
    used = {cut.id for part in (train, held) for cut in part.cuts}
    rest = [cut for cut in corpus.cuts if cut.id not in used]
    if not rest:
        return None
    test = [cut for cut in rest if _side(label(cut, "split") or "train") == "test"]
    reasons = []
    if test:
        reasons.append(f"{_amount(test)} marked as test in its labels")
    if others := [cut for cut in rest if _side(label(cut, "split") or "train") != "test"]:
        reasons.append(f"{_amount(others)} of held-out speakers beyond what is held out")
    sides = f"{len(train.cuts)} of {len(corpus.cuts)} recordings are used for training, {len(held.cuts)} are held out"
    return f"{sides}; on neither side: {' and '.join(reasons)}"


def _said(corpus: Corpus, train: list[Cut], held: list[Cut]) -> tuple[Corpus, Corpus]:
    """Both sides; what has to be said of them goes to the log, and those who train put it among their notes."""
    sides = _part(corpus, train), _part(corpus, held)
    for note in split_notes(corpus, *sides):
        logger.info("%s: %s", corpus.source, note)
    return sides


def _amount(cuts: Sequence[Cut]) -> str:
    hours = _seconds(cuts) / 3600
    return f"{counted(len(cuts), 'recording')} ({f'{hours:.2f} h' if hours >= 0.1 else f'{hours * 60:.1f} min'})"


def _by_label(corpus: Corpus) -> tuple[list[Cut], list[Cut]]:
    """(may be trained on, marked as held out); test recordings are in neither."""
    sides: dict[str, list[Cut]] = {"train": [], "valid": [], "test": []}
    unknown = Counter[str]()
    for cut in corpus.cuts:
        name = (label(cut, "split") or "train").lower()
        sides[_side(name)].append(cut)
        unknown[name] += not name.startswith((*_TRAIN, *_VALID, *_TEST))
    # The plus drops the names that were counted 0 times, which are the known ones.
    if strange := sorted(+unknown):
        logger.warning("%s: split is %s, which is taken as train", corpus.source, ", ".join(map(repr, strange)))
    if not sides["train"] and not sides["valid"]:
        raise SpeechpressError(
            f"{corpus.source}: every recording is marked as test in its labels, none may be trained on"
        )
    return sides["train"], sides["valid"]


def _side(name: str) -> str:
    name = name.lower()
    return "test" if name.startswith(_TEST) else "valid" if name.startswith(_VALID) else "train"


def _groups(source: str, cuts: Sequence[Cut]) -> list[list[Cut]]:
    """Cuts that must stay together: those with a speaker in common, or, of unknown speakers, of one recording."""
    groups = _connected(cuts, lambda cut: speakers(cut) or {f"recording {cut.recording.id}"})
    if len(groups) > 1:
        return groups
    if any(speakers(cut) for cut in cuts):
        groups = _connected(cuts, lambda cut: {cut.recording.id})
        logger.warning("%s: only one speaker, so held-out speech is of the same speaker as training", source)
    if len(groups) < 2:
        raise SpeechpressError(
            f"{source}: only {len(groups)} recording to train on, and one must be held out. Add recordings"
        )
    return groups


def _connected(cuts: Sequence[Cut], names: Callable[[Cut], Iterable[str]]) -> list[list[Cut]]:
    """Groups of cuts that are linked by a name in common, directly or through others."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            # Assigned from left to right, so parent[name] is of the old name; halving the path keeps chains short.
            parent[name] = name = parent[parent[name]]
        return name

    firsts = []
    for cut in cuts:
        # A set of text has another order in every process, and the groups must not.
        first, *others = sorted(names(cut))
        firsts.append(first)
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[Cut]] = {}
    for cut, first in zip(cuts, firsts, strict=True):
        groups.setdefault(root(first), []).append(cut)
    return list(groups.values())


def _choose(groups: list[list[Cut]], wanted_s: float, seed: int) -> tuple[list[Cut], list[Cut]]:
    """Hold out whole groups, in an order drawn by the seed, until there is enough; big ones only if nothing else is."""
    order = sorted(groups, key=lambda group: _draw(seed, group[0].id))
    held: list[list[Cut]] = []
    for group in order:
        missing_s = wanted_s - sum(map(_seconds, held))
        if missing_s > 0 and _seconds(group) <= _OVERSHOOT * missing_s:
            held.append(group)
    # Every speaker is too big: the smallest costs the training side least.
    held = held or [min(order, key=_seconds)]
    taken = {id(group) for group in held}
    return [cut for group in order if id(group) not in taken for cut in group], [cut for group in held for cut in group]


def _trim(held: list[Cut], wanted_s: float, seed: int) -> list[Cut]:
    """Where the smallest speaker is far bigger than what is wanted: a part of its cuts."""
    if _seconds(held) <= _OVERSHOOT * wanted_s:
        return held
    kept: list[Cut] = []
    for cut in sorted(held, key=lambda cut: _draw(seed, cut.id)):
        if _seconds(kept) >= wanted_s:
            break
        kept.append(cut)
    return kept


def _part(corpus: Corpus, cuts: Sequence[Cut]) -> Corpus:
    return replace(corpus, cuts=CutSet.from_cuts(sorted(cuts, key=lambda cut: cut.id)))


def _overlap(train: Corpus, held: Corpus) -> str | None:
    one, other = ({name for cut in part.cuts for name in speakers(cut)} for part in (train, held))
    both = counted(len(one & other), "speaker")
    return f"{both} in both training and held-out speech, by the split labels" if one & other else None


def _seconds(cuts: Sequence[Cut]) -> float:
    return sum(cut.duration for cut in cuts)


def _draw(seed: int, name: str) -> bytes:
    # By name and not by a generator: what is added to a corpus does not move what was drawn before.
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()


VALIDATION_S, VALIDATION_SHARE = 120.0, 0.05


def hold_out(corpus: Corpus, seed: int, crop_s: float) -> tuple[Corpus, Corpus]:
    """(train, held out): a twentieth of the speech, at most two minutes.

    Where none of what would be held out can be read, it is left out (see `skipped` of both) and other speech held out.
    """
    while True:
        seconds = min(VALIDATION_S, VALIDATION_SHARE * corpus.hours * 3600)
        train, held = split_heldout(corpus, seconds=seconds, seed=seed)
        # Looked at before the run: one without anything to be measured on would fail at its first validation.
        skipped = _unreadable(held, crop_s)
        if len(skipped) < len(held.cuts):
            return train, held
        logger.warning("none of the held-out recordings can be read, others are held out: %s", list_skipped(skipped))
        # Each round takes recordings away, and `split_heldout` refuses the last one, so this ends.
        ids = {cut.id for cut in held.cuts}
        kept = CutSet.from_cuts(cut for cut in corpus.cuts if cut.id not in ids)
        corpus = replace(corpus, cuts=kept, skipped=(*corpus.skipped, *skipped))


def _unreadable(held: Corpus, crop_s: float) -> list[Skipped]:
    """What cannot be read of the held-out recordings before the first that can."""
    skipped: list[Skipped] = []
    for cut in held.cuts:
        try:
            read_cut(cut, 0.0, min(cut.duration, crop_s))
        except UnreadableAudio as error:
            skipped.append(error.skipped)
        else:
            break
    return skipped


def heldout_waves(valid: Corpus, crop_s: float) -> list[Tensor]:
    """Held-out clips as (1, S) each, at most `crop_s` long, so that no row is ever padded; VALIDATION_S in all.

    Of a larger held-out part (a labelled val split can have hours) the same clips are drawn every time.
    """
    waves: list[Tensor] = []
    # By a hash: in the order of ids the two minutes could be those of a single speaker.
    for cut in sorted(valid.cuts, key=lambda cut: hashlib.sha256(cut.id.encode()).digest()):
        if sum(wave.shape[1] for wave in waves) >= VALIDATION_S * SAMPLE_RATE:
            break
        try:
            waves.append(torch.from_numpy(read_cut(cut, 0.0, min(cut.duration, crop_s)))[None])
        except UnreadableAudio as error:
            logger.warning("held-out recording left out: %s", error)
    if not waves:
        raise SpeechpressError(f"{valid.source}: none of the {len(valid.cuts)} held-out recordings can be read")
    return waves
