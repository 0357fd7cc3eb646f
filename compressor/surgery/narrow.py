"""A narrower residual stream: dimensions of the width, taken out of every tensor that they lie in.

Shapes: D width, W the narrower one, N layers that heads predict, E width of the teacher.

Every layer, norm and head hangs on the width, so a dimension goes everywhere at once; the position convolution cuts the
width into groups, so as many go from each of them.
"""

from dataclasses import replace

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..distill.objectives import Heads, LayerPairs, PredictionHeads
from ..models.config import EncoderConfig
from ..models.encoder import Encoder
from .subclone import TAP_GAINS, TAPS, WIDTH, Pick, axes_of, position_taps, tap_norms

REDUCTION = "encoder.time_reduction.conv.weight"  # its inputs and outputs are both the width


def check_width(width: int, config: EncoderConfig) -> None:
    """Raises SpeechpressError for a width that the encoder cannot be brought to."""
    groups = config.pos_conv_groups
    if groups <= width < config.width and width % groups == 0:
        return
    most = (config.width - 1) // groups * groups
    nearest = min(max(groups, round(width / groups) * groups), most)
    if not most:
        raise SpeechpressError(f"--width {width}: the checkpoint is as narrow as its position convolution allows")
    raise SpeechpressError(
        f"--width {width}: must be less than the {config.width} of the checkpoint and a multiple of {groups}, the "
        f"groups of its position convolution; the nearest is {nearest}"
    )


def strongest(importance: Tensor, width: int, groups: int) -> Tensor:
    """The numbers (W,) of the dimensions that stay, ascending: the most important ones (D,) of every group."""
    size = len(importance) // groups
    best = importance.view(groups, size).topk(width // groups, dim=1).indices
    return (best + size * torch.arange(groups)[:, None]).flatten().sort().values


def narrow(encoder: Encoder, kept: Tensor) -> Encoder:
    """The encoder without the other dimensions, in eval mode; `kept` (W,) as `strongest` gives it.

    It computes what `encoder` computes when nothing is written to the others and norms do not count them.
    """
    config, last = replace(encoder.config, width=len(kept)), len(encoder.config.conv_channels) - 1
    source = encoder.state_dict()
    state = {name: _without(name, tensor, kept, last) for name, tensor in source.items()}
    if TAPS in source:
        pick, groups = Pick(torch.arange(len(kept)), kept, len(kept)), config.pos_conv_groups
        room = source[TAPS].new_empty(len(kept), len(kept) // groups, source[TAPS].shape[2])
        taps = position_taps(room, source[TAPS], pick, groups)
        assert taps is not None, "kernels are as long"
        state |= {TAPS: taps, TAP_GAINS: source[TAP_GAINS] * tap_norms(taps) / tap_norms(source[TAPS])}
    small = Encoder(config)
    small.load_state_dict(state)
    small.front_end_grad = encoder.front_end_grad
    return small.eval()


def _without(name: str, tensor: Tensor, kept: Tensor, last: int) -> Tensor:
    axes = (WIDTH, WIDTH) if name == REDUCTION else axes_of(name, last)
    for dim, axis in enumerate(axes):
        if axis == WIDTH:
            tensor = tensor.index_select(dim, kept.to(tensor.device))
    return tensor


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
    strength = rows.norm(dim=2) * heads.weight.norm(dim=2)
    units = strength.topk(len(kept), dim=1).indices.sort(dim=1).values  # (N, W)
    number = torch.arange(count)[:, None]
    small.expand.weight.copy_(rows[number, units].flatten(0, 1))
    small.expand.bias.copy_(heads.expand.bias.view(count, width)[number, units].flatten())
    small.weight.copy_(heads.weight[number, units])
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
        rows = old.get_parameter(name)[kept]
        tensor.copy_(rows[:, kept] if rows.ndim > 1 else rows)
