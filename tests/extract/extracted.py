"""Corpora of a few short recordings, and what an extraction wrote, read back form by form."""

import json

import numpy as np
from sounds import write

from speechpress.compressor.data.audio import read_cut
from speechpress.compressor.data.corpus import open_corpus

SECONDS = (0.5, 0.9, 0.9, 0.52, 1.3, 0.51)


def corpus(folder, seconds=SECONDS):
    """Recordings of these lengths, two of them equal, in two folders."""
    for number, length in enumerate(seconds):
        write(folder / ("a" if number % 2 else "b/c") / f"{number}.wav", length, seed=number)
    return folder


def waves(folder):
    return {cut.id: read_cut(cut) for cut in open_corpus(folder).cuts}


def read_index(out, name="index.jsonl"):
    return {row["id"]: row for row in map(json.loads, (out / name).read_text().splitlines())}


def read_back(out, form, layers):
    """(K, T, D) float32 by id, by the library that people would read each form with."""
    rows = read_index(out)
    if form == "npy":
        arrays = {name: np.load(out / row["path"]) for name, row in rows.items()}
        return {name: array if array.ndim == 3 else array[None] for name, array in arrays.items()}
    if form == "safetensors":
        from safetensors.numpy import load_file

        loaded = {name: load_file(out / row["path"]) for name, row in rows.items()}
        return {name: np.stack([arrays[f"layer_{n}"] for n in layers]) for name, arrays in loaded.items()}
    if form == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(out / "features").to_pylist()
        return {row["id"]: np.array([row[f"layer_{n}"] for n in layers], np.float32) for row in table}
    from lhotse import CutSet

    cuts = CutSet.from_file(out / "cuts.jsonl.gz")
    side = {cut.id: cut.features.load() for cut in cuts}
    return {name: np.stack(np.split(array, len(layers), -1)) for name, array in side.items()}
