"""The process that trains: it stops where it can be resumed, and keeps freed memory for the next step."""

import ctypes
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Set by the first Ctrl-C or SIGTERM; the loop stops after the step in hand. A second one stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    @contextmanager
    def watching(self) -> Iterator["Interrupt"]:
        """Catch the signals while the block runs; outside the main thread there is nothing to catch."""
        # Python sets signal handlers in the main thread only, and raises elsewhere.
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.signal(number, self) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


# By how much the heap grows at a time: few calls for many tensors.
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for this process; True where that was done.

    A step allocates the same gigabytes of activations as the one before. glibc maps each large block afresh and
    gives it back, so every step faults all of its memory in again (tests/test_allocator.py counts that).
    """
    # musl and macOS have no such mallopt.
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Large blocks come from the heap too (no mmap), and its end is never given back (-1).
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
