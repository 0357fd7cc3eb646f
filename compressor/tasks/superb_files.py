"""Reading the small files that corpora bring along, with errors that say what was looked for."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import UnreadableAudio, probe
from .kinds import Item

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def find(root: Path, task: str, names: Sequence[str]) -> Path:
    """The first of several names below the data root, for a corpus or a file that is called differently by some.

    Raises SpeechpressError that names them all.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    looked = " or ".join(str(root / name) for name in names)
    raise SpeechpressError(
        f"{looked}: is not there, and task {task!r} needs it; put it there, or leave the task out with --tasks"
    )


def lines_of(path: Path, task: str, fields: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Words of every line that is not empty, with the line's number.

    Raises SpeechpressError with file:line where there are other than `fields` words, or the file cannot be read.
    """
    if not path.is_file():
        raise SpeechpressError(f"{path}: is not there, and task {task!r} needs it; leave the task out with --tasks")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechpressError(f"{path}: cannot be read as text ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if fields is not None and len(words) != fields:
            raise SpeechpressError(f"{path}:{number}: has {len(words)} words, but task {task!r} needs {fields}")
        yield number, words


def table_of(path: Path, task: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header. Raises SpeechpressError when it lacks a column or a row a value."""
    if not path.is_file():
        raise SpeechpressError(f"{path}: is not there, and task {task!r} needs it; leave the task out with --tasks")
    # A byte order mark would else be part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise SpeechpressError(f"{path}:1: no column {missing[0]!r} (found: {', '.join(reader.fieldnames or ())})")
        rows = list(reader)
    # The header is line 1.
    for number, row in enumerate(rows, 2):
        if empty := [column for column in columns if not row[column]]:
            raise SpeechpressError(f"{path}:{number}: has no {empty[0]}, which task {task!r} needs")
    return rows


def audio_below(folder: Path, task: str) -> list[Path]:
    """Audio files at any depth, in order. Raises SpeechpressError when there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO)
    if not found:
        raise SpeechpressError(f"{folder}: holds no audio ({', '.join(AUDIO)}), and task {task!r} needs it")
    return found


def thinned(
    items: Iterable[Item], most: int | None, order: Callable[[Item], str] = lambda item: item.order
) -> tuple[Item, ...]:
    """At most so many clips of each split, in a fixed random order; of classes as many of each as far as they reach."""
    if most is None:
        return tuple(items)
    kept: list[Item] = []
    groups: dict[str, dict[object, list[Item]]] = {}
    for item in sorted(items, key=order):
        # Only classes are evened out; of sentences every one is another.
        label = item.target if isinstance(item.target, str) else ""
        groups.setdefault(item.split, {}).setdefault(label, []).append(item)
    for labels in groups.values():
        ranked = [(rank, order(item), item) for label in labels.values() for rank, item in enumerate(label)]
        kept += [item for *_, item in sorted(ranked, key=lambda entry: entry[:2])[:most]]
    return tuple(kept)


def with_split(items: Iterable[Item], split: str) -> list[Item]:
    return [replace(item, split=split) for item in items]


def length_s(path: Path, advice: str) -> float:
    """Seconds of a recording; raises SpeechpressError with `advice` when it cannot be read."""
    try:
        return float(probe(str(path), path.name).duration)
    except UnreadableAudio as error:
        raise SpeechpressError(f"{error}; {advice}") from error
