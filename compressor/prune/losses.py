"""What the distillation loss says of an encoder with something taken out: on batches of training speech.

Shapes: B batch, S samples.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ..distill.distill import Setup, chunk_drawer
from ..distill.step import Distiller, summed_loss, teacher_targets
from ..distill.validation import align
from ..models.encoder import Encoder
from ..models.events import OnText
from ..surgery.cut import cut

BATCHES = 8  # for the importance of units
LAYER_BATCHES = 2  # for that of layers, which is measured once for each of them
Loss = Callable[[Encoder], Tensor]


def losses(made: Setup) -> Iterator[Loss]:
    """The distillation loss of the first batches of training speech, each a function of the encoder."""
    # Batches and chunks as the training would draw them: a streaming student must not be judged by whole recordings.
    draw, stream = chunk_drawer(made.job), made.batches.start(0)
    try:
        for number, batch in enumerate(islice(stream, BATCHES)):
            yield partial(batch_loss, made, batch.waves.to(made.fabric.device), draw(number))
    finally:
        stream.close()


def batch_loss(made: Setup, waves: Tensor, chunk_frames: int | None, encoder: Encoder) -> Tensor:
    """The mean distillation loss of an encoder on (B, S), as it is trained with."""
    match = made.job.match
    targets = teacher_targets(made.teacher, match, waves, None, made.job.centres)
    distiller = Distiller(encoder.to(waves.device), made.job.heads, made.job.units).eval()
    predictions, targets = align(distiller(waves, chunk_frames), targets, made.job.lag_frames)
    if (standard := made.module.standard) is not None:
        predictions, targets = standard(predictions), standard(targets)
    total, _ = summed_loss(predictions, targets, match)
    frames = next(iter(targets.values())).shape[1]
    return total / (len(waves) * frames)


@torch.no_grad()
def layers_to_keep(encoder: Encoder, layers: int, losses: Sequence[Loss], say: OnText) -> list[int]:
    """Which Transformer layers stay, counted from 0, when those go one by one that the losses mind least."""
    kept = list(range(encoder.config.num_layers))
    # One at a time: what a layer is worth changes when others have gone, and to try all subsets takes too long.
    while len(kept) > layers:
        rest = {layer: [other for other in kept if other != layer] for layer in kept}
        without = {layer: sum(float(loss(cut(encoder, {}, rest[layer]))) for loss in losses) for layer in kept}
        least = min(without, key=lambda layer: without[layer])
        say(f"layer {least + 1} matters least: loss {without[least] / len(losses):.3f} without it")
        kept = rest[least]
    return kept
