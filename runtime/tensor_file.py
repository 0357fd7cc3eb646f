"""Reads the tensors of a safetensors file with numpy alone, so that a board that runs a bundle needs nothing more."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_file import parse_json
from .regular import open_regular
from .schema import Fields, Items, Table, Text, Whole, require

if TYPE_CHECKING:
    import numpy as np

_DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}
_SIZE = Whole(0, 2**40)
_ENTRY = Fields(
    {"dtype": Text(choices=tuple(_DTYPES)), "shape": Items(_SIZE, 0, 8), "data_offsets": Items(_SIZE, 2, 2)}
)
_LENGTH_BYTES = 8  # of the header's own length, little-endian, before it


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    """Every tensor of the file by its name.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file, or is cut short.
        SpeechpressError: it is no file at all, but a pipe or a folder.
    """
    import numpy as np

    with open_regular(path) as file:
        data = file.read()
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < start or start == _LENGTH_BYTES:
        raise ValueError("its header is truncated")
    header = parse_json(data[_LENGTH_BYTES:start])
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    # Anybody may have made the file: its types, shapes and offsets are bounded before they are used.
    require(entries, Table(_ENTRY))
    for name, entry in entries.items():
        _check(name, entry, len(data) - start)
    return {
        name: np.frombuffer(data, _DTYPES[entry["dtype"]], math.prod(entry["shape"]), start + entry["data_offsets"][0])
        .reshape(entry["shape"])
        # frombuffer gives read-only views that keep the whole file's bytes alive.
        .copy()
        for name, entry in entries.items()
    }


def read_metadata(path: Path) -> dict[str, str]:
    """What a file says beside its tensors, which are not read.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file, or is cut short.
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        # 8 damaged bytes can claim a header of exabytes, which read() would try to allocate.
        if length > path.stat().st_size:
            raise ValueError("its header is truncated")
        header = parse_json(file.read(length))
    return dict(header.get("__metadata__", {}))


def _check(name: str, entry: dict[str, Any], size_bytes: int) -> None:
    first, last = entry["data_offsets"]
    wanted = math.prod(entry["shape"]) * int(_DTYPES[entry["dtype"]][-1])
    if last - first != wanted or last > size_bytes:
        raise ValueError(f"{name} is truncated")
