"""Probe tasks from a labelled folder: which clips, which classes, which split, and what a score on them can show."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from .labels import read_labels
from .probes import SPLITS
from .starter import SPEECH as STARTER

COLUMNS = {"ks": ("keyword", "digit"), "sid": ("speaker",), "lid": ("language",), "er": ("emotion",)}
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}
STARTER_CROP_S = {"sid": 1.0, "lid": 1.0}
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "eval": "test"}


@dataclass(frozen=True)
class Clip:
    """A recording with its label for one task.

    `name` is its path inside the folder; `voice` its speaker, and its language where that is not the label.
    """

    path: str
    name: str
    label: str
    split: str
    speaker: str
    voice: str

    @property
    def order(self) -> str:
        """A fixed random order of clips that does not depend on where the folder lies."""
        return hashlib.sha256(self.name.encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """Clips of every split, and what has to be said about a score on them.

    `chance` is the test accuracy of always naming the most frequent training class; `chance_by_voice` that of naming
    the most frequent one of the clip's own speaker and language, where test speakers also occur in training.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    crop_s: float | None
    speaker_disjoint: bool
    chance: float
    chance_by_voice: float | None
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Number of clips in every split."""
        counts = Counter(clip.split for clip in self.clips)
        return {split: counts[split] for split in SPLITS}


def make_task(name: str, data: Path | None, max_classes: int | None = None, max_clips: int | None = None) -> Task:
    """One of COLUMNS' tasks over a folder with labels.tsv, the starter speech by default.

    Args:
        name: "ks" (keywords), "sid" (speakers) or "lid" (languages).
        data: a folder whose labels.tsv has the columns path, the label (COLUMNS), and where known speaker and split.
        max_classes: keep those with most clips.
        max_clips: at most so many per split, drawn at random (the same ones every time).

    Raises:
        SpeechpressError: an unknown task, no labels, a missing column, or too few clips to train and test on.
    """
    if name not in COLUMNS:
        raise SpeechpressError(f"eval: there is no task {name!r}; choose from {', '.join(COLUMNS)}")
    folder = data or STARTER
    starter = folder.resolve() == STARTER.resolve()
    notes: list[str] = []
    clips = _with_split(_read_clips(name, folder), notes)
    clips = _drop_classes(clips, max_classes, notes, f"{folder / 'labels.tsv'}: task {name!r}")
    clips = _thin(clips, max_clips)
    disjoint = _speakers_disjoint(clips)
    if starter:
        notes.append(
            "starter speech: one studio voice per language (two languages share one), a check rather than a benchmark"
        )
    by_voice = None
    if not disjoint:
        notes.append(_leak(name, clips))
        by_voice = None if name == "sid" else _chance(clips, lambda clip: clip.voice)
    return Task(
        name=name,
        classes=tuple(sorted({clip.label for clip in clips})),
        clips=tuple(sorted(clips, key=lambda clip: clip.name)),
        crop_s=STARTER_CROP_S.get(name) if starter else None,
        speaker_disjoint=disjoint,
        chance=_chance(clips, lambda clip: ""),
        chance_by_voice=by_voice,
        notes=tuple(notes),
    )


def _read_clips(name: str, folder: Path) -> list[Clip]:
    path = folder / "labels.tsv"
    if not path.is_file():
        raise SpeechpressError(
            f"{folder}: has no labels.tsv, which the task {name!r} needs (tab-separated, with the columns path and "
            f"{' or '.join(COLUMNS[name])}, and speaker and split where known). Without --data the starter is used."
        )
    rows = read_labels(path)
    column = next((c for c in COLUMNS[name] if any(c in row for row in rows.values())), None)
    if column is None:
        found = sorted({key for row in rows.values() for key in row})
        raise SpeechpressError(
            f"{path}:1: task {name!r} needs a column {' or '.join(COLUMNS[name])}; found: path, {', '.join(found)}. "
            f"Choose other tasks with --tasks, or add the column."
        )
    clips = []
    for place, row in rows.items():
        if column in row:
            speaker, split = row.get("speaker", ""), row.get("split", "").lower()
            voice = speaker if column == "language" else f"{speaker} {row.get('language', '')}"
            inside = place.removeprefix(f"{folder}/")
            clips.append(Clip(place, inside, row[column], _SPLIT_NAMES.get(split, split), speaker, voice))
    return clips


def _with_split(clips: list[Clip], notes: list[str]) -> list[Clip]:
    """Keep the corpus's own split where the classes allow it; else split by speaker, else within every class."""
    train, test = ({clip.label for clip in clips if clip.split == split} for split in ("train", "test"))
    known = all(clip.split in SPLITS for clip in clips)
    if known and test and len(train & test) >= len(train | test) / 2:
        return clips if any(clip.split == "val" for clip in clips) else _carve_val(clips, notes)
    if known and test:
        notes.append(
            "split: the corpus's own has other classes in train and test; clips of its test part are split anew"
        )
        clips = [clip for clip in clips if clip.split == "test"]
    speakers = {clip.speaker for clip in clips}
    by_speaker = "" not in speakers and len(speakers) >= 3 and any(clip.label != clip.speaker for clip in clips)
    notes.append("split: made here, " + ("by speaker" if by_speaker else "at random within every class"))
    if by_speaker:
        return _deal(clips, lambda clip: "", lambda clip: clip.speaker, SHARES)
    return _deal(clips, lambda clip: clip.label, lambda clip: clip.name, SHARES)


def _carve_val(clips: list[Clip], notes: list[str]) -> list[Clip]:
    """Take a val part out of train: by speaker where the corpus keeps speakers apart."""
    train = [clip for clip in clips if clip.split == "train"]
    speakers = {clip.speaker for clip in train}
    by_speaker = "" not in speakers and len(speakers) >= 2 and _speakers_disjoint(clips)
    notes.append("split: val was taken out of train, " + ("by speaker" if by_speaker else "at random"))
    shares = {"train": 0.8, "val": 0.2}
    if by_speaker:
        parts = _deal(train, lambda clip: "", lambda clip: clip.speaker, shares)
    else:
        parts = _deal(train, lambda clip: clip.label, lambda clip: clip.name, shares)
    return parts + [clip for clip in clips if clip.split == "test"]


def _deal(
    clips: list[Clip], stratum: Callable[[Clip], str], unit: Callable[[Clip], str], shares: dict[str, float]
) -> list[Clip]:
    """Give whole units (clips or speakers) the split that is furthest behind its share in their stratum."""
    units: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        units[stratum(clip), unit(clip)].append(clip)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    result = []
    for (name, _), members in sorted(units.items(), key=lambda item: min(clip.order for clip in item[1])):
        split = min(shares, key=lambda s: (counts[name][s] + len(members) / 2) / shares[s])
        counts[name][split] += len(members)
        result += [replace(clip, split=split) for clip in members]
    return result


def _drop_classes(clips: list[Clip], max_classes: int | None, notes: list[str], where: str) -> list[Clip]:
    """Keep classes that can be trained and tested, the largest ones if there are too many."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        counts[clip.label][clip.split] += 1
    usable = [label for label, count in counts.items() if count["train"] >= 2 and count["test"]]
    kept = sorted(usable, key=lambda label: (-counts[label].total(), label))[:max_classes]
    if len(kept) < 2:
        raise SpeechpressError(
            f"{where}: fewer than two of {len(counts)} classes have 2 training clips and 1 test clip; "
            "a probe needs several clips of each class"
        )
    if len(usable) < len(counts):
        notes.append(f"classes: {len(counts) - len(usable)} of {len(counts)} have too few clips and were left out")
    if len(kept) < len(usable):
        notes.append(f"classes: the {len(kept)} largest of {len(usable)}")
    chosen = [clip for clip in clips if clip.label in set(kept)]
    if not any(clip.split == "val" for clip in chosen):
        raise SpeechpressError(f"{where}: no val clips are left to choose the probe's settings on")
    return chosen


def _thin(clips: list[Clip], max_clips: int | None) -> list[Clip]:
    """At most `max_clips` per split, the same number of every class as far as they reach."""
    if max_clips is None:
        return clips
    seen: Counter[tuple[str, str]] = Counter()
    ranked = []
    for clip in sorted(clips, key=lambda clip: clip.order):
        ranked.append((seen[clip.split, clip.label], clip.order, clip))
        seen[clip.split, clip.label] += 1
    ranked.sort(key=lambda item: item[:2])
    return [clip for split in SPLITS for *_, clip in [r for r in ranked if r[2].split == split][:max_clips]]


def _speakers_disjoint(clips: Iterable[Clip]) -> bool:
    """Whether every speaker is known and no test speaker was trained on."""
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for clip in clips:
        sides[clip.split == "test"].add(clip.speaker)
    return "" not in sides[True] | sides[False] and not sides[True] & sides[False]


def _leak(name: str, clips: list[Clip]) -> str:
    if name == "sid":
        return "speakers are the classes, so they are in every split; recording sessions may be shared too"
    if any(not clip.speaker for clip in clips):
        return "speakers are not known: the same voice may be in train and test"
    return "test speakers are in the training clips too: the score says nothing about new voices"


def _chance(clips: Iterable[Clip], group: Callable[[Clip], str]) -> float:
    """Test accuracy of naming the most frequent training class of the clip's group."""
    train: dict[str, Counter[str]] = defaultdict(Counter)
    test = []
    for clip in clips:
        if clip.split == "train":
            train[group(clip)][clip.label] += 1
        elif clip.split == "test":
            test.append(clip)
    hits = sum(bool(train[group(c)]) and train[group(c)].most_common(1)[0][0] == c.label for c in test)
    return hits / len(test) if test else math.nan
