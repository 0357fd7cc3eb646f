"""A task with its clips and answers, whatever its kind; where it came from stays in its notes."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from .blind import blind_score, majority_by_group
from .probes import SPLITS
from .sounds import Sound

TASKS = ("ks", "ic", "sf", "sid", "asv", "sd", "er", "pr", "asr", "qbe")
KINDS = ("classify", "ctc", "spell", "slots", "verify", "diarize", "search")
# What a kind is solved from: the mean over a clip, or its frames.
FEATURES = {kind: "means" if kind == "classify" else "frames" for kind in KINDS}


@dataclass(frozen=True)
class Item:
    """A clip and its answer.

    `target` is a class (classify; the speaker for verify), a tuple of tokens (ctc), of letters and marks (spell, see
    `scoring.spelled_slots`), pairs of slot and value (slots), an activity array (100 ms, 2) (diarize), or a word
    (search; for a recording also a frozenset of them). `query` marks what is searched for. `voice` is the speaker, and
    the language where that is not the answer; `name` the path inside a labelled folder. Both are "" elsewhere.
    """

    sound: Sound
    split: str
    target: Any = field(hash=False)  # an array has no hash
    speaker: str = ""
    query: bool = False
    voice: str = ""
    name: str = ""

    @property
    def order(self) -> str:
        """A fixed random order that does not depend on where the corpus lies."""
        names = ["/".join(path.split("/")[-2:]) for path, _ in self.sound.parts]
        return hashlib.sha256(repr((names, self.sound.crop_s)).encode()).hexdigest()


@dataclass(frozen=True)
class Problem:
    """A task of SUPERB on some corpus.

    `metric` is what `scoring` calls it; `chance` what a blind guess gets, None where that is not known;
    `chance_by_voice` what a guess from the voice alone gets, None where that says nothing; `speaker_disjoint` whether
    test speakers are unseen, None where speakers are not named.
    """

    name: str
    kind: str
    metric: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    chance: float | None = None
    chance_by_voice: float | None = None
    speaker_disjoint: bool | None = None
    recurrent: bool = False
    pairs: tuple[tuple[int, int, bool], ...] = ()  # verify: trials over test items that a corpus brings along
    folds: tuple["Problem", ...] = ()  # solved one by one, each on a part of the same items; the score is their mean

    @property
    def classes(self) -> tuple[str, ...]:
        """Of a classification, in the order in which they are numbered."""
        return tuple(sorted({item.target for item in self.items})) if self.kind == "classify" else ()

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

    def without(self, unreadable: Iterable[str]) -> "Problem":
        """The same without clips of files that could not be read.

        Trials that a corpus brings along are then drawn anew. Raises SpeechpressError when a split is left empty.
        """
        gone = set(unreadable)
        kept = tuple(item for item in self.items if not gone & {path for path, _ in item.sound.parts})
        if len(kept) == len(self.items):
            return self
        folds = tuple(fold.without(gone) for fold in self.folds)
        return checked(replace(self, items=kept, pairs=(), folds=folds, chance=None))


def checked(problem: Problem, names_speakers: bool = True) -> Problem:
    """The same problem, with what it says of its speakers, and what a blind guess gets where that was not said.

    Raises SpeechpressError for an empty split, a class or a word without examples, or answers that nothing can be
    learned from.
    """
    for split in ("val", "test") if problem.kind == "search" else SPLITS:
        if not problem.part(split):
            raise SpeechpressError(f"task {problem.name!r}: its {split} split holds no clip; check the corpus' labels")
    if problem.kind in CHECKS:
        CHECKS[problem.kind](problem)
    if problem.chance is None:
        answers = ([item.target for item in problem.part(split)] for split in ("train", "test"))
        problem = replace(problem, chance=blind_score(problem.kind, *answers))
    known = names_speakers and problem.kind != "search"
    problem = replace(problem, speaker_disjoint=speakers_disjoint(problem.items) if known else None)
    return replace(problem, chance_by_voice=_chance_by_voice(problem))


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


def _check_tokens(problem: Problem) -> None:
    silent = [item.sound.place for item in problem.items if not item.target]
    if silent:
        raise SpeechpressError(
            f"task {problem.name!r}: {len(silent)} clips have no text, the first is {silent[0]}; take them out of the "
            "labels, or give them their text"
        )


def _check_voices(problem: Problem) -> None:
    if len({item.target for item in problem.part("train")}) < 2:
        raise SpeechpressError(f"task {problem.name!r}: needs at least two training speakers to learn from")
    for split in ("val", "test"):
        voices = Counter(item.target for item in problem.part(split))
        if len(voices) < 2 or max(voices.values()) < 2:
            raise SpeechpressError(
                f"task {problem.name!r}: its {split} split needs two speakers, and two clips of one of them, for "
                "trials of both kinds"
            )


def _check_words(problem: Problem) -> None:
    for split in ("val", "test"):
        part = problem.part(split)
        queries, others = [item for item in part if item.query], [item for item in part if not item.query]
        if not queries or not any(holds(item, query) for query in queries for item in others):
            raise SpeechpressError(
                f"task {problem.name!r}: no query of its {split} split occurs in a recording of it, so nothing can be "
                "found; check the corpus' labels"
            )


def holds(item: Item, query: Item) -> bool:
    """Whether a recording holds the word that a query says."""
    return query.target in item.target if isinstance(item.target, frozenset) else query.target == item.target


CHECKS = {
    "classify": _check_classes,
    "ctc": _check_tokens,
    "spell": _check_tokens,
    "verify": _check_voices,
    "search": _check_words,
}


def speakers_disjoint(items: Iterable[Item]) -> bool | None:
    """Whether no test speaker is in another split; None where a speaker is not named."""
    sides = [set[str](), set[str]()]
    for item in items:
        sides[item.split == "test"].update(item.speaker.split("+"))
    return None if "" in sides[0] | sides[1] else not sides[0] & sides[1]


def _chance_by_voice(problem: Problem) -> float | None:
    """Accuracy of naming the most frequent training class of a clip's voice.

    None for unseen voices, for voices that are the classes, and where none is named.
    """
    named = any(item.voice for item in problem.items) and any(item.target != item.speaker for item in problem.items)
    if problem.kind != "classify" or problem.speaker_disjoint or not named:
        return None
    parts = ([(item.voice, item.target) for item in problem.part(split)] for split in ("train", "test"))
    return majority_by_group(*parts)


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
    items = [item for item in problem.items if item.query]
    for split in SPLITS:
        part = sorted((item for item in problem.part(split) if not item.query), key=lambda item: item.order)
        # One step along a fixed random order: every clip gets the answer of another one.
        targets = [item.target for item in part[1:] + part[:1]]
        items += [replace(item, target=target) for item, target in zip(part, targets, strict=True)]
    return replace(problem, items=tuple(items), pairs=(), folds=tuple(map(shuffled, problem.folds)))
