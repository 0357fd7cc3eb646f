"""Models in transformers' format: a local folder or a hub id, read into `Weights`."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import check

from .bundles import torchaudio_problem
from .checkpoint import read_json, read_tensors
from .config import SAMPLE_RATE
from .encoder_schema import PREPROCESSOR
from .foreign import read_foreign
from .hub_schema import check_config, check_index
from .weights import Weights

HUB_TIMEOUT_S = 5.0
SUPERVISED_FAMILIES = ("whisper", "moonshine", "speech_to_text")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_NOT_HUB_SUFFIXES = (".pt", ".ckpt", ".bin", ".safetensors", ".json", ".yaml", ".yml")


def import_transformers() -> ModuleType:
    """transformers, kept working when torchaudio is installed but broken. Import it through here, not directly."""
    torchaudio_problem()
    import transformers

    return transformers


def fetch(source: str) -> Path:
    """The local folder of hub model `source`, from the cache or downloaded.

    Raises:
        SpeechpressError: within seconds, when it is not there or the hub cannot be reached; says what was tried.
    """
    tried = [f"folder or file {Path(source).expanduser()} (not there)"]
    if not looks_like_hub_id(source):
        tried.append("not tried on the Hugging Face hub: it is a path, not an id such as facebook/hubert-base-ls960")
        raise _not_found(source, tried)
    import_transformers()
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    cached = _from_cache(source)
    if cached is not None:
        return cached
    tried.append("the Hugging Face cache (not in it)")
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        tried.append("the hub was not asked, because HF_HUB_OFFLINE is set")
        raise _not_found(source, tried)
    try:
        # One request without retries: someone without network gets the answer at once.
        siblings = huggingface_hub.HfApi().model_info(source, timeout=HUB_TIMEOUT_S).siblings or []
        wanted = _wanted_files([sibling.rfilename for sibling in siblings])
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=wanted))
    except HfHubHTTPError as error:
        tried.append(f"{huggingface_hub.constants.ENDPOINT}/{source} ({str(error).strip().splitlines()[0]})")
    except Exception as error:
        # Network trouble comes as another exception type with every HTTP library that huggingface_hub has used.
        tried.append(f"{huggingface_hub.constants.ENDPOINT}/{source} (cannot be reached: {error})")
    raise _not_found(source, tried)


def looks_like_hub_id(source: str) -> bool:
    return _HUB_ID.fullmatch(source) is not None and not source.endswith(_NOT_HUB_SUFFIXES)


def _not_found(source: str, tried: list[str]) -> SpeechpressError:
    return SpeechpressError(
        f"teacher {source!r} was not found. Tried: {'; '.join(tried)}. Give the path of a local folder or checkpoint "
        "file, or use --starter, which needs no download"
    )


def _from_cache(source: str) -> Path | None:
    """The cached folder, when it is complete enough to be read."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(source, local_files_only=True))
    except (OSError, HFValidationError):
        return None
    return folder if (folder / "config.json").is_file() and weights_files(folder) else None


def _wanted_files(names: list[str]) -> list[str]:
    """Configs, and the weights in one format: safetensors before pickles."""
    weights = [name for name in names if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?", name)]
    if not weights:
        weights = [name for name in names if re.fullmatch(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?", name)]
    return ["config.json", "preprocessor_config.json", *weights]


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
        if name == "model.safetensors" and len(single := sorted(folder.glob("*.safetensors"))) == 1:
            return single
    return []


def read_folder(folder: Path) -> Weights:
    """A model folder in transformers' layout.

    Raises:
        SpeechpressError: config or weights are missing, damaged, or made for another sample rate.
    """
    if not (folder / "config.json").is_file():
        raise SpeechpressError(f"{folder}: has no config.json, so it is no model folder")
    config = read_json(folder / "config.json")
    check_config(config, str(folder / "config.json"))
    files = weights_files(folder)
    if not files:
        raise SpeechpressError(f"{folder}: has no weights (looked for model.safetensors and pytorch_model.bin)")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)[0] if file.suffix == ".safetensors" else _read_bin(file)
    normalize, notes = _preprocessor(folder) if config["model_type"] != "whisper" else (False, ())
    tuned = any("For" in name and "PreTraining" not in name for name in config.get("architectures") or ())
    return Weights(
        format="transformers",
        family=config["model_type"],
        config=config,
        tensors=tensors,
        normalize_input=normalize,
        files=tuple(files),
        notes=notes,
        supervised=tuned or config["model_type"] in SUPERVISED_FAMILIES,
        folder=folder,
    )


def _read_bin(file: Path) -> dict[str, Tensor]:
    tensors = read_foreign(file)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise SpeechpressError(f"{file}: should hold nothing but tensors")
    return tensors


def _preprocessor(folder: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether the waveform is normalised, as preprocessor_config.json says, and a note when there is none."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return False, ("no preprocessor_config.json: the waveform is taken as it is",)
    values: dict[str, Any] = read_json(path)
    check(values, PREPROCESSOR, str(path))
    rate = values.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise SpeechpressError(f"{path}: the model wants {rate} Hz, but teachers must take {SAMPLE_RATE} Hz")
    return bool(values.get("do_normalize", True)), ()
