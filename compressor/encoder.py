"""The student: one waveform encoder described by plain numbers, with the tensor names of `transformers`' HubertModel.

Shapes: B batch, S samples, T frames, L layers, D width, C channels of the front end.

Layer k is the output of Transformer layer k; layer 0 is the input of the first Transformer layer. The final LayerNorm
of a pre-norm encoder belongs to no layer.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig


class ConvLayer(nn.Module):
    """One strided convolution of the front end, its norm and GELU: (B, C_in, S) -> (B, C_out, S')."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        channels = config.conv_channels[index]
        inputs = config.conv_channels[index - 1] if index else 1
        kernel, stride = config.conv_kernels[index], config.conv_strides[index]
        self.conv = nn.Conv1d(inputs, channels, kernel, stride=stride, bias=config.conv_bias)
        if config.conv_norm == "group" and index == 0:
            self.layer_norm: nn.Module | None = nn.GroupNorm(channels, channels)
        elif config.conv_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        else:
            self.layer_norm = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            x = self.layer_norm(x.transpose(-2, -1)).transpose(-2, -1)
        elif self.layer_norm is not None:
            x = self.layer_norm(x)
        return F.gelu(x)


class FrontEnd(nn.Module):
    """The convolutions over the waveform: (B, S) -> (B, T, C)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvLayer(config, i) for i in range(len(config.conv_channels)))

    def forward(self, waves: Tensor) -> Tensor:
        x = waves[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class Projection(nn.Module):
    """(B, T, C) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.conv_channels[-1]
        self.layer_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps) if config.projection_norm else None
        self.projection = nn.Linear(channels, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x if self.layer_norm is None else self.layer_norm(x))


class PositionConv(nn.Module):
    """Grouped convolution over time whose output is added to its input: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kernel, width = config.pos_conv_kernel, config.width
        self.even = kernel % 2 == 0
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.pos_conv_groups)
        nn.init.normal_(self.conv.weight, std=2 * math.sqrt(1 / (kernel * width)))
        nn.init.constant_(self.conv.get_parameter("bias"), 0)
        nn.utils.parametrizations.weight_norm(self.conv, name="weight", dim=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2))
        return F.gelu(y[..., :-1] if self.even else y).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention whose heads need not fill the width: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig, heads: int) -> None:
        super().__init__()
        inner = heads * config.head_dim
        self.heads, self.dropout = heads, config.attention_dropout
        self.q_proj = nn.Linear(config.width, inner)
        self.k_proj = nn.Linear(config.width, inner)
        self.v_proj = nn.Linear(config.width, inner)
        self.out_proj = nn.Linear(inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig, ffn_width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.width, ffn_width)
        self.output_dense = nn.Linear(ffn_width, config.width)
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(self.dropout(F.gelu(self.intermediate_dense(x))))


class Layer(nn.Module):
    """One Transformer layer, normed after (base models) or before (large models) its two blocks."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = Attention(config, config.num_heads[index])
        self.layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config, config.ffn_widths[index])
        self.final_layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.layer_norm(x), mask))
            return x + self.dropout(self.feed_forward(self.final_layer_norm(x)))
        x = self.layer_norm(x + self.dropout(self.attention(x, mask)))
        return self.final_layer_norm(x + self.dropout(self.feed_forward(x)))


class Context(nn.Module):
    """Position convolution, Transformer layers and their norm (`encoder.*` in HubertModel's names)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.pos_conv_embed = PositionConv(config)
        self.layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_layers))

    def forward(self, x: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Hidden states of layers 0..L, each (B, T, D); `valid` (B, T) is False on padding."""
        mask = None
        if valid is not None:
            x = x * valid[..., None]
            mask = valid[:, None, None]
        x = x + self.pos_conv_embed(x)
        if not self.pre_norm:
            x = self.layer_norm(x)
        states = [self.dropout(x)]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        return states


class Encoder(nn.Module):
    """Waveform in, hidden states out. Teacher-sized, distilled and pruned encoders differ only in their config."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end_grad = 1.0
        self.masked_spec_embed = nn.Parameter(torch.rand(config.width), requires_grad=False)
        self.feature_extractor = FrontEnd(config)
        self.feature_projection = Projection(config)
        self.encoder = Context(config)
        self._initialize()

    def _initialize(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv1d) and "pos_conv" not in name:
                nn.init.kaiming_normal_(module.weight)

    def hidden_states(self, waves: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Hidden states of layers 0..L, each (B, T, D).

        Args:
            waves: (B, S) float, 16 kHz, as the audio file has it (`normalize_input` is applied here).
            lengths: (B,) valid samples of each row, or None when no row is padded.
        """
        if self.config.normalize_input:
            waves = normalize(waves, lengths)
        features = self.feature_extractor(waves)
        if self.front_end_grad != 1.0 and features.requires_grad:
            features = _ScaleGrad.apply(features, self.front_end_grad)
        valid = None
        if lengths is not None:
            ends = self.config.frames(lengths)
            valid = torch.arange(features.shape[1], device=waves.device) < ends[:, None]
        return self.encoder(self.feature_projection(features), valid)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features that a deployed student yields: (B, T, D), the last layer (after the final norm, if pre-norm)."""
        last = self.hidden_states(waves, lengths)[-1]
        return self.encoder.layer_norm(last) if self.config.pre_norm else last


class _ScaleGrad(torch.autograd.Function):
    """Identity forward, scaled gradient backward (fairseq's `feature_grad_mult`)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


def normalize(waves: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Zero mean and unit variance per row over its valid samples, (B, S) -> (B, S), padding stays zero.

    fairseq's form: layer_norm with eps 1e-5 (the Hugging Face extractor uses 1e-7, which differs for very quiet input).
    """
    if lengths is None:
        return F.layer_norm(waves, waves.shape[-1:])
    valid = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    count = lengths[:, None].to(waves.dtype)
    mean = (waves * valid).sum(1, keepdim=True) / count
    variance = ((waves - mean).square() * valid).sum(1, keepdim=True) / count
    return (waves - mean) * (variance + 1e-5).rsqrt() * valid
