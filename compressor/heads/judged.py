"""How well a head answers on its held-out clips, from rows of its outputs, whatever computed them.

Shapes: S samples, T frames, W columns of an output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import read_sound
from ..evaluate.experts import trials
from ..models.config import SAMPLE_RATE
from ..tasks.kinds import GRID_SAMPLES, Item, is_error, speech_frames
from ..tasks.metrics import (
    detection_counts,
    diarization_counts,
    edit_counts,
    equal_error_rate,
    error_rate,
    half_total_error,
)
from .data import fingerprint, open_task
from .files import KeptHead

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
    source = told.get("source") if isinstance(told, dict) else None
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
    count: Any = {"classify": _right, "ctc": _edits, "vad": _detected, "segment": _confused}.get(head.kind)
    if head.kind == "speaker":
        vectors = [outputs["vector"][0] for outputs in rows]
        pairs = trials(clips.items)
        return equal_error_rate(np.array([(float(vectors[a] @ vectors[b]), same) for a, b, same in pairs]))
    counts = np.array([count(head, clips, *pair, hop_samples) for pair in zip(clips.items, rows, strict=True)], float)
    if head.kind == "classify":
        return float(counts.mean())
    return half_total_error(counts) if head.kind == "vad" else error_rate(counts)


def _right(head: KeptHead, clips: HeldOut, item: Item, outputs: Outputs, hop: int) -> float:
    """A clip's class is that of the mean of its frames' logits."""
    return float(head.labels[int(outputs["logits"].mean(0).argmax())] == item.target)


def _edits(head: KeptHead, clips: HeldOut, item: Item, outputs: Outputs, hop: int) -> tuple[int, int]:
    """Greedy: the best label of each frame, without repeats and blanks; words are counted where it spells."""
    best = outputs["logits"].argmax(-1)
    said = [head.labels[b] for b, before in zip(best, [0, *best[:-1]], strict=True) if b and b != before]
    if clips.kind == "words":
        return edit_counts("".join(item.target).split(), "".join(said).split())
    return edit_counts(item.target, said)


def _detected(head: KeptHead, clips: HeldOut, item: Item, outputs: Outputs, hop: int) -> tuple[int, int, int, int]:
    given = outputs["logits"][:, 0] > 0
    return detection_counts(speech_frames(item.target, len(given), hop), given)


def _confused(head: KeptHead, clips: HeldOut, item: Item, outputs: Outputs, hop: int) -> tuple[int, int]:
    """Every 100 ms, by the sum of the frames' logits."""
    logits, wanted = outputs["logits"], np.asarray(item.target, bool)
    bins = np.minimum(np.arange(len(logits)) * hop // GRID_SAMPLES, len(wanted) - 1)
    sums = np.zeros((len(wanted), 2))
    np.add.at(sums, bins, logits)
    return diarization_counts(wanted[: bins[-1] + 1], (sums > 0)[: bins[-1] + 1])
