"""A Kaldi data folder: wav.scp, and where they are there segments, text, utt2spk, spk2gender and utt2lang.

Lhotse's own reader runs the commands of a wav.scp; here they are refused, with their line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..labels import Labels
from ..manifest import beside, text_lines
from .entries import Entry, Found, checked_path, checked_span, file_cuts

SCP = "wav.scp"
_LABELS = {"text": "text", "utt2spk": "speaker", "utt2lang": "language"}
_ARK = re.compile(r"\.ark:\d+$")


def kaldi_cuts(folder: Path) -> Iterator[Found]:
    """(file:line, cut or why it is left out) for every segment, or every recording where there are no segments.

    Raises:
        SpeechpressError: no wav.scp, or a line that is none of its file.
    """
    if not (folder / SCP).exists():
        raise SpeechpressError(f"{readable_name(folder)}: has no {SCP}, so it is not a Kaldi data folder")
    return file_cuts(_entries(folder))


def _entries(folder: Path) -> Iterator[Entry | tuple[str, Skipped]]:
    recordings = _recordings(folder)
    labels = _labels(folder)
    if not (folder / "segments").exists():
        for name, (where, place) in recordings.items():
            if isinstance(place, Skipped):
                yield where, place
            else:
                yield Entry(where, name, place, labels=labels.get(name, {}))
        return
    for name, (where, rest) in _table(folder / "segments").items():
        recording, start_s, duration_s = _segment(rest, where)
        if recording not in recordings:
            yield where, Skipped(where, f"is of the recording {recording!r}, which {SCP} does not name")
            continue
        place = recordings[recording][1]
        if isinstance(place, Skipped):
            yield where, Skipped(where, f"{place.path}: {place.reason}")
        else:
            yield Entry(where, name, place, start_s, duration_s, labels=labels.get(name, {}))


def _recordings(folder: Path) -> dict[str, tuple[str, str | Skipped]]:
    """Where each recording of wav.scp was named, and its file or why it is left out."""
    found: dict[str, tuple[str, str | Skipped]] = {}
    for name, (where, text) in _table(folder / SCP).items():
        try:
            if _ARK.search(text):
                raise UnreadableAudio(where, "lies in a Kaldi archive (.ark), which is not read: copy it to WAV")
            found[name] = where, beside(checked_path(text, where, inside=False), folder)
        except UnreadableAudio as error:
            found[name] = where, Skipped(error.skipped.path, f"recording {name!r} {error.skipped.reason}")
    return found


def _labels(folder: Path) -> dict[str, Labels]:
    """What the other files say of an utterance."""
    labels: dict[str, Labels] = {}
    for file, label in _LABELS.items():
        if (folder / file).exists():
            for name, (where, value) in _table(folder / file, empty=True).items():
                labels.setdefault(name, {})[label] = _utf8(value, where)
    if (folder / "spk2gender").exists():
        genders = {name: value for name, (_, value) in _table(folder / "spk2gender").items()}
        for row in labels.values():
            if gender := genders.get(row.get("speaker", "")):
                row["gender"] = gender
    return labels


def _table(path: Path, empty: bool = False) -> dict[str, tuple[str, str]]:
    """Where each name of a file was given, and what stands behind it."""
    said = readable_name(path)
    rows: dict[str, tuple[str, str]] = {}
    for number, line in text_lines(path):
        where = f"{said}:{number}"
        # Names of files are bytes to the system, and need not be UTF-8.
        name, *rest = os.fsdecode(line).split(maxsplit=1)
        if not rest and not empty:
            raise SpeechpressError(f"{where}: says nothing of {readable_name(name)!r}")
        if (key := readable_name(name)) in rows:
            raise SpeechpressError(f"{where}: {key!r} occurs twice; Kaldi sorts by unique names")
        rows[key] = where, rest[0].rstrip() if rest else ""
    return rows


def _segment(text: str, where: str) -> tuple[str, float, float | None]:
    """(recording, start, duration) of "recording start end"; an end of -1 is that of the recording."""
    try:
        recording, start, end = text.split()
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise SpeechpressError(f"{where}: must be an utterance, its recording, its start and its end") from error
    return readable_name(recording), *checked_span(start_s, None if end_s == -1 else end_s, where)


def _utf8(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpeechpressError(f"{where}: is not UTF-8") from error
    return text
