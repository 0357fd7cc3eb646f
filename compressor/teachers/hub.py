"""Models in transformers' format: a local folder or a hub id, read into `Weights`."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..models.checkpoint import read_json, read_tensors
from ..models.config import TRANSFORMERS_EPS
from ..models.preprocessor import Preprocessor, read_preprocessor
from .families import family_of
from .hub_schema import check_config, check_index
from .pickles import read_foreign
from .torchaudio import torchaudio_problem
from .weights import Weights, unwrapped


def import_transformers() -> ModuleType:
    """transformers, kept working when torchaudio is installed but broken. Import it through here, not directly."""
    # Before the import: transformers imports torchaudio wherever it is installed, and fails with it.
    torchaudio_problem()
    import transformers

    return transformers


@contextlib.contextmanager
def hushed_transformers() -> Iterator[Any]:
    """transformers, while what it and its imports say is kept back: progress bars, tables, parts that they miss.

    What of it a person should know, callers say themselves.
    """
    transformers, previous = import_transformers(), logging.root.manager.disable
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    logging.disable(max(previous, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield transformers
    finally:
        logging.disable(previous)
        if shown:
            bars.enable_progress_bar()


def weights_files(folder: Path) -> list[Path]:
    """The weights files of a folder: safetensors before pickles, whole before sharded; empty when there are none."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            # Only the last part of each name: an index must not lead out of its folder.
            named = check_index(read_json(index), str(index))
            shards = sorted({Path(shard).name for shard in named.values()})
            return [folder / shard for shard in shards]
        # A single file of another name is no guess; of several, nothing says which one is the model.
        if name == "model.safetensors" and len(single := _other_safetensors(folder)) == 1:
            return single
    return []


def _other_safetensors(folder: Path) -> list[Path]:
    """Files that may hold a whole model; adapters (MMS has one per language) hold a small part of one."""
    return [path for path in sorted(folder.glob("*.safetensors")) if not path.name.startswith("adapter")]


def read_folder(folder: Path) -> Weights:
    """A model folder in transformers' layout.

    Raises:
        SpeechpressError: config or weights are missing, damaged, or made for another sample rate.
    """
    if not (folder / "config.json").is_file():
        raise SpeechpressError(f"{folder}: has no config.json, so it is not a model folder")
    config = read_json(folder / "config.json")
    check_config(config, str(folder / "config.json"))
    files = weights_files(folder)
    if not files:
        adapters = sorted(path.name for path in folder.glob("adapter*"))
        only = f"; {adapters[0]} is an adapter, no whole model" if adapters else ""
        raise SpeechpressError(f"{folder}: has no weights (looked for model.safetensors and pytorch_model.bin){only}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)[0] if file.suffix == ".safetensors" else _read_bin(file)
    family = family_of(config["model_type"], config)
    tensors = unwrapped(tensors, str(files[0]), held=bool(family.prefix))
    # Whisper's log-mel is computed here, so its preprocessor file is not asked.
    asked = read_preprocessor(folder) if config["model_type"] != "whisper" else Preprocessor(normalize=False)
    tuned = any("For" in name and "PreTraining" not in name for name in config.get("architectures") or ())
    return Weights(
        format="transformers",
        family=config["model_type"],
        config=config,
        tensors=tensors,
        normalize_input=asked.normalize,
        eps=TRANSFORMERS_EPS,
        doubts=asked.doubts,
        files=tuple(files),
        supervised=tuned or family.supervised,
        folder=folder,
    )


def _read_bin(file: Path) -> dict[str, Tensor]:
    tensors = read_foreign(file)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise SpeechpressError(f"{file}: should hold nothing but tensors")
    return tensors
