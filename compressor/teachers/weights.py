"""What every reader of a foreign model hands over: a config and tensors under `transformers`' names."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..models.config import FAIRSEQ_EPS
from .families import PREFIXES

# What training wraps around a model: torch.compile, FSDP and activation checkpointing anywhere in a name, DDP and
# classes that hold the model as an attribute before it.
_WRAPPED = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_HELD = re.compile(r"^(?:module\.|model\.)+")
_PARALLEL = re.compile(r"^(?:module\.)+")

_ENCODER = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")

# What pretraining and fine-tuning put beside the encoder; it has no part in the hidden states.
_HEADS = re.compile(
    r"^(lm_head|quantizer|project_q|project_hid|final_proj|projector|classifier|objective|feature_extractor_proj"
    r"|layer_weights|adapter|label_embs_concat|speaker_proj|label_embeddings_concat|tdnn|dropout_features)(\.|$)"
)


@dataclass(frozen=True)
class Weights:
    """A model read from anywhere.

    `format` says where from ("transformers", "fairseq", ...), `family` is transformers' model_type, `config` holds that
    family's config values, `tensors` its tensors. `normalize_input`: it wants waveforms of zero mean and unit variance,
    where `eps` is added to the variance; `doubts` says what of that was guessed. `supervised`: it was trained on
    transcripts or labels. `files` are the weights files. `folder` is set when a feature extractor may lie there.
    """

    format: str
    family: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    normalize_input: bool = False
    # fairseq adds 1e-5, transformers' extractor 1e-7: a factor of three in loudness for very soft speech.
    eps: float = FAIRSEQ_EPS
    doubts: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    supervised: bool = False
    folder: Path | None = None


def hubert_names(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under HubertModel's names without prefix and heads, in float32, and the names that are none of these."""
    named, unknown = {}, []
    for key, tensor in tensors.items():
        name = modern_name(_without_prefix(key))
        if name.startswith(_ENCODER):
            named[name] = tensor.float()
        elif not is_head(name):
            unknown.append(key)
    return named, unknown


def is_head(name: str) -> bool:
    """Whether a tensor belongs to what stands on an encoder, and not to it."""
    return _HEADS.match(_without_prefix(name)) is not None


def unwrapped(tensors: dict[str, Any], where: str, held: bool = True) -> dict[str, Any]:
    """The same tensors under the names that they have in the model alone.

    `held`: a leading "model." is the name of an attribute that holds the model, and no part of it.

    Raises SpeechpressError when two names then are the same: the file holds several models.
    """
    outer = _HELD if held else _PARALLEL
    names = {key: outer.sub("", _WRAPPED.sub("", key)) for key in tensors}
    if len(set(names.values())) < len(names):
        seen: dict[str, str] = {}
        for key, name in names.items():
            if name in seen:
                raise SpeechpressError(
                    f"{where}: holds both {seen[name]} and {key}, which are the same tensor of a wrapped model; "
                    "save the one model alone"
                )
            seen[name] = key
    return {names[key]: tensor for key, tensor in tensors.items()}


def _without_prefix(name: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
    return name.removeprefix(prefix)


def modern_name(name: str) -> str:
    """The name that torch's weight_norm parametrization gives, for files that still have weight_g and weight_v."""
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )
