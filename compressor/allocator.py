"""A setting of the C library's allocator that a training step on the CPU gains by."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for this process; True where that was done.

    A step allocates the same gigabytes of activations as the one before. glibc maps each large block afresh and
    gives it back, so every step faults all of its memory in again (tests/test_allocator.py counts that).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
