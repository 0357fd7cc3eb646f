"""Prediction heads and layer projections, made to fit a narrower student."""

import torch
from torch import Tensor

from ..distill.objectives import Heads, LayerPairs, PredictionHeads


def narrow_heads(heads: Heads, kept: Tensor, teacher_width: int) -> Heads:
    """Heads for the narrower encoder: they read what is left, and keep the strongest of their own units, as many."""
    small = (
        _narrow_predictions(heads, kept, teacher_width)
        if isinstance(heads, PredictionHeads)
        else _narrow_pairs(heads, kept, teacher_width)
    )
    return small.eval()


@torch.no_grad()
def _narrow_predictions(heads: PredictionHeads, kept: Tensor, teacher_width: int) -> PredictionHeads:
    small = PredictionHeads(heads.layers, len(kept), teacher_width, factor=heads.factor, upsample=heads.upsample_kind)
    count, width = len(heads.layers), heads.expand.in_features
    rows = heads.expand.weight.view(count, width, width)[:, :, kept]
    # Both sides: a unit matters as little without weights out of it as without weights into it.
    strength = rows.norm(dim=2) * heads.weight.norm(dim=2)
    units = strength.topk(len(kept), dim=1).indices.sort(dim=1).values  # (N, W)
    number = torch.arange(count)[:, None]
    small.expand.weight.copy_(rows[number, units].flatten(0, 1))
    small.expand.bias.copy_(heads.expand.bias.view(count, width)[number, units].flatten())
    small.weight.copy_(heads.weight[number, units])
    # Heads put out the teacher's width, which stays.
    small.bias.copy_(heads.bias)
    _copy_upsample(small.upsample, heads.upsample, kept)
    return small


@torch.no_grad()
def _narrow_pairs(heads: LayerPairs, kept: Tensor, teacher_width: int) -> LayerPairs:
    kind = heads.upsample_kind
    shared, bare, factor = heads.shared or None, heads.bare, heads.factor
    small = LayerPairs(heads.pairs, len(kept), teacher_width, shared, bare=bare, factor=factor, upsample=kind)
    for new, old in zip(small.projections, heads.projections, strict=True):
        if isinstance(new, torch.nn.Linear):
            plain = not isinstance(old, torch.nn.Linear)  # the widths agreed
            new.weight.copy_((torch.eye(teacher_width) if plain else old.get_parameter("weight"))[:, kept])
            new.bias.copy_(torch.zeros(teacher_width) if plain else old.get_parameter("bias"))
    for new, old in zip(small.upsamples, heads.upsamples, strict=True):
        _copy_upsample(new, old, kept)
    return small


def _copy_upsample(new: torch.nn.Module, old: torch.nn.Module, kept: Tensor) -> None:
    for name, tensor in new.named_parameters():
        # An upsampling maps the width onto itself, so inputs go with outputs; biases have outputs only.
        rows = old.get_parameter(name)[kept]
        tensor.copy_(rows[:, kept] if rows.ndim > 1 else rows)
