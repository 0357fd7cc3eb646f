"""Reads the tensors of a safetensors file with numpy alone, so that a board that runs a bundle needs nothing more."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}
_LENGTH_BYTES = 8  # of the header's own length, little-endian, before it


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    """Every tensor of the file by its name.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file, or is cut short.
    """
    import numpy as np

    data = path.read_bytes()
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < start or start == _LENGTH_BYTES:
        raise ValueError("its header is cut short")
    try:
        header = json.loads(data[_LENGTH_BYTES:start])
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        _check(name, entry, len(data) - start)
    return {
        name: np.frombuffer(data, _DTYPES[entry["dtype"]], math.prod(entry["shape"]), start + entry["data_offsets"][0])
        .reshape(entry["shape"])
        .copy()
        for name, entry in entries.items()
    }


def _check(name: str, entry: dict[str, Any], size_bytes: int) -> None:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name} is of type {entry['dtype']}")
    first, last = entry["data_offsets"]
    wanted = math.prod(entry["shape"]) * int(_DTYPES[entry["dtype"]][-1])
    if last - first != wanted or last > size_bytes:
        raise ValueError(f"{name} is cut short")
