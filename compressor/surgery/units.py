"""The units that structured pruning takes out of an encoder: channels of the front end, heads, FFN units.

A mask has one number per unit: 0 takes it out, 1 leaves it, and anything between scales it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..models.config import EncoderConfig

KINDS = ("conv", "head", "ffn")
FLOOR_SHARE = 32  # of channels and FFN units at least a thirty-second stays


class Group(NamedTuple):
    """Units of one kind in one layer, counted from 0."""

    kind: str
    layer: int

    @property
    def title(self) -> str:
        """For people, who count layers from 1."""
        what = {"conv": "channels of convolution", "head": "heads of layer", "ffn": "FFN units of layer"}
        return f"{what[self.kind]} {self.layer + 1}"


Sizes = dict[Group, int]
Masks = dict[Group, Tensor]


def check_prunable(config: EncoderConfig) -> None:
    """Raises SpeechpressError for an encoder in which units of several layers, or units and the width, are one."""
    # A time reduction maps the width onto itself, and no unit lies in it; norms and patches tie no units together.
    free = ("time_reduction", "norm", "front_end")
    tied = [part for part in config.own_parts if not part.startswith(free)]
    if tied:
        raise SpeechpressError(
            f"units cannot be taken out of this encoder: with {' and '.join(tied)} they belong to several parts at "
            "once; single weights can be zeroed: --method parp (or prune.method=parp)"
        )


def sizes_of(config: EncoderConfig) -> Sizes:
    """How many units each group has."""
    parts = {"conv": config.conv_channels, "head": config.num_heads, "ffn": config.ffn_widths}
    return {Group(kind, layer): count for kind, counts in parts.items() for layer, count in enumerate(counts)}


def spelled(heads: Tensor, head_dim: int) -> Tensor:
    """Numbers of heads (H,) as those of all their dimensions, (H x head_dim,)."""
    return (heads[:, None] * head_dim + torch.arange(head_dim, device=heads.device)).flatten()


def resized(config: EncoderConfig, sizes: Mapping[Group, int]) -> EncoderConfig:
    """The same encoder with so many units; groups that are not named keep theirs."""
    now = sizes_of(config) | dict(sizes)
    counts = {kind: tuple(now[group] for group in now if group.kind == kind) for kind in KINDS}
    return replace(config, conv_channels=counts["conv"], num_heads=counts["head"], ffn_widths=counts["ffn"])


def floors_of(config: EncoderConfig) -> Sizes:
    """The fewest units that pruning by importance leaves: one head per layer, a thirty-second of the others."""
    # Rounded up, so that a small layer keeps at least one unit.
    return {group: 1 if group.kind == "head" else -(-count // FLOOR_SHARE) for group, count in sizes_of(config).items()}


def counts(masks: Masks) -> Sizes:
    """How many units each mask leaves."""
    return {group: int((mask != 0).sum()) for group, mask in masks.items()}


def removed(before: EncoderConfig, after: EncoderConfig) -> dict[str, list[list[int]]]:
    """Units before and after, [[from, to], ...] per kind and layer, as a card tells them."""
    old, new = sizes_of(before), sizes_of(after)
    return {kind: [[old[group], new[group]] for group in old if group.kind == kind] for kind in KINDS}
