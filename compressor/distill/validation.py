"""How near a student is to its teacher on speech that was held out of its training.

Shapes: B batch, S samples, T frames, D width.
"""

import torch
from torch import Tensor, nn

from ..lessons.units import Centres
from ..teachers.load import Teacher
from .objectives import l1_and_cosine_sums
from .standardise import Standard


def align(
    predictions: dict[int, Tensor], targets: dict[int, Tensor], lag_frames: int = 0
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Cut both to the frames they share: Whisper's front end pads its input, HuBERT's does not.

    A student with a lag says at t + `lag_frames` (of the teacher's) what its teacher says at t.
    """
    late = {layer: state[:, lag_frames:] for layer, state in predictions.items()}
    frames = min(next(iter(late.values())).shape[1], next(iter(targets.values())).shape[1])
    return {k: v[:, :frames] for k, v in late.items()}, {k: v[:, :frames] for k, v in targets.items()}


@torch.no_grad()
def validate(
    distiller: nn.Module,
    teacher: Teacher,
    layers: tuple[int, ...],
    waves: list[Tensor],
    chunk_frames: int | None = None,
    standard: Standard | None = None,
    lag_frames: int = 0,
) -> dict[str, dict[str, float]]:
    """Fidelity on held-out clips, each (1, S): {layer: {"cosine", "l1"}}, means over all frames.

    Where nothing projects the student onto the teacher's width, they are those of the Gram matrices' rows.
    The teacher always hears the whole clip; the student hears it in chunks, if their size is given. They are in the
    teacher's own scale; with `standard` there are "standard_cosine" and "standard_l1" too, of what training compares.
    `lag_frames`: see `align`.
    """
    if not layers:
        return {}  # clusters alone, see validate_units
    training = distiller.training
    distiller.eval()
    names = ("l1", "cosine") if standard is None else ("l1", "cosine", "standard_l1", "standard_cosine")
    sums, frames = dict.fromkeys(layers, torch.zeros(len(names))), 0
    device = next(distiller.parameters()).device
    # One clip at a time: in a batch of different lengths the padding would be heard.
    for wave in (wave.to(device) for wave in waves):
        states = teacher.hidden_states(wave, layers=layers)
        predictions, targets = align(distiller(wave, chunk_frames), states, lag_frames)
        parts: dict[int, tuple[Tensor, ...]] = dict(l1_and_cosine_sums(predictions, targets))
        if standard is not None:
            more = l1_and_cosine_sums(standard(predictions), standard(targets))
            parts = {layer: (*pair, *more[layer]) for layer, pair in parts.items()}
        frames += next(iter(targets.values())).shape[1]
        sums = {layer: sums[layer] + torch.stack(parts[layer]).cpu() for layer in layers}
    distiller.train(training)
    means = {layer: (total / max(frames, 1)).tolist() for layer, total in sums.items()}
    return {str(layer): dict(zip(names, values, strict=True)) for layer, values in means.items()}


@torch.no_grad()
def validate_units(
    distiller: nn.Module,
    teacher: Teacher,
    centres: Centres,
    waves: list[Tensor],
    chunk_frames: int | None = None,
    lag_frames: int = 0,
) -> dict[str, dict[str, float]]:
    """How often the student tells the unit of a frame of held-out clips, each (1, S): {layer: {"accuracy"}}."""
    training = distiller.training
    distiller.eval()
    right, frames = dict.fromkeys(centres.layers, 0.0), 0
    device = next(distiller.parameters()).device
    for wave in (wave.to(device) for wave in waves):
        units = centres.units(teacher.hidden_states(wave, layers=centres.layers))
        predictions, units = align(distiller(wave, chunk_frames), units, lag_frames)
        frames += next(iter(units.values())).shape[1]
        for layer in centres.layers:
            right[layer] += float((predictions[~layer].argmax(-1) == units[~layer]).sum())
    distiller.train(training)
    return {str(layer): {"accuracy": count / max(frames, 1)} for layer, count in right.items()}
