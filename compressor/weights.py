"""What every reader of a foreign model hands over: a config and tensors under `transformers`' names."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

# Families whose layers are exactly our `Encoder`.
HUBERT_LIKE = ("hubert", "wav2vec2", "unispeech", "unispeech-sat")

_PREFIX = re.compile(r"^(hubert|wav2vec2|wavlm|data2vec_audio|unispeech|unispeech_sat)\.")
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
    family's config values, `tensors` its tensors. `normalize_input`: it wants waveforms of zero mean and unit variance.
    `supervised`: it was trained on transcripts or labels. `files` are the weights files. `folder` is set when a feature
    extractor may lie there.
    """

    format: str
    family: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    normalize_input: bool = False
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    supervised: bool = False
    folder: Path | None = None


def hubert_names(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under HubertModel's names without prefix and heads, in float32, and the names that are none of these."""
    named, unknown = {}, []
    for key, tensor in tensors.items():
        name = modern_name(_PREFIX.sub("", key))
        if name.startswith(_ENCODER):
            named[name] = tensor.float()
        elif not _HEADS.match(name):
            unknown.append(key)
    return named, unknown


def modern_name(name: str) -> str:
    """The name that torch's weight_norm parametrization gives, for files that still have weight_g and weight_v."""
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )
