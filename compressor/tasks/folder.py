"""Tasks from a labelled folder: which clips, which classes, which split, and what a score on them can show."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.labels import read_labels
from ..data.sounds import Sound, clip
from ..starter import SPEECH as STARTER
from .kinds import SPLITS, Item
from .superb_files import thinned
from .task import Task, checked, speakers_disjoint

COLUMNS = {"ks": ("keyword", "digit"), "sid": ("speaker",), "lid": ("language",), "er": ("emotion",)}
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}
STARTER_CROP_S = {"sid": 1.0, "lid": 1.0}
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "eval": "test"}


def make_task(name: str, data: Path | None, max_classes: int | None = None, max_clips: int | None = None) -> Task:
    """One of COLUMNS' tasks over a folder with labels.tsv, the starter speech by default.

    Args:
        name: "ks" (keywords), "sid" (speakers), "lid" (languages) or "er" (emotions).
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
    items = split_clips(_read_items(name, folder), notes)
    items = _drop_classes(items, max_classes, notes, f"{folder / 'labels.tsv'}: task {name!r}")
    items = list(thinned(items, max_clips, _order))
    if starter:
        notes.append(
            "starter speech: one studio voice per language (two languages share one), a check rather than a benchmark"
        )
        items = [replace(item, sound=replace(item.sound, crop_s=STARTER_CROP_S.get(name))) for item in items]
    if not speakers_disjoint(items):
        notes.append(_leak(name, items))
    items.sort(key=lambda item: item.name)
    return checked(Task(name, "classify", tuple(items), tuple(notes)))


def whole_test_clips(task: Task) -> list[Sound]:
    """The recordings of a folder's test part, uncut, in a fixed random order."""
    return [clip(item.sound.parts[0][0]) for item in sorted(task.part("test"), key=_order)]


def _order(item: Item) -> str:
    """A fixed random order of clips that does not depend on where the folder lies."""
    return hashlib.sha256(item.name.encode()).hexdigest()


def _read_items(name: str, folder: Path) -> list[Item]:
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
    items = []
    for place, row in rows.items():
        if column in row:
            speaker, split = row.get("speaker", ""), row.get("split", "").lower()
            voice = speaker if column == "language" else f"{speaker} {row.get('language', '')}"
            # Without the folder, so that the random order, and with it the split, is the same on every machine.
            inside = place.removeprefix(f"{folder}/")
            split = _SPLIT_NAMES.get(split, split)
            items.append(Item(clip(place), split, row[column], speaker, voice=voice, name=inside))
    return items


def split_clips(items: list[Item], notes: list[str]) -> list[Item]:
    """Keep the corpus's own split where the classes allow it; else split by speaker, else within every class.

    Answers that are no classes, such as texts, are never the same twice, and say nothing about the split.
    """
    if any(not isinstance(item.target, str) for item in items):
        return _with_answers(items, split_clips([replace(item, target="") for item in items], notes))
    train, test = ({item.target for item in items if item.split == split} for split in ("train", "test"))
    # A corpus made for speakers may have others in each split: what was never trained cannot be tested.
    known = all(item.split in SPLITS for item in items)
    if known and test and len(train & test) >= len(train | test) / 2:
        return items if any(item.split == "val" for item in items) else _carve_val(items, notes)
    if known and test:
        notes.append(
            "split: the corpus's own has other classes in train and test; clips of its test part are split again"
        )
        items = [item for item in items if item.split == "test"]
    speakers = {item.speaker for item in items}
    # Three, one for each split; and where speakers are the classes, every one must be in every split.
    by_speaker = "" not in speakers and len(speakers) >= 3 and any(item.target != item.speaker for item in items)
    notes.append("split: made here, " + ("by speaker" if by_speaker else "at random within every class"))
    return _deal(items, by_speaker, SHARES)


def _with_answers(items: list[Item], dealt: list[Item]) -> list[Item]:
    """Clips in their splits, with the answers that they had before."""
    answers = {item.sound: item.target for item in items}
    return [replace(item, target=answers[item.sound]) for item in dealt]


def _carve_val(items: list[Item], notes: list[str]) -> list[Item]:
    """Take a val part out of train: by speaker where the corpus keeps speakers apart."""
    train = [item for item in items if item.split == "train"]
    speakers = {item.speaker for item in train}
    by_speaker = "" not in speakers and len(speakers) >= 2 and bool(speakers_disjoint(items))
    notes.append("split: val was taken out of train, " + ("by speaker" if by_speaker else "at random"))
    return _deal(train, by_speaker, {"train": 0.8, "val": 0.2}) + [item for item in items if item.split == "test"]


def _deal(items: list[Item], by_speaker: bool, shares: dict[str, float]) -> list[Item]:
    """Give whole speakers, or else the clips of each class, the split that is furthest behind its share."""
    units: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        units[("", item.speaker) if by_speaker else (item.target, item.name)].append(item)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    result = []
    for (stratum, _), members in sorted(units.items(), key=lambda unit: min(map(_order, unit[1]))):
        split = min(shares, key=lambda s: (counts[stratum][s] + len(members) / 2) / shares[s])
        counts[stratum][split] += len(members)
        result += [replace(item, split=split) for item in members]
    return result


def _drop_classes(items: list[Item], max_classes: int | None, notes: list[str], where: str) -> list[Item]:
    """Keep classes that can be trained and tested, the largest ones if there are too many."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        counts[item.target][item.split] += 1
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
    chosen = [item for item in items if item.target in set(kept)]
    if not any(item.split == "val" for item in chosen):
        raise SpeechpressError(f"{where}: no val clips are left to choose the probe's settings on")
    return chosen


def _leak(name: str, items: list[Item]) -> str:
    if name == "sid":
        return "speakers are the classes, so they are in every split; recording sessions may be shared too"
    if any(not item.speaker for item in items):
        return "speakers are not known: the same voice may be in train and test"
    return "test speakers are in the training clips too: the score says nothing about new voices"
