"""Speech in rows of two lengths, and what a teacher says of them, whole in the memory of a GPU.

Shapes: N rows, S samples, T frames, E width of the teacher.

Clips of about a word are cut to one length; the others are joined by speaker, in two orders, and cut to a longer one.
Each clip is there at three playing speeds. Nothing is padded, and rows of one length meet in a batch.
"""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from students_speech import SAMPLE_RATE, SPEEDS, at_speeds, read_labels
from torch import Tensor

from speechpress.compressor.data.batches import whole_frames
from speechpress.compressor.teachers.load import Teacher

LENGTHS_S = {"short": 0.9, "long": 5.0}
WORD_S = 1.5  # a clip of at most that is a short row by itself, unless it is shorter than one
ORDERS = 2  # in which the clips of a speaker are joined
HELD_OUT = 40  # one of so many speakers is not trained on
FULL_SCALE = 32768.0

Clip = tuple[str, dict[float, np.ndarray]]  # speaker, and int16 at each speed


@dataclass
class Rows:
    """Rows of one length.

    Attributes:
        waves: (N, S) int16.
        told: {teacher layer: (N, T, E)} float16.
        noisy: (N, S) int16, the same in noise, where some student hears noise.
    """

    waves: Tensor
    told: dict[int, Tensor]
    noisy: Tensor | None = None

    def heard(self, rows: Tensor) -> Tensor:
        """(B, S) float32."""
        return self.waves.index_select(0, rows).float() / FULL_SCALE

    @property
    def row_s(self) -> float:
        return self.waves.shape[1] / SAMPLE_RATE


def samples_of(length: str) -> int:
    return whole_frames(int(LENGTHS_S[length] * SAMPLE_RATE))


def decoded(folder: Path, row: tuple[str, str]) -> Clip:
    place, speaker = row
    heard = at_speeds(folder / place)
    return speaker, {speed: (np.clip(one, -1, 1) * (FULL_SCALE - 1)).astype(np.int16) for speed, one in heard.items()}


def read_clips(folder: Path) -> list[Clip]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(decoded, folder), read_labels(folder), chunksize=64))


def is_word(clip: Clip) -> bool:
    samples = [len(wave) for wave in clip[1].values()]
    return min(samples) >= samples_of("short") and len(clip[1][1.0]) <= WORD_S * SAMPLE_RATE


def cut_words(clips: Sequence[Clip], speeds: Sequence[float]) -> np.ndarray:
    """One row of each clip at each speed, from a random place in it."""
    size, draw, rows = samples_of("short"), random.Random("words"), []
    for _, heard in filter(is_word, clips):
        for speed in speeds:
            start = draw.randrange(len(heard[speed]) - size + 1)
            rows.append(heard[speed][start : start + size])
    return np.stack(rows) if rows else np.empty((0, size), np.int16)


def cut_joined(clips: Sequence[Clip], speeds: Sequence[float], orders: int) -> np.ndarray:
    """Rows of the other clips, joined by speaker: clips whose speaker has no others are joined with their like."""
    spoken: dict[str, list[dict[float, np.ndarray]]] = {}
    for speaker, heard in clips:
        if not is_word((speaker, heard)):
            spoken.setdefault(speaker, []).append(heard)
    alone = [heard for own in spoken.values() if len(own) == 1 for heard in own]
    groups = [own for own in spoken.values() if len(own) > 1] + ([alone] if alone else [])
    size, draw, rows = samples_of("long"), random.Random("joined"), []
    for _ in range(orders):
        for group in groups:
            draw.shuffle(group)
            for speed in speeds:
                tape = np.concatenate([heard[speed] for heard in group])
                count = len(tape) // size
                rows.append(tape[: count * size].reshape(count, size))
    return np.concatenate(rows) if rows else np.empty((0, size), np.int16)


def split(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and those of speakers that are held out."""
    speakers = sorted({speaker for speaker, _ in clips})
    random.Random("held out").shuffle(speakers)
    out = set(speakers[: max(1, len(speakers) // HELD_OUT)])
    return [clip for clip in clips if clip[0] not in out], [clip for clip in clips if clip[0] in out]


def teach(teacher: Teacher, waves: np.ndarray, layers: Sequence[int], device: torch.device) -> Rows:
    """Rows on the device, with what the teacher says of them."""
    heard = torch.from_numpy(waves).to(device)
    frames = int(teacher.frames(heard.shape[1]))
    told = {
        layer: torch.empty(len(heard), frames, teacher.card.width, dtype=torch.float16, device=device)
        for layer in layers
    }
    rows = Rows(heard, told)
    size = max(1, int(160 / rows.row_s))
    for start in range(0, len(heard), size):
        picked = torch.arange(start, min(start + size, len(heard)), device=device)
        for layer, state in teacher.hidden_states(rows.heard(picked), layers=layers).items():
            told[layer][start : start + size] = state.half()
    return rows


def rows_of(
    clips: Sequence[Clip], teacher: Teacher, layers: Sequence[int], device: torch.device, *, plain: bool = False
) -> dict[str, Rows]:
    """Rows of both lengths; `plain`: at one speed and in one order, for validation."""
    speeds, orders = ((1.0,), 1) if plain else (SPEEDS, ORDERS)
    cut = {"short": cut_words(clips, speeds), "long": cut_joined(clips, speeds, orders)}
    return {name: teach(teacher, waves, layers, device) for name, waves in cut.items() if len(waves)}
