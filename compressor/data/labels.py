"""Labels: `labels.tsv`, Hugging Face's `metadata.csv` or `metadata.jsonl` beside the audio, LibriSpeech's folders."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Literal

from lhotse import MonoCut, MultiCut, SupervisionSegment

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import readable_name

from .manifest import BadValue, parse_json, path_at, text_at, text_lines

logger = logging.getLogger(__name__)

_JSONL = "metadata.jsonl"
LABEL_FILES = {"labels.tsv": ("path", "\t"), "metadata.csv": ("file_name", ","), _JSONL: ("file_name", "")}
_LINE_LETTERS = 1 << 20
_LIBRISPEECH = re.compile(r"(?:^|/)(\d+)/(\d+)/\1-\2-\d+\.\w+$")

Labels = dict[str, str]


def read_labels(path: Path) -> dict[str, Labels]:
    """The rows of a label file by the absolute path of the recording that each describes.

    A remark in parentheses after a column's name is no part of the name. Any other table (.csv, .tsv) is read as well;
    its recordings are in a column `path` or `file_name`.

    Raises:
        SpeechpressError: with file:line, for a missing column, a row of the wrong length, or a path given twice.
    """
    if path.name == _JSONL:
        return _read_jsonl(path)
    key, delimiter = LABEL_FILES.get(path.name, ("path", "," if path.suffix.lower() == ".csv" else "\t"))
    said = readable_name(path)
    # A transcript between tabs may hold a lone quotation mark, which would swallow all rows up to the next one.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    rows: dict[str, Labels] = {}
    try:
        reader = csv.reader(_lines(path, said), delimiter=delimiter, quoting=quoting)
        # Remarks such as "(seconds)" are for people; labels are asked for by the bare name.
        header = [re.sub(r"\s*\(.*\)\s*$", "", name).strip() for name in next(reader, [])]
        if path.name not in LABEL_FILES and key not in header and "file_name" in header:
            key = "file_name"
        if key not in header:
            return _no_column(path, key, header)
        for row in filter(None, reader):
            labels = _row(said, reader.line_num, header, row)
            if key not in labels:
                raise SpeechpressError(f"{said}:{reader.line_num}: names no file in its column {key!r}")
            place = str(path.parent / labels.pop(key))
            if place in rows:
                raise SpeechpressError(f"{said}:{reader.line_num}: {place} has two rows; keep one of them")
            rows[place] = labels
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpeechpressError(f"{said}: not a UTF-8 table ({error})") from error
    except OSError as error:
        raise SpeechpressError(f"{said}: cannot be read ({error.strerror or error})") from error
    return rows


def _read_jsonl(path: Path) -> dict[str, Labels]:
    """The same of AudioFolder's other table: an object a line; what is no text or number is no label."""
    said, key = readable_name(path), LABEL_FILES[_JSONL][0]
    rows: dict[str, Labels] = {}
    for number, line in text_lines(path):
        where = f"{said}:{number}"
        try:
            data = parse_json(line)
            if key not in data and not rows:
                return _no_column(path, key, list(data))
            place = str(path.parent / path_at(data, key, ""))
            plain = [name for name in data if name != key and isinstance(data[name], str | int | float)]
            labels = {
                name: text_at(data, name, "") if isinstance(data[name], str) else str(data[name]) for name in plain
            }
        except BadValue as error:
            raise SpeechpressError(f"{where}: not a line of labels ({error})") from error
        if place in rows:
            raise SpeechpressError(f"{where}: {readable_name(place)} has two rows; keep one of them")
        rows[place] = {name: value for name, value in labels.items() if value}
    return rows


def _lines(path: Path, said: str) -> Iterator[str]:
    """Lines of text, none so long that it fills the memory."""
    # A pipe would be waited for without end.
    if not path.is_file():
        raise SpeechpressError(f"{said}: is not a regular file, so it holds no labels")
    # Spreadsheets put a byte order mark in front of the first column's name; csv wants line ends untouched.
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number in count(1):
            line = file.readline(_LINE_LETTERS + 1)
            if len(line) > _LINE_LETTERS:
                raise SpeechpressError(
                    f"{said}:{number}: longer than {_LINE_LETTERS} letters, which no row of labels is"
                )
            if not line:
                return
            yield line


def _no_column(path: Path, key: str, header: list[str]) -> dict[str, Labels]:
    if path.name not in ("metadata.csv", _JSONL):
        cut = "comma" if path.suffix.lower() == ".csv" else "tab"
        raise SpeechpressError(
            f"{readable_name(path)}:1: no column {key!r} ({cut}-separated columns found: {', '.join(header) or 'none'})"
        )
    # metadata is a common name, so a table of something else is no mistake; labels.tsv is ours alone.
    logger.warning("%s has no column %r, so it is not read as labels", readable_name(path), key)
    return {}


def _row(path: str, line: int, header: list[str], row: list[str]) -> Labels:
    if len(row) != len(header):
        raise SpeechpressError(f"{path}:{line}: {len(row)} fields, but the header has {len(header)}")
    labels = dict(zip(header, row, strict=True))
    # An empty cell is no label: "" as a speaker would be one person.
    return {name: value for name, value in labels.items() if value}


def attach(cut: MonoCut | MultiCut, labels: Labels) -> None:
    """Put labels on a cut's supervision: speaker and text under lhotse's names, every other column under `custom`."""
    rest = dict(labels)
    speaker, text = rest.pop("speaker", None), rest.pop("text", None)
    if speaker is None and "speaker_id" in rest:
        speaker = rest.pop("speaker_id")
    cut.supervisions = [
        SupervisionSegment(
            id=cut.id,
            recording_id=cut.recording.id,
            start=0.0,
            duration=cut.duration,
            channel=cut.channel,
            speaker=speaker,
            text=text,
            custom=rest or None,
        )
    ]


def librispeech_speakers(ids: Iterable[str]) -> dict[str, str]:
    """Speakers by id, if EVERY id has LibriSpeech's form speaker/chapter/speaker-chapter-utterance; else {}."""
    matches = {name: _LIBRISPEECH.search(name) for name in ids}
    if not all(matches.values()):
        return {}
    return {name: match[1] for name, match in matches.items() if match}


def label(cut: MonoCut | MultiCut, name: str) -> str | None:
    """One label of a cut ("speaker", "text", "split", any column of its label file), or None where it has none."""
    for supervision in cut.supervisions:
        value = getattr(supervision, name, None) if name in ("speaker", "text", "language", "gender") else None
        value = (supervision.custom or {}).get(name) if value is None else value
        if value is not None:
            return str(value)
    return None


def speakers(cut: MonoCut | MultiCut) -> set[str]:
    """Everybody who is known to speak in a cut; empty if nothing is known."""
    return {supervision.speaker for supervision in cut.supervisions if supervision.speaker}
