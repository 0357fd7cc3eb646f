"""What came from elsewhere, kept on this disk under a bound; what was used longest ago goes first.

Several processes may share the folder: every file is one part of one version of one remote file, and is written beside
its place and renamed. A folder that is full or cannot be written to means that nothing is kept, which is said once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parts import part_of

logger = logging.getLogger(__name__)

BOUND = "SPEECHPRESS_DATA_CACHE_GB"
DEFAULT_GB = 20.0
_SLACK = 32  # the folder is looked through after every 1/32 of the bound that was written


def cache_folder() -> Path:
    """Where speechpress keeps what it can compute or fetch again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speechpress"


def bound_bytes() -> int:
    """How much may be kept; 0 for nothing. Raises SpeechpressError."""
    said = os.environ.get(BOUND, "") or str(DEFAULT_GB)
    try:
        gigabytes = float(said)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e9:
        raise SpeechpressError(f"{BOUND}={said}: must be a number of gigabytes; 0 keeps nothing")
    return int(gigabytes * 1e9)


class Cache:
    """Parts of files in a folder.

    The bound is kept to within 1/32 of it for each process that writes.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound = folder, bound
        self._lock = threading.Lock()
        # As if all of it had been written: the first look is at once, for what an earlier run left.
        self._written = bound
        self._refused = False

    def get(self, key: str, size: int | None = None, part: slice = slice(None)) -> bytes | None:
        """What was kept under a key, or a part of it, if it is whole: of so many bytes, where that is known."""
        if not self.bound:
            return None
        try:
            with self._place(key).open("rb") as file:
                held = os.fstat(file.fileno()).st_size
                if size is not None and held != size:
                    return None
                begin, end, _ = part.indices(held)
                file.seek(begin)
                content = file.read(end - begin)
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())  # it was used
            return content if len(content) == end - begin else None
        except OSError:
            return None

    def holds(self, key: str) -> bool:
        return bool(self.bound) and self._place(key).is_file()

    def put(self, key: str, content: bytes) -> bool:
        """Keep it; whether that was done."""
        if self._refused or len(content) > self.bound // _SLACK:
            return False
        try:
            place = self._place(key)
            place.parent.mkdir(parents=True, exist_ok=True)
            with part_of(place) as part:
                part.write_bytes(content)
                part.replace(place)
            self._trim(len(content))
            return True
        except OSError as error:
            self._refused = True
            logger.warning("%s: nothing is kept there any more (%s); it is fetched again instead", self.folder, error)
            return False

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _trim(self, written: int) -> None:
        with self._lock:
            self._written += written
            if self._written < self.bound // _SLACK:
                return
            self._written = 0
            found = sorted(_files(self.folder))
            held = sum(size for _, size, _ in found)
            for _, size, path in found:
                if held <= self.bound - self.bound // _SLACK:
                    return
                with contextlib.suppress(OSError):
                    path.unlink()
                held -= size


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """(time of its last use, size, path) of everything that is kept."""
    found = []
    for path in folder.glob("*/*"):
        # Another process may have removed it.
        with contextlib.suppress(OSError):
            facts = path.stat()
            found.append((facts.st_mtime_ns, facts.st_size, path))
    return found
