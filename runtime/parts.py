"""What is being written: parts lie beside their place as `.NAME.xxxxxxxx.part`, locked while one is at work on them.

A process that is killed loses its locks, so whoever writes beside a dead part next knows it for one and removes it.
Where the system or the disk has no locks (Windows, some network disks), nothing is removed.
"""

import contextlib
import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The eight characters are those of `tempfile`, so a hidden file of the user's is hardly taken for a part.
_PART = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.(?P<kind>part|old)")
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD; RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS


def is_part(path: Path) -> bool:
    """Whether this, or a folder that it lies in, is something that was not finished."""
    return any(_PART.fullmatch(name) for name in path.parts)


def entries(folder: Path) -> list[Path]:
    """What is in a folder, without what was not finished."""
    return sorted(path for path in folder.iterdir() if not is_part(Path(path.name)))


@contextlib.contextmanager
def part_of(place: Path, folder: bool = False) -> Iterator[Path]:
    """Yield an empty part of `place`, a file or a folder, which is removed afterwards unless it was moved away."""
    # Here and not at exit: a process that was killed had no exit, and the next writer is the first who can tell.
    clear(place.parent)
    path, lock = _new(place, folder)
    try:
        yield path
    finally:
        _remove(path)
        _unlock(lock)


def exchange(part: Path, place: Path) -> None:
    """Put the folder `part` at `place`, which exists, and what was there at `part`; at once where the system can."""
    if _swapped(part, place):
        return
    # mktemp, because rename needs a name that is free; `.old` tells `clear` to move it back, not to remove it.
    aside = Path(tempfile.mktemp(prefix=f".{place.name}.", suffix=".old", dir=place.parent))
    # The lock is on the folder itself and goes with it: while it lies aside, it is not taken for a dead one.
    lock = _lock(place)
    try:
        place.rename(aside)
        try:
            # Between the two renames nothing stands at `place`; a kill here is what `clear` mends.
            part.rename(place)
        except OSError:
            aside.rename(place)
            raise
        aside.rename(part)
    finally:
        _unlock(lock)


def clear(folder: Path) -> None:
    """Remove the parts that dead processes left in a folder; a whole folder that one had moved aside goes back."""
    with contextlib.suppress(OSError):
        # A list first: entries are removed while it runs.
        for path in list(folder.iterdir()):
            found = _PART.fullmatch(path.name)
            if found is not None:
                _clear_one(path, path.with_name(found["name"]) if found["kind"] == "old" else None)


def _clear_one(path: Path, place: Path | None) -> None:
    try:
        lock = _lock(path)
    except OSError:
        return  # somebody is at work on it, or it has gone
    if lock is None:
        return
    with contextlib.suppress(OSError):
        # Killed between two renames: what was moved aside is the only whole copy.
        if place is not None and not place.exists():
            path.rename(place)
        else:
            _remove(path)
    _unlock(lock)


def _new(place: Path, folder: bool) -> tuple[Path, int | None]:
    """A part and its lock; another one when somebody took it for a dead one before it was locked."""
    while True:
        prefix = f".{place.name}."
        if folder:
            path = Path(tempfile.mkdtemp(".part", prefix, place.parent))
        else:
            handle, name = tempfile.mkstemp(".part", prefix, place.parent)
            os.close(handle)
            path = Path(name)
        try:
            lock = _lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue
        # Somebody may have removed it before the lock was had; then the lock is on a file without a name.
        if path.exists():
            return path, lock
        _unlock(lock)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock on a path; None where there are no locks.

    Raises OSError when it is somebody else's, or the path has gone.
    """
    if fcntl is None:
        return None
    # flock on network disks wants a descriptor open for writing, which a folder cannot give.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _swapped(one: Path, other: Path) -> bool:
    """Exchange two paths in one step; False where the system or the disk cannot."""
    words = (os.fsencode(one), os.fsencode(other))
    if sys.platform == "darwin":
        return ctypes.CDLL(None).renamex_np(*words, _EXCHANGE) == 0
    if not sys.platform.startswith("linux"):
        return False
    # Not every C library has it, and the kernel or the disk may refuse it all the same.
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    return call is not None and call(_HERE, words[0], _HERE, words[1], _EXCHANGE) == 0
