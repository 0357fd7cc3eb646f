"""A folder of what a teacher says of clips: one block per clip, found by a hash of the samples that were heard.

Shapes: S samples.

Several processes may read and write one folder. A block appears under its name only when it is whole, and its checksum
is looked at whenever it is read, so a writer that was killed, a torn page or a flipped bit costs one computation.
"""

import contextlib
import hashlib
import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, parse_object
from speechpress.runtime.parts import clear, entries, part_of

logger = logging.getLogger(__name__)

BINDING = "targets.json"
SCHEMA = 1
DEFAULT_GB = 20.0  # 24 h for three layers of a HuBERT base, 36 h for three of Whisper base
_MAGIC = b"sptgt001"
_HEADER = struct.Struct("<8s16sQ")  # magic, key, bytes of the block; then CRC-32 of all else, then the block
_CRC = struct.Struct("<I")
_START = _HEADER.size + _CRC.size
_RECOUNT = 0.01  # share of the limit after which the folder is measured again: others may write to it too
_GB = 10**9


def key_of(samples: np.ndarray) -> bytes:
    """What a clip is found by: 16 bytes of BLAKE2b over its samples (S,), so a crop is never taken for another one."""
    return hashlib.blake2b(np.ascontiguousarray(samples, np.float32).data, digest_size=16).digest()


@dataclass
class Counts:
    """What happened to a folder in this process."""

    read: int = 0
    written: int = 0
    damaged: int = 0  # blocks that were there and could not be used
    left_out: int = 0  # times that there was no room for one


class Shelf:
    """The folder; a block is bytes of a size that its reader knows."""

    def __init__(self, folder: Path, binding: Mapping[str, Any], limit_gb: float) -> None:
        """Open or make the folder of exactly this binding, which says what a block holds and of which teacher.

        Raises SpeechpressError when it holds something else, or cannot be written to.
        """
        self.folder, self.limit, self.counts = folder, int(limit_gb * _GB), Counts()
        self._closed, self._said, self._damaged = False, False, set[bytes]()
        self._lock = threading.Lock()  # rows of a batch are read side by side
        _bind(folder, {"schema": SCHEMA, **binding})
        self._bytes = self._measured = self._measure()

    def read(self, key: bytes, size: int) -> memoryview | None:
        """The block of a clip, or None when there is none of `size` bytes that can be used."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._spoilt(key, f"cannot be read ({error})")
            return None
        found = _opened(data, key, size)
        if found is None:
            self._spoilt(key, "is damaged")
            return None
        with self._lock:
            self.counts.read += 1
        return found

    def write(self, key: bytes, block: bytes) -> bool:
        """Keep a block; False where there is no room for it."""
        path = self._path(key)
        # One that is damaged is replaced, and needs no more room than it has.
        more = len(block) + _START - (path.stat().st_size if path.exists() else 0)
        if not self._has_room(more):
            self.counts.left_out += 1
            return False
        try:
            _put(path, _packed(key, block))
        except OSError as error:
            self._closed = True
            self.counts.left_out += 1
            logger.warning("%s: no more targets are kept (%s); they are computed each time", self.folder, error)
            return False
        self._bytes += more
        self.counts.written += 1
        return True

    def _spoilt(self, key: bytes, how: str) -> None:
        with self._lock:
            if key in self._damaged:
                return
            self._damaged.add(key)
            self.counts.damaged += 1
        logger.warning("%s: %s; it is computed again", self._path(key), how)

    def _path(self, key: bytes) -> Path:
        name = key.hex()
        # 256 folders, so that none of them is slow to search.
        return self.folder / name[:2] / name[2:]

    def _has_room(self, more: int) -> bool:
        if self._closed:
            return False
        if self._bytes - self._measured > _RECOUNT * self.limit:
            self._bytes = self._measured = self._measure()
        if more <= 0 or self._bytes + more <= self.limit:
            return True
        if not self._said:
            self._said = True
            logger.warning(
                "%s: holds %.3g GB of at most %.3g GB; further targets are computed each time",
                self.folder, self._bytes / _GB, self.limit / _GB,
            )  # fmt: skip
        return False

    def _measure(self) -> int:
        return sum(size for _, size in blocks(self.folder))


def blocks(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every block of a folder and its bytes; what killed writers left is removed."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        clear(inner)
        for path in entries(inner):
            try:
                yield path, path.stat().st_size
            except FileNotFoundError:
                continue  # another process replaced it meanwhile


def _bind(folder: Path, wanted: dict[str, Any]) -> None:
    path = folder / BINDING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Looked for again: another process may have begun this very folder meanwhile.
            if entries(folder) and not path.exists():
                raise SpeechpressError(
                    f"{folder}: contains something other than kept targets (there is no {BINDING}); name an "
                    "empty or new folder"
                )
            _first(path, (json_text(wanted, indent=1) + "\n").encode())
        # Read also where it was just written: of two that begin at once, the first one's words hold for both.
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpeechpressError(f"{folder}: cannot be used for kept targets ({error}); name another folder") from error
    found = parse_object(text, str(path), "name another folder, or remove this one")
    wanted = json.loads(json_text(wanted))
    other = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if other:
        lines = "\n  ".join(f"{name}: it has {found.get(name)!r}, this run {wanted.get(name)!r}" for name in other)
        raise SpeechpressError(
            f"{folder}: holds the targets of another teacher or of other layers:\n  {lines}\n"
            "Name another folder, or remove this one."
        )


def _put(path: Path, data: bytes) -> None:
    """Under its name at once or not at all; not synced to disk, because a torn block is found by its checksum."""
    path.parent.mkdir(exist_ok=True)
    with part_of(path) as part:
        part.write_bytes(data)
        part.chmod(0o644)
        part.replace(path)


def _first(path: Path, data: bytes) -> None:
    """Like `_put`, but what is there already stays."""
    with part_of(path) as part:
        part.write_bytes(data)
        part.chmod(0o644)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)  # unlike a rename, it never replaces


def _packed(key: bytes, block: bytes) -> bytes:
    header = _HEADER.pack(_MAGIC, key, len(block))
    return header + _CRC.pack(zlib.crc32(block, zlib.crc32(header))) + block


def _opened(data: bytes, key: bytes, size: int) -> memoryview | None:
    """The block in a file's bytes; None when they are not exactly this clip's."""
    whole, header = memoryview(data), _HEADER.pack(_MAGIC, key, size)
    if len(data) != _START + size or whole[: _HEADER.size] != header:
        return None
    (stored,) = _CRC.unpack_from(data, _HEADER.size)
    return whole[_START:] if zlib.crc32(whole[_START:], zlib.crc32(header)) == stored else None
