"""A checkpoint on disk: weights, config and lineage, written so that a failed write leaves the previous file whole.

model.safetensors          tensors under HubertModel's names
config.json                a HubertConfig, plus our own EncoderConfig under the key "speechpress"
preprocessor_config.json   what `transformers` needs to feed it
heads.safetensors          prediction heads, only needed to measure fidelity to the teacher
card.json                  lineage: teacher, recipe, data, steps, metrics, versions
metrics.jsonl              one line per logged step
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechpress.runtime.atomic import atomic, cannot_write, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular

from .config import SAMPLE_RATE, EncoderConfig
from .encoder import Encoder

SCHEMA = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.json"


@dataclass
class Checkpoint:
    """A folder opened: where it is, its encoder in eval mode, and its card."""

    path: Path
    encoder: Encoder
    card: dict[str, Any] = field(default_factory=dict)


def read_json(path: Path) -> dict[str, Any]:
    """Raises SpeechpressError when the file is missing or is not a JSON object."""
    check_regular(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpeechpressError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise SpeechpressError(f"{path}: holds {type(value).__name__}, but must hold a JSON object")
    return value


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, atomically. Tensors are moved to the CPU and made contiguous."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            if "I/O" not in str(error) and "IoError" not in str(error):
                raise
            raise cannot_write(path, error) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises SpeechpressError when it is missing, truncated or damaged."""
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, SafetensorError) as error:
        raise SpeechpressError(f"{path}: cannot be read as safetensors ({error}); is it complete?") from error


def sha256(path: Path) -> str:
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write weights, config and preprocessor config so that `HubertModel.from_pretrained(folder)` opens them."""
    config = encoder.config
    write_json(folder / CONFIG, config_document(config))
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE,
            "padding_value": 0.0,
            "padding_side": "right",
            "do_normalize": config.input_norm == "utterance",
            # A GroupNorm over time sees padding, so base models are fed without a mask, as they were trained.
            "return_attention_mask": config.conv_norm == "layer",
        },
    )
    write_tensors(folder / WEIGHTS, encoder.state_dict())


def config_document(config: EncoderConfig) -> dict[str, Any]:
    """config.json: our own numbers, and HubertConfig's where they can say the same."""
    try:
        hubert = config.to_hubert()
    except SpeechpressError:
        hubert = {"model_type": "speechpress"}
    return {**hubert, "dtype": "float32", "speechpress": {"schema": SCHEMA, "encoder": config.to_dict()}}


def read_config(folder: Path) -> EncoderConfig:
    """The encoder of a checkpoint folder, ours or a HubertModel's or Wav2Vec2Model's.

    Raises SpeechpressError when there is none, it was written by a newer version, or is of another sample rate.
    """
    document = read_json(folder / CONFIG)
    own = document.get("speechpress")
    preprocessor = folder / "preprocessor_config.json"
    said = read_json(preprocessor) if preprocessor.exists() else {"do_normalize": False}
    if said.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise SpeechpressError(f"{preprocessor}: the model wants {said['sampling_rate']} Hz, not {SAMPLE_RATE} Hz")
    if own is None:
        try:
            return EncoderConfig.from_hubert(document, normalize_input=said.get("do_normalize", True))
        except KeyError as error:
            raise SpeechpressError(f"{folder / CONFIG}: is no HuBERT-like encoder (no {error})") from error
    if own.get("schema") != SCHEMA:
        raise SpeechpressError(
            f"{folder / CONFIG}: has schema {own.get('schema')}, but this speechpress reads {SCHEMA}; "
            "upgrade with: pip install -U speechpress"
        )
    return EncoderConfig.from_dict(own["encoder"])


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder of a checkpoint folder, in eval mode, float32.

    Raises SpeechpressError when files are missing, damaged, or do not fit each other.
    """
    folder = Path(folder)
    encoder = Encoder(read_config(folder))
    tensors, _ = read_tensors(folder / WEIGHTS)
    # A HubertModel that was made without masking has no mask vector; nothing that we compute uses it.
    tensors.setdefault("masked_spec_embed", torch.zeros(encoder.config.width))
    try:
        encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise SpeechpressError(f"{folder / WEIGHTS}: does not fit {folder / CONFIG}: {error}") from error
    return encoder.eval()


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Open a checkpoint folder; a HubertModel's own folder has an empty card."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise SpeechpressError(f"{folder}: is no checkpoint (it has no {CONFIG}); `compress distill` makes one")
    card = read_json(folder / CARD) if (folder / CARD).exists() else {}
    return Checkpoint(folder, load_encoder(folder), card)


def newest_checkpoint(runs: Path) -> Path:
    """The checkpoint folder under `runs` that was written last.

    Raises SpeechpressError when there is none.
    """
    weights = [path for path in runs.glob(f"**/{WEIGHTS}") if (path.parent / CONFIG).exists()]
    if not weights:
        raise SpeechpressError(
            f"no checkpoint was named and there is none under {runs}; make one with `compress distill`"
        )
    return max(weights, key=lambda path: path.stat().st_mtime).parent


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
