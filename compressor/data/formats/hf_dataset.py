"""A data set of Hugging Face's `datasets` on disk: what `save_to_disk` writes (Arrow), or Parquet files as on the Hub.

The library itself is not needed, pyarrow is. Arrow as `datasets` writes it holds a sound as it is, so it is read where
it lies; a cell of Parquet costs the unpacking of its row group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import AudioSource

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.regular import check_regular
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..audio import probe
from .cells import CELL, cell_place, check_group, pyarrow
from .entries import Found, by_part, checked_path, chosen, held_cut, labelled

STATE, DICT = "state.json", "dataset_dict.json"
SUFFIXES = (".arrow", ".parquet")
_PARTS = {"bytes", "path"}
_BAD = "write the data set again"


@dataclass(frozen=True)
class _Table:
    """The columns of a file: the sound, the labels, and the names of those labels that are numbers of classes."""

    path: Path
    sound: str
    labels: tuple[str, ...]
    classes: dict[str, list[str]]


def is_dataset(folder: Path) -> bool:
    return any((folder / name).exists() for name in (STATE, DICT)) or bool(_parquet(folder))


def dataset_cuts(path: Path, part: str | None) -> Iterator[Found]:
    """(file:row, cut or why it is left out) for every row of a file, or of one part of a folder.

    Raises:
        SpeechpressError: no such part, no audio in it, or a damaged file.
    """
    arrow = pyarrow(path)
    for file in _files(path, part):
        said = readable_name(file)
        try:
            check_regular(file)
            rows = _arrow_rows(arrow, file) if file.suffix == ".arrow" else _parquet_rows(arrow, file)
            yield from rows
        except (OSError, UnicodeDecodeError, arrow.ArrowException) as error:
            raise SpeechpressError(f"{said}: cannot be read ({str(error)[:200]})") from error


def _parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))


def _files(path: Path, part: str | None) -> list[Path]:
    if not path.is_dir():
        return [path]
    said = readable_name(path)
    if (path / DICT).exists():
        splits = read_json(path / DICT, _BAD).get("splits")
        if not isinstance(splits, list) or not all(map(_is_name, splits)):
            raise SpeechpressError(f"{said}: {DICT} must have a list `splits` of names of folders")
        return _saved(chosen({name: path / name for name in splits}, part, said, "datasets"))
    if (path / STATE).exists():
        return _saved(path)
    return chosen(by_part(_parquet(path)), part, said, "datasets")


def _saved(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `save_to_disk` wrote."""
    listed = read_json(folder / STATE, _BAD).get("_data_files")
    names = [item.get("filename") if isinstance(item, dict) else None for item in listed or ()]
    if not names or not all(map(_is_name, names)):
        raise SpeechpressError(
            f"{readable_name(folder)}: {STATE} must have a list `_data_files` of names of files in it"
        )
    return [folder / str(name) for name in names]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set("/\\\0") & set(name) and len(name) < 256


def _table(arrow: Any, path: Path, schema: Any) -> _Table:
    sounds = [field.name for field in schema if _is_sound(arrow, field.type)]
    if len(sounds) != 1 or len(set(schema.names)) < len(schema.names):
        there = f"{len(sounds)} columns of audio" if sounds else "no column of audio (a struct of bytes and path)"
        raise SpeechpressError(f"{readable_name(path)}: has {there} among {', '.join(schema.names)[:200]}; needs one")
    kinds = arrow.types
    plain = (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_floating, kinds.is_boolean)
    labels = tuple(field.name for field in schema if any(is_kind(field.type) for is_kind in plain))
    return _Table(path, sounds[0], labels, _classes(schema))


def _is_sound(arrow: Any, kind: Any) -> bool:
    if not arrow.types.is_struct(kind) or {kind.field(i).name for i in range(kind.num_fields)} != _PARTS:
        return False
    held = kind.field("bytes").type
    return arrow.types.is_binary(held) or arrow.types.is_large_binary(held)


def _classes(schema: Any) -> dict[str, list[str]]:
    """The names of classes, which `datasets` keeps beside the numbers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {name: [str(item) for item in names] for name, names in found.items() if isinstance(names, list)}


def _arrow_rows(arrow: Any, path: Path) -> Iterator[Found]:
    with arrow.memory_map(str(path)) as file:
        whole = file.read_buffer()
        is_file = whole[:6].to_pybytes() == b"ARROW1" if whole.size >= 6 else False
        source = arrow.BufferReader(whole)
        reader = arrow.ipc.open_file(source) if is_file else arrow.ipc.open_stream(source)
        table = _table(arrow, path, reader.schema)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        row = 0
        for batch in batches:
            # A damaged file must not lead out of the memory it lies in.
            batch.validate(full=True)
            held = batch.column(table.sound).field("bytes")
            places = _places(arrow, held, whole, readable_name(path))
            for index, (begin, end) in enumerate(places):
                source = AudioSource("shar", [], f"{path}:{begin}:{end - begin}")
                yield _row(table, batch, index, row, held[index], source)
                row += 1


def _places(arrow: Any, held: Any, whole: Any, said: str) -> list[tuple[int, int]]:
    """Where each of some bytes begins and ends in the file that they were mapped from."""
    _, offsets, data = held.buffers()
    if data is None:
        return [(0, 0)] * len(held)
    if not whole.address <= data.address <= whole.address + whole.size - data.size:
        raise SpeechpressError(f"{said}: is compressed, so its sounds cannot be read where they lie")
    wide = np.int64 if arrow.types.is_large_binary(held.type) else np.int32
    ends = np.frombuffer(offsets, wide)[held.offset : held.offset + len(held) + 1].astype(np.int64)
    return list(pairwise((ends + (data.address - whole.address)).tolist()))


def _parquet_rows(arrow: Any, path: Path) -> Iterator[Found]:
    with arrow.parquet.ParquetFile(str(path)) as file:
        table = _table(arrow, path, file.schema_arrow)
        leaf = _leaf(file.schema, f"{table.sound}.bytes")
        row = 0
        for group in range(file.num_row_groups):
            check_group(file.metadata, group, readable_name(path))
            within = 0
            read = file.read_row_group(group, columns=[table.sound, *table.labels])
            read.validate(full=True)
            for batch in read.to_batches():
                for index, blob in enumerate(batch.column(table.sound).field("bytes")):
                    size_bytes = len(blob.as_buffer()) if blob.is_valid else 0
                    place = cell_place(path, leaf, group, within, size_bytes)
                    yield _row(table, batch, index, row, blob, AudioSource(CELL, [], place))
                    row, within = row + 1, within + 1


def _leaf(schema: Any, path: str) -> int:
    return next(index for index in range(len(schema)) if schema.column(index).path == path)


def _row(table: _Table, batch: Any, index: int, row: int, blob: Any, source: AudioSource) -> Found:
    where, cut_id = f"{readable_name(table.path)}:{row}", f"{readable_name(table.path.name)}/{row}"
    labels = {name: said for name in table.labels if (said := _said(table, batch.column(name)[index], name))}
    if blob.is_valid:
        return held_cut(bytes(blob.as_buffer()), where, cut_id, source, labels)
    named = batch.column(table.sound).field("path")[index].as_py()
    try:
        path = table.path.parent / checked_path(str(named or ""), where, inside=True)
        return where, labelled(probe(str(path), cut_id).to_cut(), labels)
    except UnreadableAudio as error:
        return where, Skipped(where, error.skipped.reason)


def _said(table: _Table, value: Any, name: str) -> str:
    """A label as text; "" for none."""
    said = value.as_py()
    names = table.classes.get(name)
    if names and isinstance(said, int) and 0 <= said < len(names):
        return names[said]
    return "" if said is None else str(said)
