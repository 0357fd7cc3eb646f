"""What the numbers of an encoder's config may be: our own config.json, a recipe's `student`, and HubertConfig's names.

The bounds are far beyond any encoder that was ever trained; they keep a config from asking for all the memory there is.
"""

from collections.abc import Mapping
from typing import Any

from speechpress.runtime.schema import Fields, Flag, Items, Kind, Maybe, Real, Text, Whole

CONV_NORMS = ("group", "layer", "frame", "static")
INPUT_NORMS = ("none", "utterance", "running")
NORMS = ("layer", "rms", "dyt")
FRONT_ENDS = ("conv", "patch", "mel")
MAX_LAYERS, MAX_CONV_LAYERS = 1000, 64
MAX_WIDTH = 65_536
MAX_PARAMETERS = 4_000_000_000  # 16 GB; twice the largest speech encoder that is published
MAX_HOP_SAMPLES = 16_000  # a frame a second

_SIZE, _KERNEL = Whole(1, MAX_WIDTH), Whole(1, 8192)
# An epsilon of 0 would divide by zero on digital silence.
_DROPOUT, _EPS = Real(0, 1), Real(high=1, above=0)


def _front_end(kind: Kind) -> Items:
    return Items(kind, 1, MAX_CONV_LAYERS)


# The fields of EncoderConfig.
ENCODER: Mapping[str, Kind] = {
    "front_end": Text(choices=FRONT_ENDS),
    "mel_bins": Whole(8, 128),
    "conv_channels": _front_end(_SIZE),
    "conv_kernels": _front_end(_KERNEL),
    "conv_strides": _front_end(Whole(1, MAX_HOP_SAMPLES)),
    "conv_bias": Flag(),
    "conv_norm": Text(choices=CONV_NORMS),
    "projection_norm": Flag(),
    "width": _SIZE,
    "head_dim": Whole(1, 4096),
    "num_heads": Items(Whole(1, 4096), 0, MAX_LAYERS),
    "ffn_widths": Items(Whole(1, 1_000_000), 0, MAX_LAYERS),
    "pos_conv_kernel": _KERNEL,
    "pos_conv_groups": _SIZE,
    "pos_conv_future": Maybe(Whole(0, 8192)),
    "left_context": Maybe(Whole(1, 1_000_000)),
    "lag_frames": Whole(0, 1000),
    "projection": Flag(),
    "time_reduction": Whole(1, 1000),
    "reuse_attention": Items(Flag(), 0, MAX_LAYERS),
    "distinct_layers": Maybe(Whole(1, MAX_LAYERS)),
    "norm": Text(choices=NORMS),
    "pre_norm": Flag(),
    "input_norm": Text(choices=INPUT_NORMS),
    "dropout": _DROPOUT,
    "attention_dropout": _DROPOUT,
    "activation_dropout": _DROPOUT,
    "layer_norm_eps": _EPS,
    "input_norm_eps": _EPS,
}
OWN = Fields({}, ENCODER)
SECTION = Fields({"schema": Whole(1), "encoder": Fields({})})  # "speechpress" of config.json
PREPROCESSOR = Fields({}, {"sampling_rate": Whole(1, 10_000_000), "do_normalize": Maybe(Flag())})

# What is read of a HubertConfig and its kin.
# conv_pos_kernel_size is data2vec's, the buckets are WavLM's; the rest is shared by the whole family.
HUBERT = Fields(
    {},
    {
        "conv_dim": _front_end(_SIZE),
        "conv_kernel": _front_end(_KERNEL),
        "conv_stride": _front_end(Whole(1, MAX_HOP_SAMPLES)),
        "conv_bias": Flag(),
        "conv_pos_batch_norm": Flag(),
        "conv_pos_kernel_size": Whole(1, 8192),
        "hidden_act": Text(100),
        "feat_extract_activation": Text(100),
        "feat_extract_norm": Text(choices=("group", "layer")),
        "feat_proj_layer_norm": Flag(),
        "do_stable_layer_norm": Flag(),
        "hidden_size": _SIZE,
        "num_hidden_layers": Whole(1, MAX_LAYERS),
        "num_attention_heads": Whole(1, 4096),
        "intermediate_size": Whole(1, 1_000_000),
        "num_conv_pos_embeddings": _KERNEL,
        "num_conv_pos_embedding_groups": _SIZE,
        "num_buckets": Whole(1, 100_000),
        "max_bucket_distance": Whole(1, 1_000_000),
        "hidden_dropout": _DROPOUT,
        "attention_dropout": _DROPOUT,
        "activation_dropout": _DROPOUT,
        "layerdrop": _DROPOUT,
        "layer_norm_eps": _EPS,
    },
)

WHISPER = Fields(
    {},
    {
        "d_model": Whole(2, MAX_WIDTH),
        "encoder_layers": Whole(1, MAX_LAYERS),
        "encoder_attention_heads": Whole(1, 4096),
        "encoder_ffn_dim": Whole(1, 1_000_000),
        "num_mel_bins": Whole(1, 1024),
        "max_source_positions": Whole(1, 1_000_000),
    },
)


def limits(name: str) -> dict[str, Any]:
    """The bounds of a field of EncoderConfig as `strict_yaml.key` has them."""
    kind = ENCODER[name]
    # A recipe's limits are checked number by number, so those of the innermost kind count.
    while isinstance(kind, (Maybe, Items)):
        kind = kind.kind
    if isinstance(kind, Text):
        return {"choices": kind.choices}
    if isinstance(kind, Whole):
        return {"low": kind.low, "high": kind.high}
    if isinstance(kind, Real):
        # A dropout of 1 passes in a file but not in a recipe, whose student would learn nothing.
        return {"above": kind.above, "high": kind.high} if kind is _EPS else {"low": kind.low, "below": kind.high}
    return {}
