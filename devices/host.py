"""This machine as a device: the same programs as elsewhere, in processes of their own."""

import shutil
import sys
from pathlib import Path

from .device import DeviceError
from .process import Done, Lines, run


class HostDevice:
    """Files are linked, not copied: they are here already."""

    address = "host"
    # Quoted for the shell, which also opens it: TMPDIR is the device's, not ours.
    base = '"${TMPDIR:-/tmp}"'

    def __init__(self, python: str | None = None) -> None:
        self.python: str | None = python or sys.executable

    def shell(self, script: str, timeout_s: float = 30.0) -> Done:
        # The same scripts as on a device, so that a run on this machine tests them.
        return run(["sh", "-c", script], timeout_s)

    def start(self, script: str, silence_s: float) -> Lines:
        return Lines(["sh", "-c", script], silence_s)

    def push(self, paths: list[Path], folder: str) -> None:
        for path in paths:
            try:
                (Path(folder) / path.name).symlink_to(path.resolve())
            except OSError as error:
                raise DeviceError(f"host: {folder} cannot be written ({error}); set TMPDIR to another") from error

    def pull(self, path: str, to: Path) -> None:
        try:
            shutil.copy(path, to)
        except OSError as error:
            raise DeviceError(f"host: {path} cannot be read ({error})") from error

    def explain(self, done: Done) -> DeviceError | None:
        return None
