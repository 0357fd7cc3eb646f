"""What quantisation does to an encoder's numbers, in floats: to measure it without an export, and to train with it.

Shapes: B batch, S samples, T frames, C channels, D width of a layer's input, O of its output.

Every convolution and linear layer rounds its weights, its input and (when its ranges are fixed) its output as the
exported program will: XNNPACK scales the dynamic input of a linear layer frame by frame, and that of a convolution by
all that it is given in a call. Gradients pass the rounding unchanged and stop where a value is clipped (the
straight-through estimator, arXiv:1308.3432).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from ..models.config import EncoderConfig
from ..models.encoder import Encoder
from ..models.streaming import folded
from .scheme import FIRST_CONV, GROUP, LEVELS, MIN_SCALE, Operator, Quantization

SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def operators(encoder: Encoder) -> dict[str, nn.Conv1d | nn.Linear]:
    """The convolutions and linear layers of an encoder, by name."""
    return {name: part for name, part in encoder.named_modules() if isinstance(part, nn.Conv1d | nn.Linear)}


def kinds(encoder: Encoder) -> dict[str, bool]:
    """Of every operator, by name, whether it is a convolution."""
    return {name: isinstance(part, nn.Conv1d) for name, part in operators(encoder).items()}


def feeds_gelu(name: str, config: EncoderConfig) -> bool:
    """Whether a GELU takes an operator's output, as it is."""
    # Where there are LayerNorms, one stands between convolution and GELU; so may a norm after the first convolution.
    front = name.startswith("feature_extractor.") and config.conv_norm != "layer" and name != FIRST_CONV
    return front or name.endswith((".intermediate_dense", "pos_conv_embed.conv"))


def simulated(encoder: Encoder, quantization: Quantization) -> Encoder:
    """A copy for inference whose operators compute as an exported program's do."""
    # First: the program rounds the folded weights, not the two factors of weight norm.
    encoder = folded(encoder)
    for name, part in operators(encoder).items():
        operator = quantization.of(name, isinstance(part, nn.Conv1d))
        if operator.how != "float":
            set_forward(part, partial(_compute, part, operator))
    return encoder


def set_forward(part: nn.Module, forward: partial[Tensor]) -> None:
    """Let a module compute otherwise; its tensors keep their names."""
    part.forward = forward


def _compute(part: nn.Conv1d | nn.Linear, operator: Operator, x: Tensor) -> Tensor:
    """One operator on its input, (B, C, T) or (B, T, D)."""
    if operator.how == "half":
        return apply(part, x.half().float(), part.weight.half().float()).half().float()
    if operator.how == "static":
        assert operator.input is not None and operator.output is not None
        ranges = torch.tensor([operator.input, operator.output])
        return static(apply(part, static(x, *ranges[0]), channel_weight(part.weight)), *ranges[1])
    return apply(part, dynamic(x, isinstance(part, nn.Conv1d)), _weight(part, operator.how))


def _weight(part: nn.Conv1d | nn.Linear, how: str) -> Tensor:
    return group_weight(part.weight) if how == "int4" else channel_weight(part.weight)


def apply(part: nn.Conv1d | nn.Linear, x: Tensor, weight: Tensor) -> Tensor:
    """The operator with another weight."""
    if isinstance(part, nn.Linear):
        return F.linear(x, weight, part.bias)
    return F.conv1d(x, weight, part.bias, part.stride, part.padding, part.dilation, part.groups)


def static(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """8-bit numbers over a fixed range, see `scheme.scale_of`."""
    scale, zero = _affine(low, high)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, *LEVELS)  # also of autocast's halves


def dynamic(x: Tensor, convolution: bool) -> Tensor:
    """8-bit numbers over the range of each frame (B, T, D), or, for a convolution, of each row of (B, C, T)."""
    rows = (x.reshape(len(x), -1) if convolution else x.reshape(-1, x.shape[-1])).float()
    # Only against a division by 0: MIN_SCALE is for scales that stand in the program, and these do not.
    scale, zero = _affine(*rows.detach().aminmax(dim=1), least=1e-12)
    return torch.fake_quantize_per_channel_affine(rows, scale, zero, 0, *LEVELS).view_as(x)


def _affine(low: Tensor, high: Tensor, least: float = MIN_SCALE) -> tuple[Tensor, Tensor]:
    """Scales and zero points, on tensors."""
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / (LEVELS[1] - LEVELS[0])).clamp(min=least)
    return scale, (LEVELS[0] - low / scale).round().clamp(*LEVELS).int()


def channel_weight(weight: Tensor) -> Tensor:
    """(O, ...) in 8 bits with one scale per output channel."""
    # The scale is taken as given: gradients go through the rounding only.
    flat = weight.detach().flatten(1)
    scale = (flat.abs().amax(1) / LEVELS[1]).clamp(min=MIN_SCALE)
    zero = torch.zeros(len(flat), dtype=torch.int32, device=flat.device)
    # -127 to 127, because XNNPACK wants 8-bit weights with a zero point of 0.
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -LEVELS[1], LEVELS[1])


def group_weight(weight: Tensor) -> Tensor:
    """(O, D) in 4 bits with one scale per GROUP inputs."""
    _, scales = grouped_weight(weight.detach())
    rows = weight.reshape(-1, GROUP)
    zero = torch.zeros(len(rows), dtype=torch.int32, device=rows.device)
    return torch.fake_quantize_per_channel_affine(rows, scales.flatten(), zero, 0, -8, 7).view_as(weight)


def grouped_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Levels -8..7 (O, D) int8 and scales (O, D / GROUP), which the backend keeps as bfloat16.

    With 16 levels it pays to clip: each group takes the scale, of several, that leaves the least squared error.
    """
    rows = weight.reshape(len(weight), -1, GROUP)
    # Between the 8 levels below zero and the 7 above.
    widest = rows.abs().amax(2) / 7.5
    scales, least = widest, torch.full_like(widest, torch.inf)
    for shrink in SHRINKS:
        # Rounded as the backend keeps it before it is judged: bfloat16 has but 8 bits of precision.
        tried = (shrink * widest).clamp(min=MIN_SCALE).bfloat16().float()
        error = (rows - _levels(rows, tried) * tried[..., None]).square().sum(2)
        scales, least = torch.where(error < least, tried, scales), torch.minimum(error, least)
    return _levels(rows, scales).reshape(weight.shape).to(torch.int8), scales


def _levels(rows: Tensor, scales: Tensor) -> Tensor:
    return (rows / scales[..., None]).round().clamp(-8, 7)


def check_operators(name: str, encoder: Encoder, quantization: Quantization) -> None:
    """Raises SpeechpressError when a layer cannot be quantised as it should be."""
    settled = quantization.settled(kinds(encoder)).operators
    parts = operators(encoder)
    odd = [n for n, item in settled.items() if item.how == "int4" and parts[n].weight.shape[1] % GROUP]
    if odd:
        width = parts[odd[0]].weight.shape[1]
        raise SpeechpressError(
            f"{name}: int4 gives each {GROUP} inputs of a layer a scale, but {odd[0]} has {width} inputs, which is no "
            f"multiple of it ({len(odd)} such layers); use int8, or a student whose widths are multiples of {GROUP}"
        )
