"""What is measured, as layers of frames: models, log-mel, random weights; and clips in batches without padding.

Shapes: B clips of one length, S samples, T frames, L layers (0 included), D width.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.audio import Skipped, UnreadableAudio
from ..data.golden import golden_clip
from ..models.config import MEL_HOP_SAMPLES as MEL_HOP
from ..models.config import MEL_WINDOW_SAMPLES as MEL_WINDOW
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.encoder import Encoder
from ..models.front_end import mel_filters

BATCH_S = 60.0
PENDING_S = 600.0
MEASURED_S = 20.0
MELS = 80

K = TypeVar("K")


@dataclass(frozen=True)
class Upstream:
    """Something with frozen layers: waves (B, S) -> layers 0..L, each (B, T, D).

    `key` is a hash of everything that decides what comes out, "" when it is not to be kept on disk; `hop_samples` and
    `receptive_samples` say how far frames are apart and what one sees; `size_bytes` is that of what would be shipped;
    `limit_s` is the longest recording that it can hear; `in_chunks` whether it hears as it does when it streams.
    """

    states: Callable[[Tensor], Sequence[Tensor]]
    norm: bool = True
    key: str = ""
    layers: int = 0
    width: int = 0
    hop_samples: int = 320
    receptive_samples: int = 400
    size_bytes: int = 0
    limit_s: float | None = None
    in_chunks: bool = False

    def frames(self, seconds: float) -> int:
        """About how many frames a recording gives."""
        samples = round(seconds * SAMPLE_RATE)
        # Exact for convolutions without padding, as HuBERT's; front ends that pad give a little more.
        return max(0, (samples - self.receptive_samples) // self.hop_samples + 1)

    def on_time(self, lag_frames: int) -> "Upstream":
        """The same of a student that answers late, on time: frame t is then the one that speaks of t."""
        if not lag_frames:
            return self
        # What it says of the last frames comes out in the silence after them, as at the end of a sentence.
        silence, states = lag_frames * self.hop_samples, self.states
        return replace(self, states=lambda waves: [x[:, lag_frames:] for x in states(F.pad(waves, (0, silence)))])

    def row_bytes(self) -> int:
        """Bytes of a frame of all layers in float16."""
        return 2 * self.layers * self.width


def of_model(model: Any, chunk_frames: int | None = None) -> Upstream:
    """An Encoder or a Teacher as an upstream; both name their layers 0..L in the same sense.

    With `chunk_frames` an Encoder hears its audio in chunks, as when it streams.
    """
    given = {} if chunk_frames is None else {"chunk_frames": chunk_frames}

    def states(waves: Tensor) -> Sequence[Tensor]:
        layers = model.hidden_states(waves, **given)
        return [layers[k] for k in sorted(layers)] if isinstance(layers, dict) else layers

    return Upstream(states, in_chunks=chunk_frames is not None)


def random_copy(config: EncoderConfig, seed: int = 0) -> Encoder:
    """An encoder of the same shape with random weights: what the architecture alone is good for.

    What a student measures on speech before it trains is measured for it too.

    Raises SpeechpressError when it has to be measured and the installation lacks the starter speech.
    """
    # What runs around an evaluation must not have its random state moved.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(config).eval()
    if encoder.measured:
        encoder.measure_statistics(torch.from_numpy(golden_clip(MEASURED_S))[None])
    return encoder


def log_mel(waves: Tensor) -> Tensor:
    """(B, S) -> (B, T, 80): log of the mel spectrum, the features without any learning."""
    window = torch.hann_window(MEL_WINDOW, device=waves.device)
    spectrum = torch.stft(waves, MEL_WINDOW, MEL_HOP, window=window, return_complex=True).abs().square()
    # Digital silence has no logarithm.
    return (mel_filters(MELS).to(waves.device) @ spectrum).clamp_min(1e-8).log().transpose(1, 2)


LOG_MEL = Upstream(lambda waves: [log_mel(waves)], False, "logmel-80-1", 1, MELS, MEL_HOP, receptive_samples=MEL_WINDOW)


def framed(upstream: Upstream, layers: Sequence[Tensor]) -> Tensor:
    """Layers (B, T, D) -> (B, T, L, D), each frame normalised as in `probes.pooled`."""
    shown = [F.layer_norm(x.float(), x.shape[-1:]) if upstream.norm else x.float() for x in layers]
    return torch.stack(shown, dim=2)


def last_layer(upstream: Upstream) -> Upstream:
    """The same with its last layer only, which is all that a deployed student has."""
    # Other features than those of all layers, so another place on disk; no key stays no key.
    key = upstream.key and f"{upstream.key}-last"
    return replace(upstream, states=lambda waves: [upstream.states(waves)[-1]], layers=1, key=key)


def equal_lengths(
    keys: Sequence[K], skipped: list[Skipped], read: Callable[[K], np.ndarray]
) -> Iterator[tuple[list[K], Tensor]]:
    """Groups of clips of exactly one length, so that no feature depends on padding: keys and waves (B, S)."""
    pending: dict[int, list[tuple[K, np.ndarray]]] = defaultdict(list)
    waiting_s = 0.0
    for key in keys:
        try:
            wave = read(key)
        except UnreadableAudio as error:
            skipped.append(error.skipped)
            continue
        group = pending[len(wave)]
        group.append((key, wave))
        waiting_s += len(wave) / SAMPLE_RATE
        if len(group) * len(wave) >= BATCH_S * SAMPLE_RATE:
            waiting_s -= len(group) * len(wave) / SAMPLE_RATE
            yield _stack(pending.pop(len(wave)))
        # Clips of rare lengths would wait for company in vain, and fill the memory.
        elif waiting_s >= PENDING_S:
            yield from map(_stack, pending.values())
            pending.clear()
            waiting_s = 0.0
    yield from map(_stack, pending.values())


def _stack(group: list[tuple[K, np.ndarray]]) -> tuple[list[K], Tensor]:
    return [key for key, _ in group], torch.from_numpy(np.stack([wave for _, wave in group]))


def some_waves(keys: Sequence[K], read: Callable[[K], np.ndarray], most_s: float, device: str) -> list[Tensor]:
    """The first clips, (1, S) each, until `most_s` is reached; one that cannot be read is passed over."""
    waves, total_s = [], 0.0
    for key in keys:
        try:
            wave = torch.from_numpy(read(key))[None].to(device)
        except UnreadableAudio:
            continue  # counted when the features were made
        total_s += wave.shape[1] / SAMPLE_RATE
        waves.append(wave)
        if total_s >= most_s:
            break
    return waves
