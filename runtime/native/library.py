"""ExecuTorch through our C library (`runtime/cpp/c`), which the distribution `speechpress-runtime` brings; no torch.

Shapes: none of its own; arrays go in and come out as the program has them.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SpeechpressError
from .quiet import quiet

PACKAGE, DISTRIBUTION = "speechpress_runtime", "speechpress-runtime"
FILE = "libspeechpress.dylib" if sys.platform == "darwin" else "libspeechpress.so"
ABI, DIMENSIONS = 1, 8  # as in speechpress_c.h
TENSOR, INTEGER, NUMBER, TRUTH = range(4)
# ExecuTorch's ScalarType; bfloat16 is no type of numpy's.
DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype(np.uint8),
    1: np.dtype(np.int8),
    2: np.dtype(np.int16),
    3: np.dtype(np.int32),
    4: np.dtype(np.int64),
    5: np.dtype(np.float16),
    6: np.dtype(np.float32),
    7: np.dtype(np.float64),
    11: np.dtype(np.bool_),
}
CODES: dict[Any, int] = {dtype: code for code, dtype in DTYPES.items()}


class Value(ctypes.Structure):
    """`sp_value` of speechpress_c.h."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("dimensions", ctypes.c_int32),
        ("shape", ctypes.c_int64 * DIMENSIONS),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_int64),
        ("integer", ctypes.c_int64),
        ("number", ctypes.c_double),
    )


_TEXT, _INT, _PROGRAM = ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sp_abi": (_INT, ()),
    "sp_executorch_version": (_TEXT, ()),
    "sp_error": (_TEXT, ()),
    "sp_backends": (_TEXT, ()),
    "sp_threads": (_INT, ()),
    "sp_set_threads": (_INT, (_INT,)),
    "sp_load": (_PROGRAM, (_TEXT, _INT)),
    "sp_free": (None, (_PROGRAM,)),
    "sp_methods": (_TEXT, (_PROGRAM,)),
    "sp_load_method": (_INT, (_PROGRAM, _TEXT)),
    "sp_run": (_INT, (_PROGRAM, _TEXT, ctypes.POINTER(Value), _INT)),
    "sp_output": (_INT, (_PROGRAM, _INT, ctypes.POINTER(Value))),
    "sp_write_trace": (_INT, (_PROGRAM, _TEXT)),
}


def installed() -> Path | None:
    """The library's file; None when the distribution that brings it is not installed."""
    spec = find_spec(PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or []
    return next((path for place in places if (path := Path(place) / "lib" / FILE).is_file()), None)


class NativeLibrary:
    """Our C library, loaded.

    Args:
        path: of its file; ExecuTorch's libraries lie beside it.

    Raises:
        SpeechpressError: it does not run on this system, or is of another version than this package.
    """

    name = "native"

    def __init__(self, path: Path) -> None:
        self.path, self.pools = path, 0
        try:
            self._c = ctypes.CDLL(str(path))
            for name, (gives, takes) in FUNCTIONS.items():
                function = getattr(self._c, name)
                function.restype, function.argtypes = gives, takes
        except OSError as error:
            raise SpeechpressError(f"{path}: cannot be loaded ({error}); {advice(str(error))}") from error
        except AttributeError as error:
            raise SpeechpressError(f"{path}: {error}; {_other_version()}") from error
        if self._c.sp_abi() != ABI:
            raise SpeechpressError(f"{path}: has interface {self._c.sp_abi()} instead of {ABI}; {_other_version()}")

    @property
    def executorch(self) -> str:
        """The version of ExecuTorch that is linked in."""
        return self._c.sp_executorch_version().decode()

    @property
    def about(self) -> str:
        return f"ExecuTorch {self.executorch}, native, without torch"

    def backends(self) -> list[str]:
        return self._lines(self._c.sp_backends())

    def threads(self) -> int:
        return self._c.sp_threads()

    def set_threads(self, threads: int) -> None:
        if self.threads() == threads:
            return
        with quiet():
            self.check(self._c.sp_set_threads(threads))
        self.pools += 1

    def load(self, path: Path, trace: bool) -> "NativeProgram":
        """Raises RuntimeError when ExecuTorch cannot read it."""
        return NativeProgram(self, self._c, path, trace)

    def check(self, code: int) -> int:
        """Raises RuntimeError with the library's words for a code below 0."""
        if code < 0:
            raise RuntimeError(self._c.sp_error().decode(errors="replace"))
        return code

    def _lines(self, text: bytes | None) -> list[str]:
        self.check(-1 if text is None else 0)
        return (text or b"").decode().splitlines()


class NativeProgram:
    """A program of the C library; every call that fails raises RuntimeError."""

    def __init__(self, library: NativeLibrary, functions: Any, path: Path, trace: bool) -> None:
        self._library, self._c = library, functions
        self._lock = threading.Lock()  # C functions run without the interpreter's
        with quiet():
            self._program = functions.sp_load(os.fsencode(path), int(trace))
        library.check(0 if self._program else -1)

    def __del__(self) -> None:
        if getattr(self, "_program", None):
            self._c.sp_free(self._program)

    @property
    def method_names(self) -> list[str]:
        return self._library._lines(self._c.sp_methods(self._program))

    def load_method(self, method: str) -> None:
        with self._lock, quiet():
            self._library.check(self._c.sp_load_method(self._program, method.encode()))

    def run(self, method: str, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Arrays in C order in, copies of what comes out."""
        inputs = (Value * len(arrays))(*map(_value, arrays))
        with self._lock:
            count = self._library.check(self._c.sp_run(self._program, method.encode(), inputs, len(arrays)))
            return [self._output(index) for index in range(count)]

    def write_trace(self, path: str) -> None:
        with self._lock:
            self._library.check(self._c.sp_write_trace(self._program, os.fsencode(path)))

    def _output(self, index: int) -> Any:
        value = Value()
        self._library.check(self._c.sp_output(self._program, index, ctypes.byref(value)))
        if value.kind == TENSOR:
            return _copied(value)
        if value.kind == NUMBER:
            return value.number
        if value.kind in (INTEGER, TRUTH):
            return value.integer if value.kind == INTEGER else bool(value.integer)
        raise RuntimeError(f"output {index} is neither a tensor nor a number")


def _value(array: np.ndarray) -> Value:
    if array.dtype not in CODES or array.ndim > DIMENSIONS:
        raise RuntimeError(f"an array of {array.dtype} with {array.ndim} dimensions is not an input")
    shape = (ctypes.c_int64 * DIMENSIONS)(*array.shape)
    return Value(TENSOR, CODES[array.dtype], array.ndim, shape, array.ctypes.data, array.nbytes, 0, 0.0)


def _copied(value: Value) -> np.ndarray:
    dtype = DTYPES.get(value.dtype)
    if dtype is None:
        raise RuntimeError(f"an output has ExecuTorch's type {value.dtype}, which numpy has not")
    shape = tuple(value.shape[: value.dimensions])
    if not value.bytes:
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * value.bytes).from_address(value.data)
    # Copied: the program writes its next outputs into the same memory.
    return np.frombuffer(memory, dtype).reshape(shape).copy()


_FOREIGN = f"it is for another processor or system; install {DISTRIBUTION} again, on this machine"


def advice(error: str) -> str:
    """What to do about a library that the system's loader refuses."""
    if "GLIBC" in error and "not found" in error:
        return (
            "this system's C or C++ library is older than the wheel needs: update the system, or build the wheel "
            "here, from a checkout, with: pip install ./runtime"
        )
    if "cannot open shared object file" in error:
        missing = error.split(":", maxsplit=1)[0]
        if Path(missing).exists():  # so the loader speaks of one whose head names another processor
            return _FOREIGN
        packages = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}
        if missing in packages:
            return f"install what is missing, on Debian with: sudo apt-get install {packages[missing]}"
        return f"{missing} is missing; install {DISTRIBUTION} again"
    if "ELF" in error or "mach-o" in error.lower() or "wrong architecture" in error:
        return _FOREIGN
    return f"install {DISTRIBUTION} again"


def _other_version() -> str:
    return f"it is of another version; install both again: pip install -U speechpress {DISTRIBUTION}"
