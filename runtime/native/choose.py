"""Which of the two computes: the native library where it is installed, else ExecuTorch's Python bindings."""

import os
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ..errors import SpeechpressError
from .library import DISTRIBUTION, NativeLibrary, installed

VARIABLE, NAMES = "SPEECHPRESS_ENGINE", ("native", "bindings")
XNNPACK = "XnnpackBackend"


class Loaded(Protocol):
    """A program of a library. Every call that fails raises RuntimeError."""

    @property
    def method_names(self) -> list[str]: ...

    def load_method(self, method: str) -> None: ...

    def run(self, method: str, arrays: list[Any]) -> list[Any]:
        """Arrays in C order in, arrays and numbers out."""

    def write_trace(self, path: str) -> None: ...


class Library(Protocol):
    """Something that runs ExecuTorch's programs; `name` is one of NAMES, `about` is for people.

    `pools` counts how often its pool of threads was replaced: methods that were loaded before must not run any more.
    """

    name: str
    pools: int

    @property
    def executorch(self) -> str:
        """Its version."""

    @property
    def about(self) -> str: ...

    def backends(self) -> list[str]: ...

    def threads(self) -> int: ...

    def set_threads(self, threads: int) -> None: ...

    def load(self, path: Path, trace: bool) -> Loaded: ...


def library(backend: str = XNNPACK) -> Library:
    """What runs programs of this backend here.

    `SPEECHPRESS_ENGINE` may name one of NAMES, which is then the only one.

    Raises:
        SpeechpressError: the variable names none, or none is installed, or it does not run here.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in NAMES:
        raise SpeechpressError(f"{VARIABLE} is {asked!r}, but must be one of {', '.join(NAMES)}, or empty")
    if asked == "bindings":
        return bindings()
    path = installed()
    if path is None and asked == "native":
        raise SpeechpressError(f"{VARIABLE} is native, but there is no native library; pip install {DISTRIBUTION}")
    if path is None:
        return bindings()
    found = native(path)
    # The wheel is built for processors: Core ML and others are only in ExecuTorch's own Python package.
    if asked or backend in found.backends():
        return found
    try:
        return bindings()
    except SpeechpressError:
        return found  # whose list of backends then says what this machine cannot run


@cache
def native(path: Path) -> Library:
    """One for the process, as the pool of threads is."""
    return NativeLibrary(path)


@cache
def bindings() -> Library:
    # Here: a board may have neither torch nor ExecuTorch's Python package.
    from .bindings import Bindings

    return Bindings()
