"""Noise that is laid under speech: pink noise, the babble of other speakers, and the sound of rooms.

Shapes: S samples, N samples of a tape.

Long tapes are made once, and what disturbs a recording is a piece of one, drawn with Python's own random numbers: it is
the same on every machine and device, costs no random numbers of torch, and needs no other recording of the batch, which
may lie on another process.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..models.config import SAMPLE_RATE
from .audio import Cut, UnreadableAudio, cut_samples, read_samples

TAPE_SAMPLES = 2**21  # 131 s
SPEAKERS, SPEAKER_S = 48, 6.0  # recordings on the tape of babble, and how much of each
VOICES = (3, 6)  # that speak at once
RT60_S = (0.2, 0.8)  # in which the sound of a room falls by 60 dB
FIRST_ECHO_S = 0.002
_QUIET = 1e-4  # a recording of less than this is no voice


@dataclass
class Tapes:
    """(N,) of each name, at unit power."""

    tapes: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Tapes":
        return Tapes({name: tape.to(device) for name, tape in self.tapes.items()})

    def piece(self, name: str, samples: int, draw: random.Random) -> Tensor:
        """(samples,) from a random place; the end of a tape is followed by its beginning."""
        tape = self.tapes[name]
        start = draw.randrange(len(tape))
        around = torch.arange(start, start + samples, device=tape.device) % len(tape)
        return tape[around]


def make_tapes(kinds: Sequence[str], cuts: Iterable[Cut], seed: int) -> Tapes:
    """The tapes that these kinds of noise need; `cuts` are who speaks in babble.

    Raises SpeechpressError for babble of a corpus of which nothing can be heard.
    """
    white = torch.randn(TAPE_SAMPLES, generator=torch.Generator().manual_seed(seed))
    tapes = {}
    if "reverb" in kinds:
        tapes["white"] = white
    if "pink" in kinds:
        tapes["pink"] = pink(white)
    if "babble" in kinds:
        tapes["babble"] = _speakers(cuts, seed)
    return Tapes(tapes)


def pink(white: Tensor) -> Tensor:
    """White noise (N,) with 3 dB less per octave, at unit power and without a mean."""
    spectrum = torch.fft.rfft(white)
    spectrum = spectrum / torch.arange(len(spectrum)).clamp(min=1).sqrt()
    spectrum[0] = 0
    return _unit(torch.fft.irfft(spectrum, len(white)))


def disturbed(wave: Tensor, kind: str, snr_db: float, tapes: Tapes, draw: random.Random) -> Tensor:
    """(S,) with noise of a kind `snr_db` below it; of a room, its echoes lie so far below the sound itself."""
    noise = DISTURBANCES[kind](wave, tapes, draw)
    # On the device: to read the powers here would wait for it.
    gain = wave.square().mean().sqrt() / noise.square().mean().sqrt().clamp(min=1e-8)
    return wave + noise * (gain * 10 ** (-snr_db / 20))


def _pink(wave: Tensor, tapes: Tapes, draw: random.Random) -> Tensor:
    return tapes.piece("pink", len(wave), draw)


def _babble(wave: Tensor, tapes: Tapes, draw: random.Random) -> Tensor:
    voices = [tapes.piece("babble", len(wave), draw) for _ in range(draw.randint(*VOICES))]
    return torch.stack(voices).sum(0)


def _echoes(wave: Tensor, tapes: Tapes, draw: random.Random) -> Tensor:
    """What a room adds: noise that fades exponentially, convolved with the speech."""
    rt60_s = draw.uniform(*RT60_S)
    samples = round(rt60_s * SAMPLE_RATE)
    time_s = torch.arange(samples, device=wave.device) / SAMPLE_RATE
    fading = torch.exp(-3 * math.log(10) / rt60_s * time_s) * (time_s >= FIRST_ECHO_S)
    response = tapes.piece("white", samples, draw) * fading
    size = 2 ** (len(wave) + samples - 1).bit_length()
    echoes = torch.fft.irfft(torch.fft.rfft(wave, size) * torch.fft.rfft(response, size), size)
    return echoes[: len(wave)]


DISTURBANCES = {"pink": _pink, "babble": _babble, "reverb": _echoes}


def _speakers(cuts: Iterable[Cut], seed: int) -> Tensor:
    """A piece of each of some recordings, one after the other and equally loud."""
    # By id, so that a manifest in another order gives the same.
    draw, left = random.Random(f"{seed}/babble"), sorted(cuts, key=lambda cut: cut.id)
    draw.shuffle(left)
    parts: list[Tensor] = []
    for cut in left:
        whole = cut_samples(cut)
        samples = min(whole, round(SPEAKER_S * SAMPLE_RATE))
        start = draw.randint(0, whole - samples)
        try:
            # Whoever trains on it hears and says that it cannot be read.
            wave = read_samples(cut, start, samples)
        except UnreadableAudio:
            continue
        if np.sqrt(np.square(wave).mean()) > _QUIET:
            parts.append(_unit(torch.from_numpy(wave)))
        if len(parts) == SPEAKERS:
            break
    if not parts:
        raise SpeechpressError("babble is made of the recordings to train on, but none of them can be heard")
    return torch.cat(parts)


def _unit(wave: Tensor) -> Tensor:
    return wave / wave.square().mean().sqrt()
