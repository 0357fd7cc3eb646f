"""Silence on a host while something is timed there: trials that work side by side stand still meanwhile.

Locks of files, which the system lets go of when their process dies, however it dies. They are one user's on one host,
so that two searches on it, or jobs that a cluster has put there, do not disturb each other's timing either.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Quiet:
    """Who works holds a share of one lock; who times holds all of it.

    Args:
        folder: of the locks; by default this user's on this host.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / f"speechpress-{os.getuid()}"
        self.folder.mkdir(exist_ok=True)
        self.work, self.turn, self.device = (self._open(name) for name in ("work", "turn", "device"))

    def _open(self, name: str) -> int:
        return os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Work, until this ends; waits while somebody is timing, or wants to."""
        self._share()
        try:
            yield
        finally:
            fcntl.flock(self.work, fcntl.LOCK_UN)

    def step_aside(self) -> None:
        """Let those who want silence have it, and go on after them; the caller is working."""
        fcntl.flock(self.work, fcntl.LOCK_UN)
        self._share()

    def _share(self) -> None:
        # Through the turnstile, in which those stand who want silence: else there might always be somebody at work.
        with _held(self.turn):
            fcntl.flock(self.work, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Nobody else works; the caller is working, and goes on working afterwards."""
        fcntl.flock(self.work, fcntl.LOCK_UN)
        with _held(self.turn):
            fcntl.flock(self.work, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self.work, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Nobody else is in here, but they may work: what is timed is elsewhere."""
        with _held(self.device):
            yield


@contextlib.contextmanager
def _held(lock: int) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
