"""Writing a file or a folder so that a write that fails, or is killed, leaves the previous one whole."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import SpeechpressError
from .json_file import json_text
from .parts import exchange, part_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` only when the block ends without an error.

    Raises SpeechpressError when the disk is full or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_of(path) as temporary:
            yield temporary
            # Before the rename: after a power cut the new name must not stand for an empty file.
            _sync(temporary)
            # mkstemp gives 0600, so that the file could be read by nobody else.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def atomic_folder(place: Path) -> Iterator[Path]:
    """Yield a new folder beside `place`; it takes the place of `place` when the block ends without an error.

    What stood there goes, so ask beforehand whether it may. Raises SpeechpressError as `atomic` does.
    """
    try:
        # A rename would replace the link, not the folder that it points to.
        place = place.resolve() if place.is_symlink() else place
        place.parent.mkdir(parents=True, exist_ok=True)
        with part_of(place, folder=True) as part:
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _sync(file)
            # mkdtemp gives 0700.
            part.chmod(0o777 & ~_umask())
            if place.exists():
                exchange(part, place)
            else:
                part.rename(place)
    except OSError as error:
        raise cannot_write(place, error) from error


@contextlib.contextmanager
def filled(folder: Path, last: Sequence[str]) -> Iterator[Path]:
    """Yield a part inside `folder`; when the block ends without an error, its files move into `folder`.

    For a folder that holds more than what is written now. The names in `last` are taken away before that and come
    back after all else, in this order: where they stand, everything belongs together.

    Raises SpeechpressError as `atomic` does.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part_of(folder / "files", folder=True) as part:
            yield part
            files = [file for file in sorted(part.iterdir()) if file.name not in last]
            files += [part / name for name in last if (part / name).exists()]
            for file in files:
                _sync(file)
            # Backwards: the name that says that all is complete goes first and comes back last.
            for name in reversed(last):
                (folder / name).unlink(missing_ok=True)
            for file in files:
                file.replace(folder / file.name)
    except OSError as error:
        raise cannot_write(folder, error) from error


def discard(folder: Path) -> None:
    """Remove a folder so that, whenever it is cut short, no half of it is left under its name."""
    # A rename is one step; removing a tree is many, and may stop in the middle.
    with contextlib.suppress(OSError), part_of(folder, folder=True) as part:
        folder.rename(part / folder.name)
    shutil.rmtree(folder, ignore_errors=True)  # one that cannot be moved, such as a mounted disk


def cannot_write(path: Path, error: Exception) -> SpeechpressError:
    """What to say of a file or folder that could not be written."""
    number = getattr(error, "errno", None)
    # safetensors and torch raise errors of their own, without a number.
    if number in _FULL or (number is None and "No space left" in str(error)):
        advice = "Free some space or choose another folder with --out."
    elif number in _FORBIDDEN:
        advice = "You may not write there; choose another folder with --out, or change who may."
    else:
        advice = "Choose another folder with --out."
    return SpeechpressError(f"{path}: could not be written ({error}); what stood there before is untouched. {advice}")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json_text(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write text, atomically; returns the path."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    # There is no way to ask for it without setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
