"""Masking distillation: which frames are hidden, and what the student is then held against.

Shapes: B batch, T frames, E width of the teacher.

ARMHuBERT (arXiv:2305.11685, "masking distillation"): teacher and student both hear the recording with the same frames
hidden behind their mask vectors, and the teacher hears it once more without. Where the student's frame is hidden, its
target is the teacher that heard everything; elsewhere it is the teacher that did not.

`Hearing` is what a recipe's section `hear` asks for: the student alone has frames hidden from it, or hears noise.
"""

import random
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..data.audio import Cut
from ..data.noise import disturbed, make_tapes
from ..models.config import EncoderConfig
from ..recipe.hear import Hear

GAP = 1  # frames that stay between two spans, as in the published configs


def draw_mask(frames: int, prob: float, length: int, draw: random.Random) -> Tensor:
    """(T,), True on frames that are hidden: spans of 0 to 2 `length` frames, which do not touch.

    There are prob x T / length of them, rounded up or down at random, less those for which there is no room. This is
    the choice of fairseq's mask_selection "uniform" with no_mask_overlap, with which ARMHuBERT was trained.
    """
    wanted = int(prob * frames / length + draw.random())
    spans = [draw.randint(0, 2 * length) for _ in range(wanted)]
    while spans and sum(spans) + GAP * (len(spans) - 1) > frames:
        spans.pop()
    mask = torch.zeros(frames, dtype=torch.bool)
    free = frames - sum(spans) - GAP * max(0, len(spans) - 1)
    # Starts are drawn in what the spans leave free and then moved apart: none has to be drawn again.
    starts = sorted(draw.randint(0, free) for _ in spans)
    taken = 0
    for start, span in zip(starts, spans, strict=True):
        mask[start + taken : start + taken + span] = True
        taken += span + GAP
    return mask


def draw_masks(rows: Sequence[int], frames: int, prob: float, length: int, seed: int, step: int) -> Tensor:
    """(B, T) for rows of the global batch: the same however these are spread over processes and micro-batches."""
    # Random() of a string does not depend on PYTHONHASHSEED, as that of hash() would.
    return torch.stack([draw_mask(frames, prob, length, random.Random(f"{seed}/{step}/{row}")) for row in rows])


def masked_targets(plain: Mapping[int, Tensor], hidden: Mapping[int, Tensor], mask: Tensor) -> dict[int, Tensor]:
    """Per layer (B, T, E): the teacher that heard everything where `mask` (B, T) is True, else the one that did not."""
    return {layer: torch.where(mask[:, : state.shape[1], None], state, hidden[layer]) for layer, state in plain.items()}


class Hearing:
    """What the student hears of rows that its teacher hears whole and clean; drawn from seed, step and row alone.

    Args:
        hear: the recipe's section.
        student: whose frames are hidden.
        seed: of the run.
        cuts: the recordings that babble is made of.
    """

    def __init__(self, hear: Hear, student: EncoderConfig, seed: int, cuts: Iterable[Cut]) -> None:
        self.hear, self.student, self.seed = hear, student, seed
        self.tapes = make_tapes(hear.kinds, cuts, seed)

    def to(self, device: torch.device | str) -> "Hearing":
        self.tapes = self.tapes.to(device)
        return self

    def masks(self, rows: Sequence[int], samples: int, step: int) -> Tensor | None:
        """(B, T), True on frames of the front end that are hidden; None where none are."""
        if self.hear.mask_prob is None:
            return None
        frames = int(self.student.front_frames(samples))
        return draw_masks(rows, frames, self.hear.mask_prob, self.hear.span_frames, self.seed, step)

    def noisy(self, waves: Tensor, rows: Sequence[int], step: int) -> Tensor:
        """(B, S), some of it in noise."""
        # Row by row, so that each is the very same whatever rows it shares a micro-batch with.
        return torch.stack([self._row(wave, row, step) for wave, row in zip(waves, rows, strict=True)])

    def _row(self, wave: Tensor, row: int, step: int) -> Tensor:
        if self.hear.noise_prob is None:
            return wave
        draw = random.Random(f"{self.seed}/{step}/{row}/noise")
        if draw.random() >= self.hear.noise_prob:
            return wave
        kind, snr_db = draw.choice(self.hear.kinds), draw.uniform(*self.hear.snr_range_db)
        return disturbed(wave, kind, snr_db, self.tapes, draw)
