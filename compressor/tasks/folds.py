"""A task that is solved several times, each part of it once the test: for corpora with few speakers."""

from collections.abc import Sequence
from dataclasses import replace

from .kinds import Item
from .superb_files import thinned, with_split
from .task import Task, checked


def in_folds(name: str, parts: Sequence[Sequence[Item]], notes: tuple[str, ...], most: int | None = None) -> Task:
    """A classification in as many folds as there are parts: each is once the test, and the one after it val.

    Raises SpeechpressError where a fold lacks training clips of a class.
    """
    folds = []
    for test in range(len(parts)):
        val = (test + 1) % len(parts)
        items = [item for n, part in enumerate(parts) if n not in (test, val) for item in with_split(part, "train")]
        items += [*with_split(parts[val], "val"), *with_split(parts[test], "test")]
        folds.append(checked(Task(name, "classify", thinned(items, most))))
    # The score is the mean over folds, so what it is held against is one too.
    chance = sum(fold.chance or 0.0 for fold in folds) / len(folds)
    every = {item.sound: item for fold in reversed(folds) for item in fold.items}  # counted as in the first fold
    return replace(folds[0], items=tuple(every.values()), notes=notes, chance=chance, folds=tuple(folds))
