"""Features on disk, so that ten tasks cost one forward pass over the data.

Shapes: N sounds, T frames, L layers (0 included), D width.

A store holds what one upstream makes of sounds: for every sound its frames (T, L, D) in float16, or their mean over
time (L, D) in float32. It is a folder named by a hash of the upstream; in it lie shards, an array of rows and an index
of the sounds in them. Shards are written whole and never changed, so a run that is interrupted loses at most one, two
runs may share a store, and rows are read from the disk where they lie.
"""

import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from ..models.checkpoint import atomic, read_json, write_json
from ..views.numbers import fitting

SCHEMA = 1
SHARD_BYTES = 64 * 2**20
# Left free for what else is written meanwhile, which is more during a long run than during a short one.
SPARE_SHARE, MOST_SPARE_BYTES = 0.25, 512 * 2**20
# Frames are nearly all of the bytes, so they have half precision; means are few.
DTYPES = {"frames": np.float16, "means": np.float32}


def cache_folder() -> Path:
    """Where this platform keeps caches: $XDG_CACHE_HOME or ~/.cache, ~/Library/Caches, or %LOCALAPPDATA%."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "speechpress" / "features"


def weights_key(module: nn.Module, *about: object) -> str:
    """A hash of every tensor of a module, and of whatever else decides what it computes."""
    digest = hashlib.sha256(repr((SCHEMA, *about)).encode())
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


class Shelf:
    """One upstream's features of one kind, "frames" or "means", by the identity of the sound."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self._dtype = DTYPES[kind]
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._arrays: dict[Path, np.ndarray] = {}
        self._fresh: dict[str, np.ndarray] = {}
        self._fresh_bytes = 0
        for index in sorted(folder.glob(f"{kind}-*.json")):
            self._read_index(index)

    def _read_index(self, index: Path) -> None:
        document, rows = read_json(index), index.with_suffix(".npy")
        if document.get("schema") == SCHEMA and rows.is_file():
            self._places.update({name: (rows, start, count) for name, (start, count) in document["sounds"].items()})

    def __contains__(self, name: str) -> bool:
        return name in self._places or name in self._fresh

    def put(self, name: str, features: Tensor) -> None:
        """Keep a sound's features, (T, L, D) or (L, D); they are on disk after the shard is full, or `flush`."""
        rows = features.detach().cpu().numpy().astype(self._dtype)
        rows = rows if self.kind == "frames" else rows[None]
        self._fresh[name] = rows
        self._fresh_bytes += rows.nbytes
        if self._fresh_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet. Raises SpeechpressError when the disk is full."""
        if not self._fresh:
            return
        # A random name: another run may write to the same store.
        path = self.folder / f"{self.kind}-{uuid.uuid4().hex[:12]}.npy"
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(list(self._fresh.values())))
        sounds, start = {}, 0
        for name, rows in self._fresh.items():
            sounds[name] = (start, len(rows))
            start += len(rows)
        # The index last: rows without one are not seen.
        write_json(path.with_suffix(".json"), {"schema": SCHEMA, "sounds": sounds})
        self._places.update({name: (path, *place) for name, place in sounds.items()})
        self._fresh, self._fresh_bytes = {}, 0

    def get(self, name: str) -> np.ndarray:
        """A sound's features: frames (T, L, D) float16, or means (L, D) float32, a view of the file.

        Raises SpeechpressError when the file was damaged.
        """
        if name in self._fresh:
            rows = self._fresh[name]
        else:
            path, start, count = self._places[name]
            rows = self._opened(path)[start : start + count]
        return rows if self.kind == "frames" else rows[0]

    def _opened(self, path: Path) -> np.ndarray:
        if path not in self._arrays:
            try:
                # Mapped, not read: features of a suite are gigabytes.
                self._arrays[path] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise SpeechpressError(
                    f"{path}: cannot be read ({error}); delete the folder {self.folder}, it is a cache"
                ) from error
        return self._arrays[path]


class Features(Protocol):
    """Where heads read what was heard, by the identity of the sound."""

    def frames(self, name: str) -> np.ndarray:
        """(T, L, D) float16."""

    def means(self, names: Sequence[str]) -> Tensor:
        """(N, L, D) float32."""


class FeatureStore:
    """Both shelves of one upstream, whose key is a hash; see the module."""

    def __init__(self, cache: Path, key: str) -> None:
        self.folder = cache / key
        self.shelves = {kind: Shelf(self.folder, kind) for kind in DTYPES}

    def missing(self, names: Iterable[str], kind: str) -> list[str]:
        return [name for name in names if name not in self.shelves[kind]]

    def flush(self) -> None:
        for shelf in self.shelves.values():
            shelf.flush()

    def frames(self, name: str) -> np.ndarray:
        return self.shelves["frames"].get(name)

    def means(self, names: Sequence[str]) -> Tensor:
        """(N, L, D) float32."""
        return torch.from_numpy(np.stack([self.shelves["means"].get(name) for name in names]))


def spare_bytes(needed_bytes: float) -> float:
    """What stays free beside features of this size."""
    return min(SPARE_SHARE * needed_bytes, MOST_SPARE_BYTES)


def check_space(cache: Path, needed_bytes: float) -> None:
    """Raises SpeechpressError when the cache's disk cannot take so much."""
    cache.mkdir(parents=True, exist_ok=True)
    spare, free = spare_bytes(needed_bytes), shutil.disk_usage(cache).free
    if needed_bytes + spare > free:
        raise SpeechpressError(
            f"{cache}: features need {fitting(needed_bytes)}, and {fitting(spare)} beside them stay free, but only "
            f"{fitting(free)} of this disk are free. Choose another folder with --cache, fewer tasks with --tasks, or "
            "--layers last"
        )
