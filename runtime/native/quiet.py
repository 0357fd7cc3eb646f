"""Keeps what native code writes to stderr from people."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code writes to stderr (notes on processor files) from people; on an error it is shown."""
    # What Python has buffered was said before, and must not land in the file.
    sys.stderr.flush()
    with _nowhere() as kept:
        # The descriptor and not sys.stderr, which native code does not know.
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            if failed and os.environ.get("SPEECHPRESS_DEBUG"):
                kept.seek(0)
                os.write(2, kept.read())


def _nowhere() -> IO[bytes]:
    """A file that no folder has."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("quiet"), "w+b")  # noqa: PTH123  of a descriptor
    # The import alone takes as long as loading a small program.
    import tempfile

    return tempfile.TemporaryFile()
