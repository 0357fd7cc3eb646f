"""A narrower residual stream: dimensions of the width, taken out of every tensor that they lie in.

Shapes: D width, W the narrower one, N layers that heads predict, E width of the teacher.

Every layer, norm and head hangs on the width, so a dimension goes everywhere at once; the position convolution cuts the
width into groups, so as many go from each of them.
"""

from dataclasses import replace

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

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
    # Ascending, so that what is left lies in its old order and in its old group.
    return (best + size * torch.arange(groups)[:, None]).flatten().sort().values


def narrow(encoder: Encoder, kept: Tensor) -> Encoder:
    """The encoder without the other dimensions, in eval mode; `kept` (W,) as `strongest` gives it.

    It computes what `encoder` computes when nothing is written to the others and norms do not count them.
    """
    config, last = replace(encoder.config, width=len(kept)), len(encoder.config.conv_channels) - 1
    source = encoder.state_dict()
    state = {name: _without(name, tensor, kept, last) for name, tensor in source.items()}
    # Not by `_without`: the second axis of the taps counts within a group, and weight norm holds their lengths apart.
    if TAPS in source:
        pick, groups = Pick(torch.arange(len(kept)), kept, len(kept)), config.pos_conv_groups
        room = source[TAPS].new_empty(len(kept), len(kept) // groups, source[TAPS].shape[2])
        taps = position_taps(room, source[TAPS], pick, groups)
        assert taps is not None, "kernels are as long"
        # The length of each tap shrinks with it; else weight norm would give the rest what the others had.
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
