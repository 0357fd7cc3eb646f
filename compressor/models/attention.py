"""One Transformer layer: attention, which it may take over from the layer before it, and a feed-forward block.

Shapes: B batch, T frames, D width, H heads, P frames of the past.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig
from .norms import norm_of

Cache = tuple[Tensor, ...]  # keys and values of the past, or values alone where attention is taken over


class Attention(nn.Module):
    """Multi-head self-attention whose heads need not fill the width: (B, T, D) -> (B, T, D).

    One that `reuses` has no queries and keys: its frames attend as those of the layer before it did (ARMHuBERT,
    arXiv:2305.11685, "attention map reusing"). One that is `kept` hands its weights to the layer after it; dropout
    falls on what it does with them itself, not on what it hands on, and a layer that reuses has none.

    With a `cache`, the keys and values of the past, each (B, H, P, head_dim), frames attend to these too, and the
    latest P of all keys and values are returned as the next cache.
    """

    def __init__(self, config: EncoderConfig, heads: int, reuses: bool = False, kept: bool = False) -> None:
        super().__init__()
        inner = heads * config.head_dim
        self.heads, self.dropout = heads, config.attention_dropout
        self.reuses, self.kept = reuses, kept
        if not reuses:
            # No queries and keys at all: leaving them out is what reusing saves, in parameters and in arithmetic.
            self.q_proj = nn.Linear(config.width, inner)
            self.k_proj = nn.Linear(config.width, inner)
        self.v_proj = nn.Linear(config.width, inner)
        self.out_proj = nn.Linear(inner, config.width)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: Cache | None = None, weights: Tensor | None = None
    ) -> tuple[Tensor, Cache | None, Tensor | None]:
        """Output, next cache (None when none was given), and attention (B, H, T, P + T), if another layer takes it."""
        projections = (self.v_proj,) if self.reuses else (self.q_proj, self.k_proj, self.v_proj)
        *queries, values = (project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in projections)
        rest = [*queries[1:], values]  # keys, where there are any, and values
        if cache is not None:
            # The cache keeps its length P: an exported step has fixed shapes, and the memory of a stream never grows.
            past = cache[0].shape[2]
            rest = [torch.cat([old, new], 2) for old, new in zip(cache, rest, strict=True)]
            cache = tuple(new[:, :, -past:] for new in rest)
        dropout = self.dropout if self.training else 0.0
        if self.reuses:
            assert weights is not None
            y = weights @ rest[0]
        elif self.kept:
            # Spelled out only here: scaled_dot_product_attention is faster, but does not give its weights away.
            weights = attention_weights(queries[0], rest[0], mask)
            y = F.dropout(weights, dropout) @ rest[1]
        else:
            # What an earlier layer handed on ends here; kept, it would hold B x H x T x T numbers for nobody.
            weights = None
            y = F.scaled_dot_product_attention(queries[0], rest[0], rest[1], attn_mask=mask, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2)), cache, weights


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)), (B, H, T, P + T); `mask` as scaled_dot_product_attention takes it."""
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if mask is not None:
        # Recordings come with a mask of bools, a stream with finite numbers to add (`streaming.HIDDEN`).
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


class FeedForward(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig, ffn_width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.width, ffn_width)
        self.output_dense = nn.Linear(ffn_width, config.width)
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(self.dropout(F.gelu(self.intermediate_dense(x))))


class TransformerLayer(nn.Module):
    """One Transformer layer, normed after (base models) or before (large models) its two blocks."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        # Whether attention is kept depends on the next layer; `reuses` is False behind the last one.
        reuses, kept = config.reuses(index), config.reuses(index + 1)
        self.attention = Attention(config, config.num_heads[index], reuses, kept)
        # HubertModel has these two names in both orders: layer_norm goes with attention, final_layer_norm with the
        # feed-forward block, whether they stand before or after it.
        self.layer_norm = norm_of(config)
        self.feed_forward = FeedForward(config, config.ffn_widths[index])
        self.final_layer_norm = norm_of(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: Cache | None = None, weights: Tensor | None = None
    ) -> tuple[Tensor, Cache | None, Tensor | None]:
        """(B, T, D) -> the same, the attention's next cache, and its weights; see `Attention`."""
        y, cache, weights = self.attention(self.layer_norm(x) if self.pre_norm else x, mask, cache, weights)
        x = x + self.dropout(y)
        if self.pre_norm:
            return x + self.dropout(self.feed_forward(self.final_layer_norm(x))), cache, weights
        x = self.layer_norm(x)
        return self.final_layer_norm(x + self.dropout(self.feed_forward(x))), cache, weights
