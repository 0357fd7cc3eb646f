"""NeMo's manifests: a JSON object a line, with audio_filepath, duration, and where it says so offset and text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..manifest import MAX_S, BadValue, beside, number_at, parse_json, path_at, text_at, text_lines
from .entries import Entry, Found, checked_path, file_cuts

KEY = "audio_filepath"
_OWN = (KEY, "duration", "offset")


def nemo_cuts(path: Path) -> Iterator[Found]:
    """(file:line, cut or why it is left out) for every line.

    Raises:
        SpeechpressError: a line that is no object with a path and a duration.
    """
    return file_cuts(_entries(path))


def _entries(path: Path) -> Iterator[Entry | tuple[str, Skipped]]:
    said = readable_name(path)
    for number, line in text_lines(path):
        where = f"{said}:{number}"
        try:
            yield _entry(parse_json(line), where, path.parent)
        except UnreadableAudio as error:
            yield where, error.skipped
        except BadValue as error:
            raise SpeechpressError(f"{where}: not a line of a NeMo manifest ({error})") from error


def _entry(data: dict[str, Any], where: str, folder: Path) -> Entry:
    named = path_at(data, KEY, "")
    duration_s = number_at(data, "duration", "", 0, MAX_S)
    offset_s = number_at(data, "offset", "", 0, MAX_S) if data.get("offset") is not None else None
    place = beside(checked_path(named, where, inside=False), folder)
    # Several lines may be parts of one file, which their offsets tell apart.
    part = "" if offset_s is None else f"@{offset_s:g}"
    labels = {name: _label(data, name) for name, value in data.items() if _is_label(name, value)}
    return Entry(where, readable_name(named).lstrip("/") + part, place, offset_s or 0.0, duration_s, labels=labels)


def _is_label(name: str, value: Any) -> bool:
    return name not in _OWN and isinstance(value, str | int | float)


def _label(data: dict[str, Any], name: str) -> str:
    return text_at(data, name, "") if isinstance(data[name], str) else str(data[name])
