"""The forms in which results are written: one file for each recording, or (see `table`) rows of a table.

A file is made in a part of the folder and gets its name when it is whole; then its line goes into the index.

Shapes: T frames, D width, K layers, N units.
"""

import io
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speechpress.runtime.atomic import cannot_write
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from ..models.config import SAMPLE_RATE
from .index import Index, Row, sha256_of
from .plan import Item

FEATURES = "features"  # the folder with the files, below that of the run
ENDINGS = {"npy": ".npy", "lhotse": ".npy", "safetensors": ".safetensors", "jsonl": ".jsonl"}


@dataclass(frozen=True)
class Result:
    """What was heard in a recording: arrays by name, the number of frames, and events where these are wanted."""

    arrays: dict[str, np.ndarray]
    frames: int
    events: list[dict[str, Any]] | None = None


class Writer(Protocol):
    """Takes results, from several threads; a recording is in the index when its file stands under its name."""

    def put(self, item: Item, result: Result) -> None:
        """Write, or keep until enough has come together."""

    def close(self) -> None:
        """Write what was kept."""


class FileWriter:
    """One file for each recording.

    Args:
        out: the folder of the run; `part`: one in it for what is not whole yet, on the same disk.
        index: of the shard.
        encode: the content of a file.
    """

    def __init__(self, out: Path, part: Path, index: Index, encode: Callable[[Result], bytes]) -> None:
        self.out, self.part, self.index, self.encode = out.resolve(), part, index, encode

    def put(self, item: Item, result: Result) -> None:
        data = self.encode(result)
        place = self.out / item.path
        try:
            # Not `atomic`, which looks through the whole folder and waits for the disk at every file; the index has
            # a hash of each instead, by which a file that was lost is noticed.
            made_folder(self.out, place.parent)
            temporary = self.part / str(threading.get_ident())
            temporary.write_bytes(data)
            temporary.replace(place)
        except OSError as error:
            raise cannot_write(place, error) from error
        self.index.add([row_of(item, result, item.path, len(data), sha256_of(data))])

    def close(self) -> None:
        """Nothing is kept."""


def made_folder(out: Path, folder: Path) -> None:
    """Make a folder inside of `out`. Raises SpeechpressError where a link in it leads out of there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not Path(os.path.realpath(folder)).is_relative_to(out):
        raise SpeechpressError(f"{folder}: is a link that leads out of {out}; remove it, or choose another --out")


def row_of(item: Item, result: Result, path: str, size_bytes: int, sha256: str) -> Row:
    events = None if result.events is None else len(result.events)
    return Row(item.name, path, result.frames, item.samples / SAMPLE_RATE, size_bytes, sha256, events)


def encoder_of(form: str, metadata: dict[str, str]) -> Callable[[Result], bytes]:
    """What makes the content of a file in this form."""
    if form == "safetensors":
        return lambda result: _safetensors(result, metadata)
    return {"npy": _npy, "lhotse": _side_by_side, "jsonl": _json_lines}[form]


def _npy(result: Result) -> bytes:
    """One array as it is, (T, D) or (N,); several layers stacked, (K, T, D)."""
    arrays = list(result.arrays.values())
    same = all(array.shape == arrays[0].shape and array.ndim > 1 for array in arrays)
    return _saved(np.stack(arrays) if len(arrays) > 1 and same else arrays[0])


def _side_by_side(result: Result) -> bytes:
    """(T, K x D), as a bundle has its layers: Lhotse's features have one width."""
    return _saved(np.concatenate(list(result.arrays.values()), axis=-1))


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _safetensors(result: Result, metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in result.arrays.items()}, metadata)


def _json_lines(result: Result) -> bytes:
    return "".join(json_text(line) + "\n" for line in result.events or ()).encode()


def layer_name(layer: int) -> str:
    """The name of a layer's array in a file, and of its column in a table."""
    return f"layer_{layer}"


def names_of(layers: Sequence[int]) -> list[str]:
    return [layer_name(layer) for layer in layers]
