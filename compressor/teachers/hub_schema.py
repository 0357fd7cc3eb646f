"""What a config.json in transformers' layout may hold before transformers is asked to build anything of it."""

import re
from collections.abc import Mapping
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import Fields, Items, Maybe, Table, Text, Whole, check, shown_value

from ..models.encoder_schema import HUBERT, MAX_LAYERS, WHISPER
from .families import CODE

# Beyond any real config, but short of what would let a hostile one take all memory.
MAX_NUMBER, MAX_LIST = 2**31, 10_000
# Keys that transformers builds as many modules of; a million would be a long wait even without weights.
_COUNTS = re.compile(r"layers$|depth|num_blocks|stages$|num_experts|num_conv_pos_embeddings$")
_COMMON = Fields({"model_type": Text(100)}, {"architectures": Maybe(Items(Text(200)))})
_LIKE_HUBERT = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
INDEX = Fields({"weight_map": Table(Text(255), 1_000_000)})
# Of FeatureExtractors that compute filter banks: sizes of their tables and windows.
EXTRACTOR = Fields(
    {},
    {
        "feature_size": Whole(1, 4096),
        "num_mel_bins": Whole(1, 4096),
        "n_fft": Whole(1, 65_536),
        "hop_length": Whole(1, 65_536),
        "chunk_length": Whole(1, 3600),
        "max_length": Whole(1, 1_000_000),
        "stride": Whole(1, 1000),
    },
)

# Keys that concern other things than the encoder's arithmetic: how to load it, from where, with whose code.
NOT_ITS_OWN = (
    "model_type",
    "architectures",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "_name_or_path",
    "name_or_path",
    "auto_map",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "quantization_config",
    "custom_pipelines",
    "num_labels",
    "id2label",
    "label2id",
    "problem_type",
    "task_specific_params",
    "gradient_checkpointing",
)


def check_config(config: dict[str, Any], shown: str) -> None:
    """Raises SpeechpressError, naming the key, for a value that is not what it must be, or beyond all bounds."""
    if "model_type" not in config and config.get("auto_map"):
        raise SpeechpressError(f"{shown}: says no model_type; {CODE}")
    check(config, _COMMON, shown)
    # transformers would leave loading to another library, and tensors would not be plain floats.
    if config.get("quantization_config") is not None:
        raise SpeechpressError(f"{shown}: quantization_config is set; give the model as it was before it was quantised")
    family = config["model_type"]
    if family in _LIKE_HUBERT:
        check(config, HUBERT, shown)
    if family == "whisper":
        check(config, WHISPER, shown)
    _check_numbers(config, shown, "")


def check_index(index: dict[str, Any], shown: str) -> dict[str, str]:
    """The weight_map of an index of shards."""
    check(index, INDEX, shown)
    return index["weight_map"]


def own_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that make the model; what says how to load it, is left out."""
    return {key: value for key, value in config.items() if key not in NOT_ITS_OWN}


def _check_numbers(value: Any, shown: str, path: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, shown, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if len(value) > MAX_LIST:
            raise SpeechpressError(f"{shown}: {path:.100} has {len(value)} values, but must have at most {MAX_LIST}")
        for item in value:
            _check_numbers(item, shown, path)
    # Not isinstance: True and False are ints too.
    elif type(value) is int:
        most = MAX_LAYERS if _COUNTS.search(path) else MAX_NUMBER
        if abs(value) > most:
            raise SpeechpressError(f"{shown}: {path:.100} is {shown_value(value)}, but must be at most {most}")
