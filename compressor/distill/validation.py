"""How near a student is to its teacher on speech that was held out of its training.

Shapes: B batch, S samples, T frames, D width.
"""

import torch
from torch import Tensor, nn

from ..lessons.units import Centres
from ..teachers.load import Teacher
from .objectives import l1_and_cosine_sums


def align(predictions: dict[int, Tensor], targets: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Cut both to the frames they share: Whisper's front end pads its input, HuBERT's does not."""
    frames = min(next(iter(predictions.values())).shape[1], next(iter(targets.values())).shape[1])
    return {k: v[:, :frames] for k, v in predictions.items()}, {k: v[:, :frames] for k, v in targets.items()}


@torch.no_grad()
def validate(
    distiller: nn.Module,
    teacher: Teacher,
    layers: tuple[int, ...],
    waves: list[Tensor],
    chunk_frames: int | None = None,
) -> dict[str, dict[str, float]]:
    """Fidelity on held-out clips, each (1, S): {layer: {"cosine", "l1"}}, means over all frames.

    Where nothing projects the student onto the teacher's width, they are those of the Gram matrices' rows.
    The teacher always hears the whole clip; the student hears it in chunks, if their size is given.
    """
    if not layers:
        return {}  # clusters alone, see validate_units
    training = distiller.training
    distiller.eval()
    sums, frames = dict.fromkeys(layers, torch.zeros(2)), 0
    device = next(distiller.parameters()).device
    # One clip at a time: in a batch of different lengths the padding would be heard.
    for wave in (wave.to(device) for wave in waves):
        predictions, targets = align(distiller(wave, chunk_frames), teacher.hidden_states(wave, layers=layers))
        parts = l1_and_cosine_sums(predictions, targets)
        frames += next(iter(targets.values())).shape[1]
        sums = {layer: sums[layer] + torch.stack(parts[layer]).cpu() for layer in layers}
    distiller.train(training)
    means = {layer: (total / max(frames, 1)).tolist() for layer, total in sums.items()}
    return {str(layer): {"cosine": cosine, "l1": l1} for layer, (l1, cosine) in means.items()}


@torch.no_grad()
def validate_units(
    distiller: nn.Module, teacher: Teacher, centres: Centres, waves: list[Tensor], chunk_frames: int | None = None
) -> dict[str, dict[str, float]]:
    """How often the student tells the unit of a frame of held-out clips, each (1, S): {layer: {"accuracy"}}."""
    training = distiller.training
    distiller.eval()
    right, frames = dict.fromkeys(centres.layers, 0.0), 0
    device = next(distiller.parameters()).device
    for wave in (wave.to(device) for wave in waves):
        units = centres.units(teacher.hidden_states(wave, layers=centres.layers))
        predictions, units = align(distiller(wave, chunk_frames), units)
        frames += next(iter(units.values())).shape[1]
        for layer in centres.layers:
            right[layer] += float((predictions[~layer].argmax(-1) == units[~layer]).sum())
    distiller.train(training)
    return {str(layer): {"accuracy": count / max(frames, 1)} for layer, count in right.items()}
