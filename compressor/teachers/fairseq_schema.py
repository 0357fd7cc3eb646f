"""What configs inside checkpoints of fairseq, unilm and s3prl may be, and whether they fit the tensors beside them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import Fields, Flag, Maybe, Real, Text, Whole, check

from ..models.encoder_schema import MAX_LAYERS, MAX_WIDTH

_DROPOUT = Real(0, 1)
# Only what is read here: the configs hold many more keys, and others in every version.
MODEL = Fields(
    {},
    {
        "_name": Maybe(Text(100)),
        "arch": Maybe(Text(100)),
        "layer_type": Text(100),
        "conv_feature_layers": Text(2000),
        "extractor_conv_feature_layers": Text(2000),
        "extractor_mode": Text(choices=("default", "layer_norm")),
        "task_emb_type": Text(100),
        "attention_type": Text(100),
        # Bounds far beyond published models: torch's restricted unpickler does not keep a file from asking for all
        # memory.
        "encoder_layers": Whole(1, MAX_LAYERS),
        "encoder_embed_dim": Whole(1, MAX_WIDTH),
        "encoder_ffn_embed_dim": Whole(1, 1_000_000),
        "encoder_attention_heads": Whole(1, 4096),
        "conv_bias": Flag(),
        "layer_norm_first": Flag(),
        "normalize": Flag(),
        "conv_pos": Whole(1, 8192),
        "conv_pos_groups": Whole(1, MAX_WIDTH),
        "pos_conv_depth": Whole(1, 64),
        "dropout": _DROPOUT,
        "attention_dropout": _DROPOUT,
        "activation_dropout": _DROPOUT,
        "num_buckets": Whole(1, 100_000),
        "max_distance": Whole(1, 1_000_000),
    },
)
TASK = Fields({}, {"normalize": Flag()})


def check_model(config: Any, path: Path, section: str) -> dict[str, Any]:
    """A model's config; raises SpeechpressError for what it cannot be."""
    check(config, MODEL, f"{path}: {section}")
    return config


def check_task(config: Any, path: Path, section: str) -> dict[str, Any]:
    """A task's config, of which only the normalisation is read; None stands for an empty one."""
    check({} if config is None else config, TASK, f"{path}: {section}")
    return config or {}


def check_tensors(tensors: Any, path: Path, section: str) -> dict[str, Any]:
    """What should be tensors by their names; whether each of them is one, is seen when it is used."""
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise SpeechpressError(f"{path}: {section} holds no tensors by their names")
    return tensors


def check_sizes(values: dict[str, Any], tensors: dict[str, Any], path: Path) -> None:
    """Raises SpeechpressError when the tensors are not of the width and FFN width that the config says."""
    for name, axis, key, said in (
        ("encoder.layer_norm.weight", 0, "encoder_embed_dim", values["hidden_size"]),
        ("encoder.layers.0.fc1.weight", 0, "encoder_ffn_embed_dim", values["intermediate_size"]),
    ):
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor) or tensor.ndim <= axis:
            raise SpeechpressError(f"{path}: has no {name}, which every such model has")
        if tensor.shape[axis] != said:
            raise SpeechpressError(f"{path}: {key} is {said}, but {name} is {list(tensor.shape)}")
