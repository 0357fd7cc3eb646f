"""How alike the layers of encoders are: linear CKA between every two of them, free of the bias of few frames.

Shapes: T frames, B frames of a batch, M layers of all encoders together, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .features import Upstream

FRAMES, BATCH_FRAMES = 4096, 512
FEWEST_FRAMES = 64
FEWEST_HSIC = 4  # for fewer the unbiased estimate is not defined


@torch.inference_mode()
def layer_frames(
    upstreams: Mapping[str, Upstream], waves: Sequence[Tensor], most: int = FRAMES
) -> dict[str, list[Tensor]]:
    """The same frames of every upstream's layers, drawn at random from whole clips: {name: layers 0..L, each (T, D)}.

    Args:
        upstreams: of one frame rate.
        waves: clips, (1, S) each; every clip gives about as many frames.
        most: frames in all.

    Raises:
        SpeechpressError: there are too few frames to compare anything.
    """
    found: dict[str, list[list[Tensor]]] = {name: [] for name in upstreams}
    draw = torch.Generator().manual_seed(0)
    # As many frames of every clip, so that long ones do not decide.
    share = -(-most // max(1, len(waves)))
    for wave in waves:
        states = {name: [x[0] for x in upstream.states(wave)] for name, upstream in upstreams.items()}
        frames = min(len(layers[-1]) for layers in states.values())
        # The same frames of all upstreams: CKA compares frame with frame.
        rows = torch.randperm(frames, generator=draw)[:share]
        for name, layers in states.items():
            found[name].append([x[rows.to(x.device)].float().cpu() for x in layers])
    drawn = {name: [torch.cat(layer)[:most] for layer in zip(*clips, strict=True)] for name, clips in found.items()}
    count = min((len(layers[0]) for layers in drawn.values() if layers), default=0)
    if count < FEWEST_FRAMES:
        raise SpeechpressError(
            f"the test clips give {count} frames, but layers are compared on at least {FEWEST_FRAMES}; "
            "give more or longer recordings"
        )
    # Frames of one clip are alike; batches are of all clips.
    order = torch.randperm(count, generator=draw)
    return {name: [layer[order] for layer in layers] for name, layers in drawn.items()}


def cka_matrix(layers: Sequence[Tensor], batch_frames: int = BATCH_FRAMES) -> Tensor:
    """Linear CKA of every two of M layers, (T, D) each with the same frames but any width -> (M, M).

    The minibatch form with the unbiased HSIC (arXiv:2010.15327, eq. 3): sums over batches, then the quotient. It is 1
    for the same features up to rotation, scale and offset. Around 0 it may fall below it. Without the correction
    (arXiv:1905.00414, eq. 5), unrelated layers would look alike by about D / T. Frames must be in random order.

    Raises:
        SpeechpressError: there are too few frames to compare anything.
    """
    count = len(layers[0])
    if count < FEWEST_HSIC:
        raise SpeechpressError(
            f"the clips give {count} frames, but layers are compared on at least {FEWEST_HSIC}; "
            "give more or longer recordings"
        )
    batches = max(1, count // batch_frames)
    # The unbiased estimate takes sums of similar size from each other, which float32 does not stand.
    total = torch.zeros(len(layers), len(layers), dtype=torch.float64)
    for rows in torch.arange(count).tensor_split(batches):
        total += _hsic([layer[rows] for layer in layers])
    # Of a constant layer the estimate is 0, and with few frames it may be below.
    scale = total.diagonal().clamp_min(1e-30).sqrt()
    return total / scale[:, None] / scale[None, :]


def shuffled(layers: Sequence[Tensor]) -> list[Tensor]:
    """Layers with the same frames, (T, D) each, in one random order, always the same: frames of one clip are alike."""
    order = torch.randperm(len(layers[0]), generator=torch.Generator().manual_seed(0))
    return [layer[order.to(layer.device)] for layer in layers]


def _hsic(batch: Sequence[Tensor]) -> Tensor:
    """Unbiased HSIC with linear kernels of every two of (B, D) -> (M, M); it takes at least four frames."""
    n = len(batch[0])
    grams = torch.stack([_gram(x) for x in batch])  # (M, B, B)
    rows = grams.sum(2)
    whole = rows.sum(1)
    flat = grams.flatten(1)
    trace = flat @ flat.T
    return (trace + torch.outer(whole, whole) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows @ rows.T)) / (n * (n - 3))


def _gram(x: Tensor) -> Tensor:
    """Inner products of centred frames without the diagonal, which is what biases; on the scale of 1."""
    x = x.double() - x.double().mean(0)
    # The scale falls out of the quotient; without it layers of large norms lose digits in the sums.
    gram = x @ x.T
    scale = gram.diagonal().mean().clamp_min(1e-30)
    return (gram / scale).fill_diagonal_(0.0)


def compare_layers(teacher: str, frames: Mapping[str, Sequence[Tensor]]) -> dict[str, Any]:
    """CKA of a teacher's layers with each other, and with those of every other encoder; plain JSON.

    Returns:
        {"frames", "batch_frames", "teacher": teacher layers × teacher layers, "students": {name: teacher layers × its
        layers}}.
    """
    names = [teacher, *(name for name in frames if name != teacher)]
    matrix = cka_matrix([layer for name in names for layer in frames[name]])
    depth, start, students = len(frames[teacher]), len(frames[teacher]), {}
    for name in names[1:]:
        stop = start + len(frames[name])
        students[name] = matrix[:depth, start:stop].tolist()
        start = stop
    return {
        "frames": len(frames[teacher][0]),
        "batch_frames": BATCH_FRAMES,
        "teacher": matrix[:depth, :depth].tolist(),
        "students": students,
    }
