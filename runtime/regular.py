"""Opening only what is a file: a pipe would wait for a writer for ever, a device has no end."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from .errors import SpeechpressError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str | Path) -> None:
    """For what a library opens by its path; nothing is said of a path that is not there, which the library will say.

    Raises SpeechpressError when it is no file.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  a str is not made a Path only to be asked
    except (OSError, ValueError):
        return
    _check(path, mode)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened.
        SpeechpressError: it is no file; nothing waits to find that out.
    """
    check_regular(path)
    # Between this line and the one above it may have become a pipe, which must not be waited for either.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(path, os.fstat(file.fileno()).st_mode)
    except SpeechpressError:
        file.close()
        raise
    return file


def _check(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise SpeechpressError(f"{path}: is {kind}, but must be a file; give the path of one")
