"""Keeps what native code writes to stderr from people."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code writes to stderr (notes on processor files) from people; on an error it is shown."""
    # What Python has buffered was said before, and must not land in the file.
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
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
