"""A checkpoint on disk: weights, config and lineage, written so that a failed write leaves the previous file whole.

model.safetensors          tensors under HubertModel's names
config.json                a HubertConfig, plus our own EncoderConfig under the key "speechpress"
preprocessor_config.json   what `transformers` needs to feed it
heads.safetensors          prediction heads, only needed to measure fidelity to the teacher
card.json                  lineage: teacher, recipe, data, steps, metrics, versions
metrics.jsonl              one line per logged step
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechpress.runtime.atomic import atomic, cannot_write, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.regular import open_regular
from speechpress.runtime.schema import check

from .config import SAMPLE_RATE, SCHEMA, EncoderConfig, read_own
from .document_schema import read_card
from .encoder import Encoder
from .encoder_schema import PREPROCESSOR
from .fitting import check_fit

MAX_HEADER_BYTES = 16 * 2**20  # of a safetensors file; that of the largest speech encoders is 0.2 MB
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.json"


@dataclass
class Checkpoint:
    """A folder opened: where it is, its encoder in eval mode, and its card."""

    path: Path
    encoder: Encoder
    card: dict[str, Any] = field(default_factory=dict)


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
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file's header; raises SpeechpressError as `read_tensors` does."""
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no dict
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def _check_header(path: Path) -> None:
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise OSError(f"its header would have {length:,} bytes")


def _no_tensors(path: Path, error: Exception) -> SpeechpressError:
    return SpeechpressError(f"{path}: cannot be read as safetensors ({error}); is it complete?")


def sha256(path: Path) -> str:
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
    path, preprocessor = folder / CONFIG, folder / "preprocessor_config.json"
    document = read_json(path)
    own = document.get("speechpress")
    said = read_json(preprocessor) if preprocessor.exists() else {"do_normalize": False}
    check(said, PREPROCESSOR, str(preprocessor))
    if said.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise SpeechpressError(f"{preprocessor}: the model wants {said['sampling_rate']} Hz, not {SAMPLE_RATE} Hz")
    if own is None:
        try:
            return EncoderConfig.from_hubert(document, said.get("do_normalize", True), str(path))
        except KeyError as error:
            raise SpeechpressError(f"{path}: is no HuBERT-like encoder (no {error})") from error
    return read_own(own, str(path))


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder of a checkpoint folder, in eval mode, float32.

    Raises SpeechpressError when files are missing, damaged, or do not fit each other.
    """
    folder = Path(folder)
    config = read_config(folder)
    check_fit(config, read_shapes(folder / WEIGHTS), f"{folder / WEIGHTS}: does not fit {folder / CONFIG}")
    encoder = Encoder(config)
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
    card = read_card(folder / CARD) if (folder / CARD).exists() else {}
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
