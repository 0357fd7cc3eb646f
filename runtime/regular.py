"""Opening regular files only: a pipe would be waited for without end, and a device never ends."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """The file, open for reading bytes.

    Raises OSError when it is missing, or is a folder, a pipe, a socket or a device.
    """
    # Without O_NONBLOCK opening a pipe that nobody writes to does not come back.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_regular(path: str | Path) -> None:
    """Raises OSError where `open_regular` does; for readers that open files by themselves."""
    open_regular(path).close()
