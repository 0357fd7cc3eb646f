"""Ranges of an encoder's operators, measured on held-out speech: whole recordings, and chunk by chunk as a stream.

Shapes: S samples, N bins of a histogram.

A range is not simply from the lowest to the highest value: of 256 levels, those that only a few outliers need are
missed by all others. It is the one that leaves the least squared error over all that was seen; behind a GELU, over what
the GELU makes of it, which is nothing for values below -4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import StreamingExtractor

from ..data.corpus import open_corpus
from ..data.heldout import heldout_waves, split_heldout
from ..models.answering import hear
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.streaming import TorchEngine, folded
from ..starter import SPEECH
from .fake_quant import feeds_gelu, kinds, operators
from .scheme import FIRST_CONV, FLOAT, LEVELS, Operator, Range, scale_of

# Seconds; a crop is 250,000 samples, the longest on which HuBERT was trained.
SPEECH_S, CROP_S = 120.0, 15.625
SILENCE_RMS = 1e-4  # -80 dB of full scale
# From all of each side down to a fifth of it, both sides on their own: a few outliers may be far away.
BINS, CLIPS = 2048, torch.linspace(1.0, 0.2, 33)
Ranges = dict[str, tuple[Range, Range]]  # of input and output


@dataclass(frozen=True)
class Speech:
    """Clips of (1, S) to calibrate on, others to measure on, and what they are, for quantize.json."""

    calibration: list[Tensor]
    test: list[Tensor]
    about: dict[str, Any]


def heldout_speech(data: Path | None, seed: int = 0) -> Speech:
    """The part of a corpus that a distillation of the same seed holds out, at most two minutes, split in two.

    Raises SpeechpressError when there is no speech that can be read, too little of it, or nothing but silence.
    """
    corpus = open_corpus(data or SPEECH)
    # With the seed of the distillation: speech that a student has learned from says too little of other speech.
    _, held = split_heldout(corpus, seconds=min(SPEECH_S, corpus.hours * 3600 / 2), seed=seed)
    waves = heldout_waves(held, CROP_S)
    loud = [wave for wave in waves if wave.square().mean().sqrt() > SILENCE_RMS]
    if not loud:
        raise SpeechpressError(
            f"{corpus.source}: all of the {len(waves)} held-out recordings are silence (below -80 dB of full scale), "
            "which says nothing about the ranges of speech; give other recordings with --data"
        )
    if len(loud) < 2:
        raise SpeechpressError(
            f"{corpus.source}: only one held-out recording holds sound, and one is needed to calibrate on, another to "
            "measure on; give more recordings with --data"
        )
    about = {
        "source": "starter" if data is None else str(data),
        "fingerprint": corpus.fingerprint,
        "recordings": len(loud[::2]),
        "seconds": sum(wave.shape[1] for wave in loud[::2]) / SAMPLE_RATE,
        "resampled": {str(rate): count for rate, count in corpus.resampled.items()},
        "silent": len(waves) - len(loud),
    }
    return Speech(loud[::2], loud[1::2], about)


@dataclass
class Seen:
    """What passed one place: its limits, and then how often which value came."""

    # Both begin at 0, because a range always holds it, see `scale_of`.
    low: float = 0.0
    high: float = 0.0
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS))

    def limit(self, x: Tensor) -> None:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def count(self, x: Tensor) -> None:
        # Of equal limits torch.histc makes "those of the data", and the bins of two calls would differ.
        if self.high > self.low:
            self.counts += torch.histc(x.float(), BINS, self.low, self.high)

    def range(self, through: Callable[[Tensor], Tensor]) -> Range:
        """The range that leaves the least squared error."""
        if self.high <= self.low:
            return self.low, self.high
        width = (self.high - self.low) / BINS
        values = self.low + width * (torch.arange(BINS) + 0.5)
        wanted, best, least = through(values), (self.low, self.high), torch.inf
        for low in (self.low * CLIPS).unique().tolist():
            for high in (self.high * CLIPS).unique().tolist():
                # On the program's own grid, so that what its zero point and its limits are rounded to counts too.
                rounded = torch.fake_quantize_per_tensor_affine(values, *scale_of((low, high)), *LEVELS)
                error = float((self.counts * (through(rounded) - wanted).square()).sum())
                if error < least:
                    best, least = (low, high), error
        return best


def calibrate(encoder: Encoder, waves: Sequence[Tensor], chunks: Sequence[int], say: OnText) -> Ranges:
    """The ranges of every operator on clips of (1, S), over whole recordings and over streams in chunks of frames.

    Twice: a histogram needs to know its limits.
    """
    seen = {name: (Seen(), Seen()) for name in operators(encoder)}
    for stage, watch in (("limits", Seen.limit), ("histograms", Seen.count)):
        say(f"calibrating on {sum(wave.shape[1] for wave in waves) / SAMPLE_RATE:.0f} s of speech: {stage}")
        _hear(encoder, waves, chunks, partial(_watch, seen, watch))
    say("choosing ranges")
    ranges = {}
    for name, (inputs, outputs) in seen.items():
        through = F.gelu if feeds_gelu(name, encoder.config) else _same
        ranges[name] = inputs.range(_same), outputs.range(through)
    return ranges


def static_operators(encoder: Encoder, ranges: Ranges) -> Mapping[str, Operator]:
    """Every operator in its ranges, but for the first convolution."""
    return {name: FLOAT if name == FIRST_CONV else Operator("static", *ranges[name]) for name in kinds(encoder)}


def _same(x: Tensor) -> Tensor:
    return x


def _watch(
    seen: dict[str, tuple[Seen, Seen]], watch: Callable[[Seen, Tensor], None], name: str, x: Tensor, y: Tensor
) -> None:
    watch(seen[name][0], x)
    watch(seen[name][1], y)


@torch.inference_mode()
def _hear(
    encoder: Encoder, waves: Sequence[Tensor], chunks: Sequence[int], watch: Callable[[str, Tensor, Tensor], None]
) -> None:
    """Run all clips offline and through streams, and tell `watch` what goes into every operator and comes out.

    Operators of heads that the encoder carries are among them.
    """
    whole = _watched(folded(encoder), watch)
    # A stream begins in silence and sees a limited past, so its values are others than a recording's.
    engines = [TorchEngine(encoder, chunk) for chunk in chunks]
    for engine in engines:
        _watched(engine.model.encoder, watch)
    for wave in waves:
        hear(whole, wave)
        for engine in engines:
            stream = StreamingExtractor(engine)
            stream.push(wave[0].numpy())
            stream.flush()


def _watched(encoder: Encoder, watch: Callable[[str, Tensor, Tensor], None]) -> Encoder:
    def tell(name: str, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        watch(name, inputs[0], output)

    for name, part in operators(encoder).items():
        part.register_forward_hook(partial(tell, name))
    return encoder
