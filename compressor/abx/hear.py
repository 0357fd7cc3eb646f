"""Frames of tokens, layer by layer: each recording is heard whole, and what lies within a token is kept.

Shapes: B recordings of one length, S samples, T frames, D width, F frames of all tokens.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import Skipped
from ..data.sounds import clip, read_sound
from ..evaluate.features import Upstream, equal_lengths
from ..models.config import SAMPLE_RATE
from .items import Token

MOST_BYTES = 3 * 2**30  # of frames in memory at once; what has more layers than fit is heard in several passes


@dataclass(frozen=True)
class Heard:
    """One layer's frames of all tokens (F, D), where each token begins in them, and how many it has."""

    layer: int
    frames: Tensor
    starts: np.ndarray
    lengths: np.ndarray


def too_short(tokens: Sequence[Token], upstreams: Mapping[str, Upstream]) -> np.ndarray:
    """Which tokens hold the middle of no frame of some upstream: those can be compared with nothing."""
    short = np.zeros(len(tokens), bool)
    for hop in {upstream.hop_samples for upstream in upstreams.values()}:
        edges = [token.frames(hop, SAMPLE_RATE) for token in tokens]
        short |= np.array([end <= start for start, end in edges], bool)
    return short


def _whole(path: str) -> np.ndarray:
    return read_sound(clip(path))


def heard(
    upstream: Upstream, tokens: Sequence[Token], device: str = "cpu", read: Callable[[str], np.ndarray] = _whole
) -> Iterator[Heard]:
    """Every layer in turn, of recordings as `read` gives them.

    Raises SpeechpressError for a recording that cannot be read, a token after the last frame, and numbers that are no
    numbers.
    """
    edges = np.array([token.frames(upstream.hop_samples, SAMPLE_RATE) for token in tokens])
    bytes_each = 4 * int((edges[:, 1] - edges[:, 0]).sum()) * upstream.width
    count = max(1, min(upstream.layers, MOST_BYTES // max(1, bytes_each)))
    for first in range(0, upstream.layers, count):
        layers = range(first, min(first + count, upstream.layers))
        yield from _pass(upstream, tokens, edges, layers, device, read)


def _pass(
    upstream: Upstream,
    tokens: Sequence[Token],
    edges: np.ndarray,
    layers: range,
    device: str,
    read: Callable[[str], np.ndarray],
) -> Iterator[Heard]:
    by_file: dict[str, list[int]] = defaultdict(list)
    for number, token in enumerate(tokens):
        by_file[token.path].append(number)
    parts: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    order: list[int] = []
    lengths: list[int] = []
    skipped: list[Skipped] = []
    for paths, waves in equal_lengths(sorted(by_file), skipped, read):
        states = _states(upstream, waves.to(device))
        for row, path in enumerate(paths):
            for number in by_file[path]:
                start, end = _clipped(tokens[number], edges[number], states[0].shape[1])
                order.append(number)
                lengths.append(end - start)
                for layer in layers:
                    parts[layer].append(states[layer][row, start:end].float().cpu())
    if skipped:
        raise SpeechpressError(
            f"{len(skipped)} recordings of the item file cannot be read, the first: {skipped[0].path}: "
            f"{skipped[0].reason}"
        )
    place = np.argsort(order)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for layer in layers:
        frames = torch.cat(parts.pop(layer))
        if not torch.isfinite(frames).all():
            raise SpeechpressError(f"layer {layer}: gives NaN or infinity for this speech, so nothing can be compared")
        yield Heard(layer, frames, starts[place], np.array(lengths)[place])


@torch.inference_mode()
def _states(upstream: Upstream, waves: Tensor) -> Sequence[Tensor]:
    return upstream.states(waves)


def _clipped(token: Token, edge: np.ndarray, frames: int) -> tuple[int, int]:
    """Without the frames that a front end without padding does not have at the end of a recording."""
    start, end = int(edge[0]), min(int(edge[1]), frames)
    if start < frames:
        return start, end
    # The last frame's middle lies up to half of its field before the end; a token in that rest has the last frame.
    return frames - 1, frames
