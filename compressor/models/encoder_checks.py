"""Whether the numbers of an encoder's config go together."""

from typing import TYPE_CHECKING

from speechpress.runtime.errors import SpeechpressError

from .encoder_schema import CONV_NORMS, FRONT_ENDS, INPUT_NORMS, MAX_HOP_SAMPLES, NORMS

# config imports this module: at run time this would be a circle.
if TYPE_CHECKING:
    from .config import EncoderConfig

LISTS = ("conv_channels", "conv_kernels", "conv_strides", "num_heads", "ffn_widths")


class EncoderError(SpeechpressError):
    """A config that no encoder can have; `keys` are the fields to blame, the likeliest first."""

    def __init__(self, text: str, *keys: str) -> None:
        super().__init__(f"encoder: {text}")
        self.keys = keys


def check_encoder(config: "EncoderConfig") -> None:
    """Raises EncoderError for the first thing that does not fit."""
    _check_front_end(config)
    if len(config.num_heads) != len(config.ffn_widths):
        text = "num_heads and ffn_widths must both have one entry per Transformer layer"
        raise EncoderError(
            f"{text}, not {len(config.num_heads)} and {len(config.ffn_widths)}", "ffn_widths", "num_heads"
        )
    known = {"conv_norm": CONV_NORMS, "input_norm": INPUT_NORMS, "norm": NORMS, "front_end": FRONT_ENDS}
    for name, choices in known.items():
        if getattr(config, name) not in choices:
            raise EncoderError(f"{name} is {getattr(config, name)!r}, but must be one of {', '.join(choices)}", name)
    for name in (*LISTS, "width", "head_dim", "pos_conv_kernel", "pos_conv_groups", "time_reduction"):
        value = getattr(config, name)
        if min(value, default=1) < 1 if isinstance(value, tuple) else value < 1:
            raise EncoderError(f"every size must be at least 1, but {name} is {value}", name)
    # nn.Conv1d would refuse it too, but without a word on which field to change.
    if config.width % config.pos_conv_groups:
        text = f"width {config.width} is not a multiple of pos_conv_groups {config.pos_conv_groups}"
        raise EncoderError(text, "pos_conv_groups", "width")
    if config.pos_conv_future is not None and not 0 <= config.pos_conv_future < config.pos_conv_kernel:
        raise EncoderError(
            f"pos_conv_future is {config.pos_conv_future}, but must be 0 to {config.pos_conv_kernel - 1} "
            f"(the kernel has {config.pos_conv_kernel} frames)",
            "pos_conv_future",
            "pos_conv_kernel",
        )
    # 0 would not mean none: `Attention` cuts its cache with [-P:], which for 0 is all of it.
    if config.left_context is not None and config.left_context < 1:
        raise EncoderError(f"left_context is {config.left_context}, but must be at least 1 frame", "left_context")
    _check_patches(config)
    _check_distinct_layers(config)
    _check_reuse(config)


def _check_front_end(config: "EncoderConfig") -> None:
    if not len(config.conv_channels) == len(config.conv_kernels) == len(config.conv_strides) > 0:
        names = ("conv_channels", "conv_kernels", "conv_strides")
        raise EncoderError("conv_channels, conv_kernels and conv_strides must have one entry per layer", *names)
    if config.front_hop_samples > MAX_HOP_SAMPLES:
        text = f"conv_strides are {list(config.conv_strides)}: together more than {MAX_HOP_SAMPLES} samples to a frame"
        if config.front_end == "mel":  # whose own stride comes before theirs; likely those of a waveform were left
            text += (
                ". front_end is mel, of 100 frames a second: set conv_channels, conv_kernels and conv_strides for it, "
                "such as [256, 384], [3, 3] and [1, 2]"
            )
        raise EncoderError(text, "conv_strides")
    if not config.projection and config.conv_channels[-1] != config.width:
        raise EncoderError(
            f"projection is false, so the last of conv_channels, {config.conv_channels[-1]}, must be the "
            f"width, {config.width}",
            "projection",
            "width",
            "conv_channels",
        )


def _check_patches(config: "EncoderConfig") -> None:
    if config.front_end != "patch":
        return
    kernel, stride = config.conv_kernels[0], config.conv_strides[0]
    # Its own samples and as many before them at most: a patch is put together of two hops.
    if not stride <= kernel <= 2 * stride:
        text = f"a patch is the first of conv_strides, {stride}, to twice as many samples, but conv_kernels begins with"
        raise EncoderError(f"{text} {kernel}", "conv_kernels", "conv_strides")
    for name in ("conv_kernels", "conv_strides"):
        if any(value != 1 for value in getattr(config, name)[1:]):
            values = list(getattr(config, name))
            text = f"front_end is patch, whose layers after the first see one patch each, but {name} is {values}"
            raise EncoderError(f"{text}: all but the first must be 1", name, "front_end")
    if config.conv_norm == "group":
        raise EncoderError(
            "front_end is patch, which has no norm over the whole recording, but conv_norm is group. Set it to static, "
            "frame or layer",
            "conv_norm",
            "front_end",
        )


def _check_distinct_layers(config: "EncoderConfig") -> None:
    distinct, layers = config.distinct_layers, config.num_layers
    if distinct is None:
        return
    if distinct < 1 or layers % distinct:
        raise EncoderError(f"distinct_layers is {distinct}, which does not divide {layers} layers", "distinct_layers")
    # A layer that is passed several times has one set of tensors, so it cannot have several sizes.
    for name in ("num_heads", "ffn_widths", "reuse_attention"):
        values = getattr(config, name)
        if any(value != values[index % distinct] for index, value in enumerate(values)):
            text = f"{name} must repeat after {distinct} layers, because distinct_layers is {distinct}"
            raise EncoderError(text, name, "distinct_layers")


def _check_reuse(config: "EncoderConfig") -> None:
    reuse = config.reuse_attention
    if not reuse:
        return
    if len(reuse) != config.num_layers:
        text = f"reuse_attention has {len(reuse)} entries, but there are {config.num_layers} layers"
        raise EncoderError(text, "reuse_attention")
    if reuse[0]:
        raise EncoderError(
            "reuse_attention is true for the first layer, which has no layer before it to attend as. "
            "Begin it with false",
            "reuse_attention",
        )
    # What is handed on has one map per head, and each head weights its own values with it.
    for index in range(1, config.num_layers):
        if reuse[index] and config.num_heads[index] != config.num_heads[index - 1]:
            raise EncoderError(
                f"layer {index + 1} reuses the attention of layer {index} (reuse_attention), so both must "
                f"have the same num_heads, not {config.num_heads[index]} and {config.num_heads[index - 1]}",
                "num_heads",
                "reuse_attention",
            )
