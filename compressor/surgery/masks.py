"""Units of an encoder masked from outside, by hooks: what it would compute without them, before they are taken out.

Shapes: B batch, T frames, C channels, D width.

A LayerNorm over the channels of the front end takes its mean and variance of the channels that are left, as it will
when the others are gone.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..models.encoder import Encoder
from .units import Group

MaskOf = Callable[[Group], Tensor | None]


def attach(encoder: Encoder, mask_of: MaskOf) -> list[RemovableHandle]:
    """Mask the units of `encoder` in every forward pass from now on; a group without a mask is left alone.

    Returns:
        What removes it: `for handle in handles: handle.remove()`.
    """
    config, last = encoder.config, len(encoder.config.conv_channels) - 1
    norm = encoder.feature_projection.layer_norm
    handles: list[RemovableHandle] = []
    convs: Any = encoder.feature_extractor.conv_layers
    for index, layer in enumerate(convs):
        channels = Group("conv", index)
        if isinstance(layer.layer_norm, nn.LayerNorm):
            handles.append(layer.layer_norm.register_forward_hook(_norm_hook(mask_of, channels, False)))
        # The last channels are scaled behind the projection's norm instead, whose bias would bring masked ones back.
        if index < last or norm is None:
            handles.append(layer.register_forward_hook(_channel_hook(mask_of, channels)))
    if norm is not None:
        handles.append(norm.register_forward_hook(_norm_hook(mask_of, Group("conv", last), True)))
    layers: Any = encoder.encoder.layers
    for index, layer in enumerate(layers):
        out, dense = layer.attention.out_proj, layer.feed_forward.output_dense
        # Before out_proj, where heads still lie side by side, head_dim columns each; behind it they are one sum.
        handles.append(out.register_forward_pre_hook(_input_hook(mask_of, Group("head", index), config.head_dim)))
        handles.append(dense.register_forward_pre_hook(_input_hook(mask_of, Group("ffn", index), 1)))
    return handles


def _channel_hook(mask_of: MaskOf, group: Group) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Scale channels of (B, C, T)."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        mask = mask_of(group)
        return output if mask is None else output * mask[:, None]

    return hook


def _input_hook(mask_of: MaskOf, group: Group, repeat: int) -> Callable[[nn.Module, Any], Any]:
    """Scale the last axis of what a Linear reads; `repeat` columns belong to a unit."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        mask = mask_of(group)
        return None if mask is None else (inputs[0] * mask.repeat_interleave(repeat), *inputs[1:])

    return hook


def _norm_hook(mask_of: MaskOf, group: Group, scale: bool) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The norm over the channels that are left; with `scale` its output is scaled as well."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        mask = mask_of(group)
        if mask is None:
            return output
        assert isinstance(module, nn.LayerNorm)
        # A channel is in the statistics or not: a scaled one stays whole when others are cut out.
        y = masked_layer_norm(inputs[0], module, mask != 0)
        return y * mask if scale else y

    return hook


def masked_layer_norm(x: Tensor, norm: nn.LayerNorm, kept: Tensor) -> Tensor:
    """LayerNorm of (..., C) whose statistics are those of the channels that are kept."""
    # A weighted mean over all channels: whoever reads the output still expects every one of them.
    share = kept.to(x.dtype) / kept.sum()
    centred = x - (x * share).sum(-1, keepdim=True)
    variance = (centred.square() * share).sum(-1, keepdim=True)
    return centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias
