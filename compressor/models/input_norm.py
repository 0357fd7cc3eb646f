"""The scaling of a waveform to zero mean and unit variance: by the whole recording, or by its past alone.

Shapes: B batch, S samples, N blocks of one hop.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speechpress.runtime.spec import StreamSpec

from .config import FAIRSEQ_EPS, SAMPLE_RATE

EPS = FAIRSEQ_EPS
MEMORY_S = 4.0  # after so long, what was heard counts 1/e
PRIOR_S, PRIOR_RMS = 0.5, 0.05  # a stream starts as if it had heard half a second of speech at -26 dB of full scale
SEGMENT = 256  # blocks that are worked off at once
MAX_AT_ONCE_S = 300.0  # where float32 still holds e to the power of this over MEMORY_S


def normalize(waves: Tensor, lengths: Tensor | None = None, eps: float = EPS) -> Tensor:
    """Zero mean and unit variance per row over its valid samples, (B, S) -> (B, S), padding stays zero.

    `eps` is 1e-5 in fairseq (layer_norm's) and 1e-7 in the Hugging Face extractor: what is as quiet as its square root
    comes out weaker.
    """
    if lengths is None:
        # fairseq's own call, so that nothing differs but rounding.
        return F.layer_norm(waves, waves.shape[-1:], eps=eps)
    valid = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    count = lengths[:, None].to(waves.dtype)
    mean = (waves * valid).sum(1, keepdim=True) / count
    variance = ((waves - mean).square() * valid).sum(1, keepdim=True) / count
    return (waves - mean) * (variance + eps).rsqrt() * valid


def initial_sums(batch: int, device: torch.device | str = "cpu") -> Tensor:
    """(B, 3): samples, their sum and their sum of squares before anything was heard."""
    count = PRIOR_S * SAMPLE_RATE
    return torch.tensor([[count, 0.0, count * PRIOR_RMS**2]], device=device).repeat(batch, 1)


def real_samples(first_block: Tensor, blocks: int, spec: StreamSpec) -> Tensor:
    """(B, N): how many samples of each block are audio, for blocks from `first_block` (B,) on.

    A stream is led by silence that fills up its first blocks, see `streaming`.
    """
    ends = (first_block[:, None] + torch.arange(1, blocks + 1, device=first_block.device)) * spec.hop_samples
    return (ends - spec.silence_samples).clamp(0, spec.hop_samples)


def running_blocks(blocks: Tensor, real: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each block by the statistics of the audio up to its own end, which fade with MEMORY_S.

    Args:
        blocks: (B, N, hop), or all without B.
        real: (B, N), how many samples of each block count.
        sums: (B, 3) of the past.

    Returns:
        The scaled blocks (B, N, hop), and the sums (B, 3) with them.
    """
    count, hop = blocks.shape[-2:]
    fade = hop / (MEMORY_S * SAMPLE_RATE)
    index = torch.arange(count, device=blocks.device)
    # Weighting by e^(+fade i), summing and dividing again is the fading sum without a loop over blocks; SEGMENT
    # keeps the exponent small, and MAX_AT_ONCE_S says where float32 would overflow.
    grown = torch.exp(fade * index)[:, None]
    new = torch.stack([real.to(blocks.dtype), blocks.sum(-1), blocks.square().sum(-1)], -1)
    # Not a product with a matrix of fading weights: autocast would make half precision of it, a compiler N x N numbers.
    kept = torch.cumsum(new * grown, -2) / grown
    heard = kept + torch.exp(-fade * (index + 1.0))[:, None] * sums[..., None, :]
    samples, total, squares = heard.unbind(-1)
    mean = total / samples
    # Rounding can make the difference negative, and rsqrt of that is NaN.
    deviation = (squares / samples - mean.square()).clamp_min(0) + EPS
    return (blocks - mean[..., None]) * deviation.rsqrt()[..., None], heard[..., -1, :]


def running_normalize(waves: Tensor, spec: StreamSpec) -> Tensor:
    """The causal substitute for `normalize`, (B, S) -> (B, S): what a stream would have done, at once."""
    hop, silence = spec.hop_samples, spec.silence_samples
    blocks = math.ceil((silence + waves.shape[1]) / hop)
    padded = F.pad(waves, (silence, blocks * hop - silence - waves.shape[1])).unflatten(1, (blocks, hop))
    first = torch.zeros(len(waves), dtype=torch.long, device=waves.device)
    real, sums = real_samples(first, blocks, spec), initial_sums(len(waves), waves.device)
    done = []
    for start in range(0, blocks, SEGMENT):
        part, sums = running_blocks(padded[:, start : start + SEGMENT], real[:, start : start + SEGMENT], sums)
        done.append(part)
    return torch.cat(done, 1).flatten(1)[:, silence : silence + waves.shape[1]]
