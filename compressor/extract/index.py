"""What is done: a line for each file that stands under its name, so that a run that was killed goes on.

A file gets its name first and its line after it, so a line never speaks of half a file. A line that a kill cut short
is left out when it is read; its file is then made again, to the same content.
"""

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from speechpress.runtime.atomic import cannot_write, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json_lines


@dataclass(frozen=True)
class Row:
    """One recording that is done: its file (several may share one), and how many frames it has.

    `size_bytes` and `sha256` are of the file; `events` are counted where it holds events.
    """

    id: str
    path: str
    frames: int
    duration_s: float
    size_bytes: int
    sha256: str
    events: int | None = None

    def line(self) -> str:
        return json_text({key: value for key, value in asdict(self).items() if value is not None}) + "\n"


class Index:
    """The lines of one shard; `add` may be called by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._file: TextIO | None = None

    def open(self, root: Path) -> int:
        """Take up what an earlier run left and still stands whole below `root`; how many files do not, and go again."""
        found = list(_read_rows(self.path)) if self.path.exists() else []
        whole = {path: _stands(root / path, rows[0]) for path, rows in _by_path(found).items()}
        self.rows = {row.id: row for row in found if whole[row.path]}
        try:
            # Anew, so that a line that was cut short is not written on.
            self.write()
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return sum(not stands for stands in whole.values())

    def add(self, rows: Iterable[Row]) -> None:
        """Note recordings whose file stands under its name. Raises SpeechpressError when the disk is full."""
        assert self._file is not None
        with self._lock:
            rows = list(rows)
            try:
                self._file.write("".join(row.line() for row in rows))
                self._file.flush()
            except OSError as error:
                raise cannot_write(self.path, error) from error
            self.rows.update({row.id: row for row in rows})

    def write(self) -> None:
        """All lines at once, ordered by id, atomically."""
        write_text(self.path, "".join(self.rows[name].line() for name in sorted(self.rows)))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def file_facts(path: Path) -> tuple[int, str]:
    """Size and hash of a file that stands."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_rows(path: Path) -> Iterable[Row]:
    for number, line in read_json_lines(path):
        try:
            yield Row(**line)
        except TypeError as error:
            raise SpeechpressError(
                f"{path}:{number}: is not a line of an index ({error}); extract again with --overwrite"
            ) from error


def _by_path(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.path, []).append(row)
    return found


def _stands(path: Path, row: Row) -> bool:
    """Whether a file is what was written. By its content: after a power cut a file may have its size and no bytes."""
    try:
        return path.stat().st_size == row.size_bytes and file_facts(path)[1] == row.sha256
    except OSError:
        return False
