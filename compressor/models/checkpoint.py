"""A checkpoint on disk: weights, config and lineage, written so that a failed write leaves the previous file whole.

model.safetensors          tensors under HubertModel's names
config.json                a HubertConfig, plus our own EncoderConfig under the key "speechpress"
preprocessor_config.json   what `transformers` needs to feed it
heads.safetensors          prediction heads, only needed to measure fidelity to the teacher
modeling_speechpress.py    only where HubertModel cannot be this encoder: lets `transformers` open it, see `auto_model`
metrics.jsonl              one line per logged step
heads/NAME.safetensors     heads that answer something, see `heads.files`
card.json                  lineage: teacher, recipe, data, steps, metrics, versions; last, so that it is the seal
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechpress.runtime.atomic import atomic, cannot_write, write_json, write_text
from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.ids import cached_id
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.json_file import read_json
from speechpress.runtime.parts import entries, is_part
from speechpress.runtime.regular import open_regular

from .config import SAMPLE_RATE, SCHEMA, TRANSFORMERS_EPS, EncoderConfig, read_own
from .document_schema import Card, read_card
from .encoder import Encoder
from .fitting import check_fit
from .preprocessor import read_preprocessor, say

MAX_HEADER_BYTES = 16 * 2**20  # of a safetensors file; that of the largest speech encoders is 0.2 MB


WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.json"


MODEL_TYPE, MODEL_CODE = "speechpress", "modeling_speechpress.py"


AUTO_MAP = {f"Auto{kind}": f"{MODEL_CODE.removesuffix('.py')}.Speechpress{kind}" for kind in ("Config", "Model")}


_CODE = '''"""Opens this checkpoint: transformers.AutoModel.from_pretrained(FOLDER, trust_remote_code=True)."""

try:
    from speechpress.compressor.teachers.auto_model import SpeechpressConfig, SpeechpressModel
except ImportError as error:
    raise ImportError(
        f"this checkpoint is of speechpress\'s own kind, which transformers alone cannot run ({error}). "
        "Install it with: pip install speechpress"
    ) from error

__all__ = ["SpeechpressConfig", "SpeechpressModel"]
'''


STATE = "resume.safetensors"  # of a run that is not finished, see `resume`


CLUSTERS = "clusters.safetensors"  # of a run that was taught units: their centres, and the heads that tell them


SEAL = (CONFIG, CARD)  # written after all else, in this order


OURS = frozenset(
    [
        *(WEIGHTS, CONFIG, CARD, MODEL_CODE, "preprocessor_config.json", "heads.safetensors", "quantize.json"),
        *("recipe.yaml", "metrics.jsonl", "loss.png", STATE, CLUSTERS, "eval.json"),
    ]
)


@dataclass
class Checkpoint:
    """A folder opened: where it is, its encoder in eval mode, and its card."""

    path: Path
    encoder: Encoder
    card: Card = field(default_factory=lambda: Card())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, atomically. Tensors are moved to the CPU and made contiguous."""
    # save_file refuses tensors whose numbers do not lie in one piece, such as transposed ones.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            # "format" as transformers itself writes it into its files.
            save_file(plain, temporary, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            # safetensors has one class for all errors; a full disk is the user's to mend, all else is a bug.
            if "I/O" not in str(error) and "IoError" not in str(error):
                raise
            raise cannot_write(path, error) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises SpeechpressError when it is missing, truncated or damaged."""
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file's header; raises SpeechpressError as `read_tensors` does."""
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no dict
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def check_header(path: Path) -> None:
    """Raises OSError when a safetensors file asks for a header that would fill the memory."""
    with open_regular(path) as file:
        # A damaged or hostile file can claim any length in its first 8 bytes; nobody may try to read so much.
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise OSError(f"its header would have {length:,} bytes")


def _no_tensors(path: Path, error: Exception) -> SpeechpressError:
    return SpeechpressError(f"{path}: cannot be read as safetensors ({error}); is it complete?")


def sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write weights, config and preprocessor config so that `transformers` opens them.

    With `HubertModel.from_pretrained(folder)` where that can be this encoder, else by a file of code, see `auto_model`.
    """
    config = encoder.config
    document = config_document(config)
    write_json(folder / CONFIG, document)
    if document["model_type"] == MODEL_TYPE:
        write_model_code(folder)
    else:
        # The checkpoint that is overwritten may have been of the other kind and have left its code here.
        (folder / MODEL_CODE).unlink(missing_ok=True)
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


def write_model_code(folder: Path) -> None:
    """Write the file that `AUTO_MAP` names."""
    write_text(folder / MODEL_CODE, _CODE)


def config_document(config: EncoderConfig) -> dict[str, Any]:
    """config.json: our own numbers, and HubertConfig's where they can say the same."""
    try:
        hubert = config.to_hubert()
    except SpeechpressError:
        # As "hubert", transformers would take it for a HubertModel, which has other tensors and computes otherwise.
        hubert = {"model_type": MODEL_TYPE, "architectures": ["SpeechpressModel"], "auto_map": AUTO_MAP}
    return {**hubert, "dtype": "float32", "speechpress": {"schema": SCHEMA, "encoder": config.to_dict()}}


def read_config(folder: Path) -> EncoderConfig:
    """The encoder of a checkpoint folder, ours or a HubertModel's or Wav2Vec2Model's.

    Raises SpeechpressError when there is none, it was written by a newer version, or is of another sample rate.
    """
    path = folder / CONFIG
    document = read_json(path)
    own = document.get("speechpress")
    asked = read_preprocessor(folder)
    if own is None:
        say(str(folder), asked.doubts)
        try:
            # Another tool's folder is fed by the Hugging Face extractor, so its epsilon counts; ours say their own.
            return EncoderConfig.from_hubert(document, asked.normalize, TRANSFORMERS_EPS, str(path))
        except KeyError as error:
            raise SpeechpressError(f"{path}: is not a HuBERT-like encoder (no {error})") from error
    return read_own(own, str(path))


def load_encoder(folder: str | Path) -> Encoder:
    """Load the encoder of a checkpoint folder, or of a checkpoint on the Hub (USER/NAME), in eval mode and float32.

    Raises SpeechpressError if files are missing, damaged, or do not fit each other.
    """
    folder = local_folder(folder, CHECKPOINT)
    config = read_config(folder)
    # Before Encoder(config): a config that asks for too much would take the memory before anything could complain.
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
    """Open a checkpoint folder, or one that was pushed to the Hub (USER/NAME).

    A HubertModel's own folder, which another tool wrote, has an empty card.

    Raises SpeechpressError when it is none, or was not written to its end.
    """
    folder = local_folder(folder, CHECKPOINT)
    check_whole(folder)
    card = read_card(folder / CARD) if (folder / CARD).exists() else {}
    return Checkpoint(folder, load_encoder(folder), card)


def check_whole(folder: Path) -> None:
    """Raises SpeechpressError for what is no checkpoint, or one that was not written to its end."""
    if is_bundle(folder):
        raise SpeechpressError(
            f"{folder}: is a bundle, whose program is finished; name the checkpoint that it was exported from"
        )
    if not folder.exists():
        raise SpeechpressError(f"{folder}: there is no such folder; `compress distill` makes a checkpoint")
    # Asked before the questions below, which advise to make a checkpoint: this run can be gone on with.
    if (folder / STATE).is_file() and not (folder / CARD).is_file():
        raise SpeechpressError(
            f"{folder}: is the folder of a run that was interrupted before it had a checkpoint; continue it with "
            "the options that it was started with, and --resume"
        )
    if not (folder / CONFIG).is_file():
        raise SpeechpressError(f"{folder}: is not a checkpoint (it has no {CONFIG}); `compress distill` makes one")
    if not (folder / CARD).is_file() and "speechpress" in read_json(folder / CONFIG):
        raise SpeechpressError(
            f"{folder}: is not a checkpoint, because it has no {CARD}, which is written last: the command that wrote "
            "it was stopped, or `compress convert` made it for other tools. Run that command again, with --overwrite "
            "or another --out, or name the checkpoint itself"
        )


def is_remains(folder: Path) -> bool:
    """Whether all that is in a folder is what a command that was killed can have left of a checkpoint.

    Another tool's model has files of the same names, but no config of ours.
    """
    found = {path.name for path in entries(folder) if path.is_file()}
    if CARD in found or len(found) < len(entries(folder)) or not found <= OURS:
        return False
    if CONFIG not in found:
        return WEIGHTS not in found
    # As text, not as JSON: a damaged config is to be told from another tool's as well.
    return '"speechpress"' in (folder / CONFIG).read_text(encoding="utf-8", errors="replace")


def newest_checkpoint(runs: Path) -> Path:
    """The checkpoint folder under `runs` that was written last.

    Raises SpeechpressError when there is none.
    """
    # A folder that is still being written has a name of its own until it is whole; it is no result yet.
    found = (path for path in runs.glob(f"**/{WEIGHTS}") if not is_part(path.relative_to(runs)))
    weights = [path for path in found if all((path.parent / name).exists() for name in SEAL)]
    if not weights:
        raise SpeechpressError(f"no checkpoint given and there is none under {runs}; make one with `compress distill`")
    return max(weights, key=lambda path: path.stat().st_mtime).parent


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def ancestry(start: str) -> list[dict[str, Any]]:
    """The parents that a run gets from its `student.init`; none for "teacher" and "random".

    Returns:
        [{"path", "sha256" (of its weights), "recipe", "steps", "prune"}], the nearest first.
    """
    folder = Path(start) if start in ("teacher", "random") else local_folder(start, CHECKPOINT)
    if start in ("teacher", "random") or not (folder / WEIGHTS).is_file():
        return []
    card = read_card(folder / CARD) if (folder / CARD).is_file() else {}
    recipe = card.get("recipe")
    own = {
        "path": cached_id(folder) or str(folder),
        "sha256": sha256(folder / WEIGHTS),
        "recipe": recipe.get("name") if isinstance(recipe, dict) else None,
        "steps": card.get("steps"),
        "prune": card.get("prune"),
    }
    return [own, *(card.get("parents") or [])]


def inherited_pruning(ancestors: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What was pruned from the checkpoint that a run starts from."""
    return ancestors[0]["prune"] if ancestors else None


HEADS = "heads.safetensors"
