"""A task with its clips and answers, whatever its kind; where it came from stays in its notes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from speechpress.runtime.errors import SpeechpressError

from .chance import majority_by_group
from .kinds import KINDS, SPLITS, Item

FLOORS = ("random", "logmel")  # what is there without learning: random weights, and no model at all


@dataclass(frozen=True)
class Task:
    """A task of SUPERB on some corpus.

    `kind` is one of `kinds.KINDS`; `chance` what a blind guess gets, None where that is not known;
    `chance_by_voice` what a guess from the voice alone gets, None where that says nothing; `speaker_disjoint` whether
    test speakers are unseen, None where speakers are not named.
    """

    name: str
    kind: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    chance: float | None = None
    chance_by_voice: float | None = None
    speaker_disjoint: bool | None = None
    pairs: tuple[tuple[int, int, bool], ...] = ()  # verify: trials over test items that a corpus brings along
    folds: tuple["Task", ...] = ()  # solved one by one, each on a part of the same items; the score is their mean

    @property
    def metric(self) -> str:
        """What a score of it is called."""
        return KINDS[self.kind].metric

    @property
    def classes(self) -> tuple[str, ...]:
        """Of a classification, in the order in which they are numbered."""
        return tuple(sorted({item.target for item in self.items})) if KINDS[self.kind].features == "means" else ()

    @property
    def crop_s(self) -> float | None:
        """Seconds that are taken from every clip; None where clips are whole, or differ in that."""
        crops = {item.sound.crop_s for item in self.items}
        return crops.pop() if len(crops) == 1 else None

    def part(self, split: str) -> list[Item]:
        return [item for item in self.items if item.split == split]

    def counts(self) -> dict[str, int]:
        found = Counter(item.split for item in self.items)
        return {split: found[split] for split in SPLITS}

    def without(self, unreadable: Iterable[str]) -> "Task":
        """The same without clips of files that could not be read.

        Trials that a corpus brings along are then drawn anew. Raises SpeechpressError when a split is left empty.
        """
        gone = set(unreadable)
        kept = tuple(item for item in self.items if not gone & {path for path, _ in item.sound.parts})
        if len(kept) == len(self.items):
            return self
        folds = tuple(fold.without(gone) for fold in self.folds)
        return checked(replace(self, items=kept, pairs=(), folds=folds, chance=None))


def checked(task: Task, names_speakers: bool = True) -> Task:
    """The same task, with what it says of its speakers, and what a blind guess gets where that was not said.

    Raises SpeechpressError for an empty split, a class or a word without examples, or answers that nothing can be
    learned from.
    """
    kind, parts = KINDS[task.kind], {split: task.part(split) for split in SPLITS}
    for split in kind.splits:
        if not parts[split]:
            raise SpeechpressError(f"task {task.name!r}: its {split} split holds no clip; check the corpus' labels")
    kind.check(task.name, parts)
    if task.chance is None:
        answers = ([item.target for item in parts[split]] for split in ("train", "test"))
        task = replace(task, chance=kind.chance_level(*answers))
    known = names_speakers and kind.trained
    task = replace(task, speaker_disjoint=speakers_disjoint(task.items) if known else None)
    return replace(task, chance_by_voice=_chance_by_voice(task))


def speakers_disjoint(items: Iterable[Item]) -> bool | None:
    """Whether no test speaker is in another split; None where a speaker is not named."""
    sides = [set[str](), set[str]()]
    for item in items:
        # A mixture has two speakers, joined by +.
        sides[item.split == "test"].update(item.speaker.split("+"))
    return None if "" in sides[0] | sides[1] else not sides[0] & sides[1]


def _chance_by_voice(task: Task) -> float | None:
    """Accuracy of naming the most frequent training class of a clip's voice.

    None for unseen voices, for voices that are the classes, and where none is named.
    """
    if not task.classes or task.speaker_disjoint:
        return None
    # Where the speakers are the classes, the voice is the answer.
    named = any(item.voice for item in task.items) and any(item.target != item.speaker for item in task.items)
    if not named:
        return None
    parts = ([(item.voice, item.target) for item in task.part(split)] for split in ("train", "test"))
    return majority_by_group(*parts)


def refuse_shared_speakers(task: Task, where: str) -> Task:
    """For corpora that keep their speakers apart; raises SpeechpressError where one is in training and in test."""
    train, test = ({item.speaker for item in task.part(split)} for split in ("train", "test"))
    shared = sorted(train & test - {""})
    if shared:
        raise SpeechpressError(
            f"{where}: {len(shared)} speakers are in train and in test, such as {shared[0]}; task {task.name!r} is "
            "about unseen speakers, so give each speaker to one split"
        )
    return task


def shuffled(task: Task) -> Task:
    """The same clips with the answers of other clips of their split; what is learned from them is chance."""
    items = [item for item in task.items if item.query]
    for split in SPLITS:
        part = sorted((item for item in task.part(split) if not item.query), key=lambda item: item.order)
        # One step along a fixed random order: every clip gets the answer of another one.
        targets = [item.target for item in part[1:] + part[:1]]
        items += [replace(item, target=target) for item, target in zip(part, targets, strict=True)]
    return replace(task, items=tuple(items), pairs=(), folds=tuple(map(shuffled, task.folds)))
