"""How well a head answers on its held-out clips, from rows of its outputs, whatever computed them.

Shapes: S samples, T frames, W columns of an output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import read_sound
from ..models.config import SAMPLE_RATE
from ..tasks.kinds import Item, is_error
from .data import fingerprint, open_task
from .files import KeptHead
from .judge import STATISTICS, counts_of

CLIPS, SPEECH_S = 100, 300.0  # at most so many, and so much of them, are heard
Outputs = Mapping[str, np.ndarray]  # (T, W), or (1, W) about the whole clip, by the name of the output


@dataclass(frozen=True)
class HeldOut:
    """Test clips of the speech that a head was trained on: waves (S,), and what is right."""

    kind: str  # of the task
    metric: str
    items: tuple[Item, ...]
    waves: tuple[np.ndarray, ...]

    @property
    def lower_is_better(self) -> bool:
        return is_error(self.metric)

    @property
    def seconds(self) -> float:
        return sum(map(len, self.waves)) / SAMPLE_RATE


def held_out(head: KeptHead, shortest: int) -> HeldOut:
    """Its clips of at least so many samples, spread over the test part.

    Raises SpeechpressError where the card names no such speech, it cannot be found, or it is no longer the same.
    """
    card = head.card
    told = card.get("data")
    told = told if isinstance(told, dict) else {}
    source = told.get("source")
    if not source or not card.get("task"):
        raise SpeechpressError("its card names no speech that it was tested on")
    if head.kind == "units":
        raise SpeechpressError("units have no right answers")
    if not Path(source).exists():
        raise SpeechpressError(f"its speech is not at hand ({source})")
    task = open_task(str(card["task"]), Path(source))
    if told.get("fingerprint") != fingerprint(task.items):
        raise SpeechpressError(f"its speech has changed since, or other labels of it were taken ({source})")
    part = task.part("test")
    items, waves, left = [], [], SPEECH_S * SAMPLE_RATE
    for item in part[:: max(1, len(part) // CLIPS)][:CLIPS]:
        wave = read_sound(item.sound)
        if len(wave) < shortest or len(wave) > left:
            continue
        left -= len(wave)
        items.append(item)
        waves.append(np.asarray(wave, np.float32))
    if len(items) < 2:
        raise SpeechpressError(f"its speech holds fewer than two clips to test on ({source})")
    return HeldOut(task.kind, task.metric, tuple(items), tuple(waves))


def figure(head: KeptHead, clips: HeldOut, rows: Sequence[Outputs], hop_samples: int) -> float:
    """The metric of the head's task over all clips, of whose outputs there is one entry each."""
    first = [next(iter(outputs.values())) for outputs in rows]
    return STATISTICS[clips.kind](counts_of(clips.kind, head.labels, clips.items, first, hop_samples))
