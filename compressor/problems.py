"""A task with its clips and answers, whatever its kind; where it came from stays in its notes."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from .probes import SPLITS
from .sounds import Sound

TASKS = ("ks", "ic", "sf", "sid", "asv", "sd", "er", "pr", "asr", "qbe")
KINDS = ("classify", "ctc", "slots", "verify", "diarize", "search")
# What a kind is solved from: the mean over a clip, or its frames.
FEATURES = {kind: "means" if kind == "classify" else "frames" for kind in KINDS}


@dataclass(frozen=True)
class Item:
    """A clip and its answer.

    `target` is a class (classify; the speaker for verify; the word for search), a tuple of tokens (ctc), pairs of slot
    and value (slots), or an activity array (100 ms, 2) (diarize). `query` marks what is searched for.
    """

    sound: Sound
    split: str
    target: Any
    speaker: str = ""
    query: bool = False

    @property
    def order(self) -> str:
        """A fixed random order that does not depend on where the corpus lies."""
        names = ["/".join(path.split("/")[-2:]) for path, _ in self.sound.parts]
        return hashlib.sha256(repr((names, self.sound.crop_s)).encode()).hexdigest()


@dataclass(frozen=True)
class Problem:
    """A task of SUPERB on some corpus.

    `metric` is what `scoring` calls it; `chance` what a blind guess gets, None where that is not known;
    `speaker_disjoint` whether test speakers are unseen, None where speakers are not named.
    """

    name: str
    kind: str
    metric: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    chance: float | None = None
    speaker_disjoint: bool | None = None
    recurrent: bool = False
    pairs: tuple[tuple[int, int, bool], ...] = ()  # verify: trials over test items that a corpus brings along

    def part(self, split: str) -> list[Item]:
        return [item for item in self.items if item.split == split]

    def counts(self) -> dict[str, int]:
        found = Counter(item.split for item in self.items)
        return {split: found[split] for split in SPLITS}

    def without(self, unreadable: Iterable[str]) -> "Problem":
        """The same without clips that could not be read. Raises SpeechpressError when a split is left empty."""
        gone = set(unreadable)
        if not any(item.sound.place in gone for item in self.items):
            return self
        kept = tuple(item for item in self.items if item.sound.place not in gone)
        return checked(replace(self, items=kept, pairs=()))


def checked(problem: Problem, names_speakers: bool = True) -> Problem:
    """The same problem, with what it says of its speakers.

    Raises SpeechpressError for an empty split, speakers in both splits where they are kept apart, or a class of the
    test part without training clips.
    """
    for split in ("val", "test") if problem.kind == "search" else SPLITS:
        if not problem.part(split):
            raise SpeechpressError(f"task {problem.name!r}: its {split} split holds no clip; check the corpus' labels")
    if problem.kind == "classify":
        _check_classes(problem)
    if problem.kind == "search":
        return problem
    return replace(problem, speaker_disjoint=_disjoint(problem) if names_speakers else None)


def _check_classes(problem: Problem) -> None:
    trained = {item.target for item in problem.part("train")}
    missing = sorted({str(item.target) for item in problem.items if item.target not in trained})
    if missing:
        raise SpeechpressError(
            f"task {problem.name!r}: {len(missing)} classes have no training clip, the first is {missing[0]!r}; "
            "add some, or take the class out of the labels"
        )
    if len(trained) < 2:
        raise SpeechpressError(f"task {problem.name!r}: there is only one class, {next(iter(trained))!r}")


def _disjoint(problem: Problem) -> bool | None:
    sides = [set[str](), set[str]()]
    for item in problem.items:
        sides[item.split == "test"].update(item.speaker.split("+"))
    return None if "" in sides[0] | sides[1] else not sides[0] & sides[1]


def refuse_shared_speakers(problem: Problem, where: str) -> Problem:
    """For corpora that keep their speakers apart; raises SpeechpressError where one is in training and in test."""
    train, test = ({item.speaker for item in problem.part(split)} for split in ("train", "test"))
    shared = sorted(train & test - {""})
    if shared:
        raise SpeechpressError(
            f"{where}: {len(shared)} speakers are in train and in test, such as {shared[0]}; task {problem.name!r} is "
            "about unseen speakers, so give each speaker to one split"
        )
    return problem


def shuffled(problem: Problem) -> Problem:
    """The same clips with the answers of other clips of their split; what is learned from them is chance."""
    items: list[Item] = []
    for split in SPLITS:
        part = sorted(problem.part(split), key=lambda item: item.order)
        # One step along a fixed random order: every clip gets the answer of another one.
        targets = [item.target for item in part[1:] + part[:1]]
        items += [replace(item, target=target) for item, target in zip(part, targets, strict=True)]
    return replace(problem, items=tuple(items), pairs=())
