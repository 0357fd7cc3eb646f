"""The kinds of task, a row each: what is refused, what a guess gets, what it is solved from, how it is scored.

A new kind is a row here, a head in `evaluate.experts.HEADS`, and a function for each corpus in the `MAKERS` of a suite.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import Sound
from .chance import Answers, constant_activity, constant_kinds, constant_slots, majority

SPLITS = ("train", "val", "test")
GRID_SAMPLES = 1600  # diarisation is decided every 100 ms
SPEECH_SAMPLES = 160  # speech is told from silence every 10 ms
LETTER_SAMPLES = 640  # letters are told apart every 40 ms


@dataclass(frozen=True)
class Item:
    """A clip and its answer.

    `target` is a class (classify; the speaker for verify, the word for match), a tuple of tokens (ctc) or letters
    (words), of letters and marks (spell, see `metrics.spelled_slots`), pairs of slot and value (slots), an activity
    array (100 ms, 2) (diarize) or (10 ms,) (speech), or a word (search; for a recording also a frozenset of them).
    `query` marks what is searched for. `voice` is the speaker, and the language where that is not the answer;
    `name` the path inside a labelled folder. Both are "" elsewhere.
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
        # With the folder above: many corpora number the files of each speaker anew.
        names = ["/".join(path.split("/")[-2:]) for path, _ in self.sound.parts]
        return hashlib.sha256(repr((names, self.sound.crop_s)).encode()).hexdigest()


BySplit = Mapping[str, Sequence[Item]]
Guess = Callable[[Answers, Answers], float]  # from answers of train and test to the score of the best constant answer


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        metric: its name, as it stands in every result.
        better: "higher" or "lower", which scores are good.
        features: "means" over a clip, for a linear probe, or its "frames".
        check: raises SpeechpressError, given the task's name, for answers that nothing can be learned from.
        chance: what a guess that never listens gets, or how to find that from the answers; None where nobody knows.
        slack: how much better than that labels that say nothing may come out: without hearing, a transcriber can still
            spell what is frequent, as often as a clip is long.
        splits: which may not be empty; without "train" nothing is trained.
        tokens: answers are sequences, which need a frame for every token.
        stack_samples: so long are frames that are put side by side for one token; 0 keeps them single.
        grid_samples: frames may not be further apart than this; None for any.
    """

    metric: str
    better: str = "higher"
    features: str = "frames"
    check: Callable[[str, BySplit], None] = lambda name, parts: None
    chance: float | Guess | None = None
    slack: float = 0.05
    splits: tuple[str, ...] = SPLITS
    tokens: bool = False
    stack_samples: int = 0
    grid_samples: int | None = None

    @property
    def trained(self) -> bool:
        return "train" in self.splits

    def stacked(self, hop_samples: int) -> int:
        """How many frames make one in which a token is looked for."""
        return max(1, self.stack_samples // hop_samples)

    def chance_level(self, train: Answers, test: Answers) -> float | None:
        """In its metric; None where there is nothing to guess from."""
        if callable(self.chance):
            return self.chance(train, test) if train and test else None
        return self.chance


def check_classes(name: str, parts: BySplit) -> None:
    """Every class has an example, and there are two."""
    trained = {item.target for item in parts["train"]}
    missing = sorted({str(item.target) for part in parts.values() for item in part if item.target not in trained})
    if missing:
        raise SpeechpressError(
            f"task {name!r}: {len(missing)} classes have no training clip, the first is {missing[0]!r}; "
            "add some, or take the class out of the labels"
        )
    if len(trained) < 2:
        raise SpeechpressError(f"task {name!r}: there is only one class, {next(iter(trained))!r}")


def check_tokens(name: str, parts: BySplit) -> None:
    """Every clip has text."""
    silent = [item.sound.place for part in parts.values() for item in part if not item.target]
    if silent:
        raise SpeechpressError(
            f"task {name!r}: {len(silent)} clips have no text, the first is {silent[0]}; take them out of the "
            "labels, or give them their text"
        )


def check_pairs(what: str) -> Callable[[str, BySplit], None]:
    """There are two of `what` to learn from, and trials of both kinds."""

    def check(name: str, parts: BySplit) -> None:
        if len({item.target for item in parts["train"]}) < 2:
            raise SpeechpressError(f"task {name!r}: needs at least two training {what}s to learn from")
        for split in ("val", "test"):
            found = Counter(item.target for item in parts[split])
            if len(found) < 2 or max(found.values()) < 2:
                raise SpeechpressError(
                    f"task {name!r}: its {split} split needs two {what}s, and two clips of one of them, for "
                    "trials of both kinds"
                )

    return check


def check_speech(name: str, parts: BySplit) -> None:
    """There is speech and there is none, in every split."""
    for split, part in parts.items():
        shares = [float(np.mean(item.target)) for item in part]
        if part and not 0 < sum(shares) < len(shares):
            raise SpeechpressError(
                f"task {name!r}: its {split} split is all {'speech' if sum(shares) else 'silence'}; both are needed"
            )


def speech_frames(target: np.ndarray, frames: int, hop_samples: int) -> np.ndarray:
    """Activity of every 10 ms -> (frames,), what is true in the middle of each frame's hop."""
    middle = ((np.arange(frames) + 0.5) * hop_samples // SPEECH_SAMPLES).astype(int)
    return np.asarray(target, bool)[np.minimum(middle, len(target) - 1)]


def check_words(name: str, parts: BySplit) -> None:
    """Something can be found in both splits."""
    for split in ("val", "test"):
        queries = [item for item in parts[split] if item.query]
        others = [item for item in parts[split] if not item.query]
        if not queries or not any(holds(item, query) for query in queries for item in others):
            raise SpeechpressError(
                f"task {name!r}: no query of its {split} split occurs in a recording of it, so nothing can be "
                "found; check the corpus' labels"
            )


def holds(item: Item, query: Item) -> bool:
    """Whether a recording holds the word that a query says."""
    return query.target in item.target if isinstance(item.target, frozenset) else query.target == item.target


# To say nothing misses every token: an error rate of exactly 1.
TOKENS: dict[str, Any] = {"better": "lower", "check": check_tokens, "chance": 1.0, "slack": 0.25, "tokens": True}
KINDS = {
    "classify": Kind("accuracy", features="means", check=check_classes, chance=majority),
    "ctc": Kind("PER", **TOKENS),
    "words": Kind("WER", **TOKENS, stack_samples=LETTER_SAMPLES),
    "spell": Kind(
        "F1", check=check_tokens, chance=constant_kinds, slack=0.15, tokens=True, stack_samples=LETTER_SAMPLES
    ),
    "slots": Kind("F1", chance=constant_slots),
    "verify": Kind("EER", better="lower", check=check_pairs("speaker"), chance=0.5),
    "match": Kind("EER", better="lower", check=check_pairs("word"), chance=0.5),
    "speech": Kind("HTER", better="lower", check=check_speech, chance=0.5, grid_samples=GRID_SAMPLES),
    "diarize": Kind("DER", better="lower", chance=constant_activity, grid_samples=GRID_SAMPLES),
    # Nothing is trained, so there is no train split; to find nothing is worth 0.
    "search": Kind("MTWV", check=check_words, chance=0.0, splits=("val", "test")),
}


BESIDE = frozenset({"CER", "ABX"})  # error rates that are no kind's metric: told beside one, or measured elsewhere


def is_error(metric: str) -> bool:
    """Whether a metric is an error rate, of which less is better."""
    return metric in BESIDE or any(kind.metric == metric and kind.better == "lower" for kind in KINDS.values())


def quality(metric: str, value: float) -> float:
    """A score of any metric on one scale: higher is better, 1 is perfect; an error rate above 1 counts as 0."""
    return max(0.0, 1.0 - value) if is_error(metric) else value
