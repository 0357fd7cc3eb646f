"""Masked units taken out for good: an encoder of the same class with a smaller config, which computes the same.

Shapes: C channels, H heads, D width.

What a mask scales is put into the weights of whoever reads the unit, so nothing of pruning is left in the result.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..models.config import EncoderConfig
from ..models.encoder import Encoder
from .units import Group, Masks, counts, resized, spelled

State = dict[str, Tensor]


def cut(encoder: Encoder, masks: Masks, layers: Sequence[int] | None = None) -> Encoder:
    """A smaller encoder, in eval mode, that computes what `encoder` computes under `unit_masks.attach(masks)`.

    Args:
        encoder: left as it is.
        masks: groups that are not named stay whole; every mask leaves at least one unit.
        layers: the Transformer layers that stay, counted from 0; None is all of them.
    """
    config, state = encoder.config, dict(encoder.state_dict())
    # Units before layers: masks count the layers as they are before any of them goes.
    for group, mask in masks.items():
        _shrink(state, config, group, mask.detach())
    config = resized(config, counts(masks))
    if layers is not None:
        config, state = _only(config, state, layers)
    small = Encoder(config)
    small.load_state_dict(state)
    # No part of the config, so a new encoder would not have it.
    small.front_end_grad = encoder.front_end_grad
    return small.eval()


def _shrink(state: State, config: EncoderConfig, group: Group, mask: Tensor) -> None:
    """Take the units of one group out of all tensors that have them."""
    kept = mask.nonzero()[:, 0]
    assert len(kept), f"nothing would be left of the {group.title}"
    # The factor goes to the reader: between the own weights of channels and FFN units and their output stands a
    # norm or GELU, which would not let it through.
    factors = mask[kept]
    own, readers = _places(config, group)
    if group.kind == "head":
        kept = spelled(kept, config.head_dim)
        factors = factors.repeat_interleave(config.head_dim)
    # mean and variance are those of a static norm; most places lack some of the four.
    for name in (f"{place}.{kind}" for place in own for kind in ("weight", "bias", "mean", "variance")):
        if name in state:
            state[name] = state[name][kept]
    reader = state[readers][:, kept]
    state[readers] = reader * factors.view(1, -1, *[1] * (reader.dim() - 2)).to(reader)


def _places(config: EncoderConfig, group: Group) -> tuple[list[str], str]:
    """Modules that have one row per unit, and the weight that reads the units (its second axis)."""
    if group.kind == "conv":
        own = [f"feature_extractor.conv_layers.{group.layer}.{part}" for part in ("conv", "layer_norm")]
        if group.layer + 1 < len(config.conv_channels):
            return own, f"feature_extractor.conv_layers.{group.layer + 1}.conv.weight"
        return [*own, "feature_projection.layer_norm"], "feature_projection.projection.weight"
    layer = f"encoder.layers.{group.layer}"
    if group.kind == "head":
        return [f"{layer}.attention.{part}_proj" for part in "qkv"], f"{layer}.attention.out_proj.weight"
    return [f"{layer}.feed_forward.intermediate_dense"], f"{layer}.feed_forward.output_dense.weight"


def _only(config: EncoderConfig, state: State, layers: Sequence[int]) -> tuple[EncoderConfig, State]:
    """The same with these Transformer layers only."""
    # Shared layers and reused attention need no care here: `check_prunable` refuses encoders that have them.
    heads, widths = ([counts[layer] for layer in layers] for counts in (config.num_heads, config.ffn_widths))
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.layers.")}
    for new, old in enumerate(layers):
        start = f"encoder.layers.{old}."
        own = {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
        kept |= {f"encoder.layers.{new}.{name}": tensor for name, tensor in own.items()}
    return replace(config, num_heads=tuple(heads), ffn_widths=tuple(widths)), kept
