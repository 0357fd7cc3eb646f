"""First weights for a student of another shape: the strongest part of its teacher, or its teacher and room to grow.

Where the student is narrower, it gets the channels, heads, units and dimensions of the residual stream with the largest
weights, the same ones in every tensor that they lie in (weight subcloning, arXiv:2312.09299). Where it is wider, it
computes at first what its source does: what is new is either silent or not yet listened to (arXiv:1511.05641), one of
both, so that it learns from the first step on.

Shapes: an axis is what a tensor's rows or columns stand for; n of the source, m of the student.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.config import EncoderConfig
from .units import Group, sizes_of, spelled

TAP_GAINS, TAPS = (f"encoder.pos_conv_embed.conv.parametrizations.weight.original{index}" for index in (0, 1))
STATISTICS = ("layer_norm.mean", "layer_norm.variance")


class Pick(NamedTuple):
    """Indices along an axis: `taken` of the source go to `places` of the student, which has `size`."""

    places: Tensor
    taken: Tensor
    size: int

    @property
    def widens(self) -> bool:
        return len(self.places) < self.size


WIDTH = Group("width", 0)  # the residual stream: an axis like the units of pruning; see `narrow`
_LAYER = r"encoder\.layers\.(\d+)\."
_KINDS: list[tuple[str, tuple[str, ...]]] = [
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight", ("conv", "before")),
    (r"feature_extractor\.conv_layers\.(\d+)\.(?:conv|layer_norm)\.\w+", ("conv",)),
    (r"feature_projection\.layer_norm\.\w+()", ("last",)),
    (r"feature_projection\.projection\.weight()", ("width", "last")),
    (_LAYER + r"attention\.[qkv]_proj\.weight", ("head", "width")),
    (_LAYER + r"attention\.[qkv]_proj\.bias", ("head",)),
    (_LAYER + r"attention\.out_proj\.weight", ("width", "head")),
    (_LAYER + r"feed_forward\.intermediate_dense\.weight", ("ffn", "width")),
    (_LAYER + r"feed_forward\.intermediate_dense\.bias", ("ffn",)),
    (_LAYER + r"feed_forward\.output_dense\.weight", ("width", "ffn")),
    (r".*layer_norm\.alpha()", ()),  # one number for all of the width
    (
        r"(?:.*\.)?(?:\w*layer_norm|projection|out_proj|output_dense|conv|masked_spec_embed)(?:\.weight|\.bias)?()",
        ("width",),
    ),
]


def subclone(
    own: Mapping[str, Tensor], source: Mapping[str, Tensor], student: EncoderConfig, start: EncoderConfig
) -> dict[str, Tensor]:
    """Tensors for the student, of those that it and its source both have, in other shapes.

    Args:
        own: the student's tensors as they were drawn; what the source has nothing for stays so.
        source: tensors of an encoder of config `start`.

    Left out is what cannot be matched (heads of another size, kernels of another length, no projection), and the
    statistics of a static norm: those of new channels have to be measured.
    """
    other = [name for name, tensor in own.items() if name in source and source[name].shape != tensor.shape]
    wanted = [name for name in other if not name.endswith(STATISTICS)]
    if not wanted or not _comparable(student, start):
        return {}
    picks = _picks(source, student, start)
    made = {}
    for name in wanted:
        if name != TAPS:
            tensor = _fitted(name, own[name], source[name], picks, student)
        elif student.pos_conv_groups == start.pos_conv_groups:
            tensor = position_taps(own[name], source[name], picks[WIDTH], student.pos_conv_groups)
        else:
            tensor = None
        if tensor is not None:
            made[name] = tensor
    if TAPS in made:  # weight norm would give back to the rest what the taps lost
        made[TAP_GAINS] = source[TAP_GAINS] * tap_norms(made[TAPS]) / tap_norms(source[TAPS])
    return made


def inherited(source: Mapping[str, Tensor], student: EncoderConfig, start: EncoderConfig) -> Pick | None:
    """Which dimensions of the width a student of another width has from its source, and where; None without any."""
    if student.width == start.width or not _comparable(student, start):
        return None
    return _picks(source, student, start)[WIDTH]


def _comparable(student: EncoderConfig, start: EncoderConfig) -> bool:
    return student.projection and start.projection and student.head_dim == start.head_dim


def tap_norms(taps: Tensor) -> Tensor:
    """(width, width / groups, kernel) -> (1, 1, kernel)."""
    return taps.norm(dim=(0, 1), keepdim=True)


def axes_of(name: str, last: int) -> tuple[Group, ...]:
    """What a tensor's first dimensions stand for; `last` is the number of the front end's last convolution."""
    for pattern, kinds in _KINDS:
        # The first pattern counts: the last one, of the width, fits names of those above it as well.
        found = re.fullmatch(pattern, name)
        if found:
            # Patterns without a layer have an empty group in its place, so that group 1 can always be asked for.
            layer = int(found[1] or 0)
            special = {"before": Group("conv", layer - 1), "last": Group("conv", last), "width": WIDTH}
            axes = tuple(special.get(kind, Group(kind, layer)) for kind in kinds)
            # The first convolution reads one waveform, which is no axis of units.
            return tuple(axis for axis in axes if axis.layer >= 0)
    return ()


def _sizes(config: EncoderConfig) -> dict[Group, int]:
    return sizes_of(config) | {WIDTH: config.width}


def _picks(source: Mapping[str, Tensor], student: EncoderConfig, start: EncoderConfig) -> dict[Group, Pick]:
    """For every axis that both have, which of the source go where; heads are spelled out as their dimensions."""
    ours, theirs = _sizes(student), _sizes(start)
    strength = _strengths(source, start)
    picks = {}
    for axis in ours.keys() & theirs.keys():
        groups = student.pos_conv_groups if axis == WIDTH and student.pos_conv_groups == start.pos_conv_groups else 1
        # In every group alike, so that the position convolution's groups stay what they are.
        places, taken = _strongest(strength[axis].view(groups, -1), ours[axis] // groups)
        pick = Pick(places, taken, ours[axis])
        picks[axis] = _spelled(pick, start.head_dim) if axis.kind == "head" else pick
    return picks


def _strongest(strength: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(groups, n) -> where the strongest go in groups of `size`, and where they are; in their order."""
    groups, count = strength.shape
    # A wider student takes all there is and has room left over.
    kept = min(size, count)
    taken = strength.topk(kept, dim=1).indices.sort(dim=1).values
    group = torch.arange(groups)[:, None]
    return (group * size + torch.arange(kept)).flatten(), (group * count + taken).flatten()


def _spelled(pick: Pick, head_dim: int) -> Pick:
    return Pick(spelled(pick.places, head_dim), spelled(pick.taken, head_dim), pick.size * head_dim)


def _strengths(source: Mapping[str, Tensor], start: EncoderConfig) -> dict[Group, Tensor]:
    """Sums of squares over all matrices and kernels that an axis lies in."""
    sizes = _sizes(start)
    total = {axis: torch.zeros(size) for axis, size in sizes.items()}
    for name, tensor in source.items():
        if tensor.ndim < 2:
            continue
        for dim, axis in enumerate(axes_of(name, len(start.conv_channels) - 1)):
            total[axis] += tensor.detach().float().square().movedim(dim, 0).reshape(sizes[axis], -1).sum(1).cpu()
    return total


def _silent(axis: Group, student: EncoderConfig) -> bool:
    """What is new on this axis starts as zeros that are listened to, not as numbers that nothing listens to.

    A LayerNorm over the axis would mix random numbers into all others; a norm per channel cannot bear one of zeros.
    """
    return axis == WIDTH or (axis.kind == "conv" and student.conv_norm == "layer")


def _fitted(
    name: str, own: Tensor, source: Tensor, picks: Mapping[Group, Pick], student: EncoderConfig
) -> Tensor | None:
    axes = axes_of(name, len(student.conv_channels) - 1)
    if not axes or own.shape[len(axes) :] != source.shape[len(axes) :]:
        return None
    tensor = own.clone()
    for dim, axis in enumerate(axes):
        # dim 0 is what a tensor writes, dim 1 what it reads: only one of the two is zero, or neither would ever learn.
        if picks[axis].widens and _silent(axis, student) is (dim == 0) and not name.endswith("norm.weight"):
            new = torch.ones(picks[axis].size, dtype=torch.bool)
            new[picks[axis].places] = False
            tensor.movedim(dim, 0)[new] = 0.0
    chosen = source
    for dim, axis in enumerate(axes):
        chosen = chosen.index_select(dim, picks[axis].taken.to(source.device))
    if name.endswith("norm.weight") and picks[axes[0]].widens and _silent(axes[0], student):
        # The new zeros lower the variance, as a LayerNorm sees it, which would make all others louder.
        chosen = chosen * math.sqrt(len(picks[axes[0]].places) / picks[axes[0]].size)
    tensor[torch.meshgrid(*(picks[axis].places for axis in axes), indexing="ij")] = chosen.to(tensor)
    return tensor


def position_taps(own: Tensor, source: Tensor, pick: Pick, groups: int) -> Tensor | None:
    """The grouped position convolution, (width, width / groups, kernel)."""
    if own.shape[2] != source.shape[2]:
        return None
    # New dimensions get no position of their own at first, and write nothing into those of the source.
    tensor = torch.zeros_like(own)
    size, count = own.shape[1], source.shape[1]
    for group, (places, taken) in enumerate(
        zip(pick.places.view(groups, -1), pick.taken.view(groups, -1), strict=True)
    ):
        rows = source[taken.to(source.device)][:, (taken - group * count).to(source.device)]
        tensor[places[:, None], places - group * size] = rows.to(tensor)
    return tensor
