"""A language of Common Voice: clips/ with the recordings, and tables beside it (train.tsv, validated.tsv, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..labels import read_labels
from .entries import Entry, Found, checked_path, chosen, file_cuts

CLIPS = "clips"
_COLUMNS = {b"client_id", b"path", b"sentence"}


def is_common_voice(lines: list[bytes]) -> bool:
    """Whether the first line of a table is the header of one of its tables."""
    return bool(lines) and set(lines[0].strip().split(b"\t")) >= _COLUMNS


def common_voice_cuts(path: Path, part: str | None, tables: dict[str, Path]) -> Iterator[Found]:
    """(table, cut or why it is left out) for every row of one table.

    Args:
        path: the folder, or one of its tables.
        part: which table is meant, by its name without .tsv.
        tables: those that the folder has.

    Raises:
        SpeechpressError: no clips, several tables of which none was named, or a row that is none.
    """
    table = path if path.is_file() else chosen(tables, part, readable_name(path), "commonvoice")
    if not (table.parent / CLIPS).is_dir():
        raise SpeechpressError(
            f"{readable_name(table)}: its recordings must be in {CLIPS}/ beside it, which is not there"
        )
    return file_cuts(_entries(table))


def _entries(table: Path) -> Iterator[Entry | tuple[str, Skipped]]:
    said, folder = readable_name(table), table.parent
    for place, labels in read_labels(table).items():
        name = place.removeprefix(f"{folder}/")
        try:
            checked_path(name, f"{said}: {readable_name(name)}", inside=True)
        except UnreadableAudio as error:
            yield said, error.skipped
            continue
        yield Entry(f"{said}: {name}", name, str(folder / CLIPS / name), labels=labels)
