"""Lhotse's manifests of extracted features: features.jsonl.gz, and cuts.jsonl.gz with the features in them.

The files are plain .npy, (T, D) or (T, K x D), which Lhotse reads by itself ("numpy_files").
"""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lhotse import Features
from lhotse.utils import fastcopy

from speechpress.runtime.atomic import atomic
from speechpress.runtime.json_file import json_text

from ..data.audio import Cut
from ..models.config import SAMPLE_RATE
from .index import Row
from .plan import Item


def write_manifests(
    features: Path, cuts: Path, items: Sequence[Item], rows: Mapping[str, Row], width: int, hop_samples: int, kind: str
) -> None:
    """Write both manifests for the recordings that are done, in the order of their ids."""
    done = sorted((item for item in items if item.name in rows), key=lambda item: item.name)
    made = [features_of(item.cut, rows[item.name], features.parent, width, hop_samples, kind) for item in done]
    _write_lines(features, (asdict(found) for found in made))
    _write_lines(cuts, (fastcopy(item.cut, features=found).to_dict() for item, found in zip(done, made, strict=True)))


def features_of(cut: Cut, row: Row, out: Path, width: int, hop_samples: int, kind: str) -> Features:
    """The features of one cut."""
    return Features(
        type=kind,
        num_frames=row.frames,
        num_features=width,
        frame_shift=hop_samples / SAMPLE_RATE,
        sampling_rate=SAMPLE_RATE,
        start=cut.start,
        duration=cut.duration,
        storage_type="numpy_files",
        # Absolute, as Lhotse looks from where it is run; `with_path_prefix` moves them.
        storage_path=str(out.resolve()),
        storage_key=row.path,
        recording_id=cut.recording.id,
        channels=cut.channel,
    )


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    # mtime: the same features give the same file, at whatever time it is written.
    with atomic(path) as temporary, temporary.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        for line in lines:
            file.write((json_text(line) + "\n").encode())
