"""fairseq's manifests: the root folder in the first line, then a path below it and its number of samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..manifest import beside, text_lines
from .entries import Entry, Found, checked_path, file_cuts

_MAX_SAMPLES = 1 << 40


def is_fairseq(lines: list[bytes]) -> bool:
    """Whether the first two lines of a table are those of such a manifest."""
    if len(lines) < 2 or b"\t" in lines[0].strip():
        return False
    path, tab, frames = lines[1].rstrip(b"\r\n").rpartition(b"\t")
    return bool(tab and path) and frames.strip().isdigit()


def fairseq_cuts(path: Path) -> Iterator[Found]:
    """(file:line, cut or why it is left out) for every line.

    Raises:
        SpeechpressError: no root in the first line, or a line that is none of such a manifest.
    """
    return file_cuts(_entries(path))


def _entries(path: Path) -> Iterator[Entry | tuple[str, Skipped]]:
    said, root = readable_name(path), None
    for number, line in text_lines(path):
        where = f"{said}:{number}"
        # Names are bytes to the system, and need not be UTF-8.
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if root is None:
            root = _root(text, where, path.parent)
            continue
        name, tab, frames = text.rpartition("\t")
        if not tab or not _is_count(frames.strip()):
            raise SpeechpressError(f"{where}: not a line of a fairseq manifest (a path, a tab, a number of samples)")
        try:
            place = root / checked_path(name, where, inside=True)
        except UnreadableAudio as error:
            yield where, error.skipped
            continue
        yield Entry(where, readable_name(name), str(place), samples=int(frames))
    if root is None:
        raise SpeechpressError(f"{said}: is empty; a fairseq manifest has the root folder in its first line")


def _is_count(text: str) -> bool:
    # The length first: an endless number takes endless time to read.
    return text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= _MAX_SAMPLES


def _root(text: str, where: str, folder: Path) -> Path:
    if "\t" in text or not text.strip() or "\0" in text:
        raise SpeechpressError(f"{where}: must be the root folder of a fairseq manifest, alone in its line")
    root = Path(text)
    if not root.is_dir():
        root = Path(beside(text, folder)) if root.is_absolute() else folder / text
    if not root.is_dir():
        raise SpeechpressError(
            f"{where}: its root {readable_name(text)} is not a folder here; write the folder's new place into this line"
        )
    return root
