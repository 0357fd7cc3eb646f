"""What a student is asked to match, and how far off it is.

Shapes: B batch, T frames, D width of the student, E width of the teacher, N matched teacher layers.

The distance is DistilHuBERT's (arXiv:2110.01900, eq. 1): the mean absolute difference plus `cosine` times
-log sigmoid(cosine similarity), per frame.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from .checkpoint import read_tensors, write_tensors

logger = logging.getLogger(__name__)

HEADS = "heads.safetensors"


class PredictionHeads(nn.Module):
    """DistilHuBERT's heads on the student's last layer, one per teacher layer; dropped after training.

    Linear (D -> N x D), GELU, then a separate Linear (D -> E) for each of the N targets: the layout that s3prl calls
    "expand-last".
    """

    def __init__(self, layers: Sequence[int], width: int, teacher_width: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.expand = nn.Linear(width, width * len(layers))
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(len(layers), width, teacher_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(layers), 1, teacher_width).uniform_(-bound, bound))

    def forward(self, states: Sequence[Tensor]) -> dict[int, Tensor]:
        """From hidden states (B, T, D) to predictions {teacher layer: (B, T, E)}."""
        x = F.gelu(self.expand(states[-1])).unflatten(-1, (len(self.layers), -1))
        y = torch.matmul(x.movedim(-2, 0).flatten(1, 2), self.weight) + self.bias
        return dict(zip(self.layers, y.unflatten(1, states[-1].shape[:2]), strict=True))


class LayerPairs(nn.Module):
    """Student layer i is itself the prediction of teacher layer j; no heads unless the widths differ."""

    def __init__(self, pairs: Sequence[tuple[int, int]], width: int, teacher_width: int) -> None:
        super().__init__()
        self.pairs = tuple((int(i), int(j)) for i, j in pairs)
        same = width == teacher_width
        self.projections = nn.ModuleList(nn.Identity() if same else nn.Linear(width, teacher_width) for _ in self.pairs)
        if not same:
            logger.warning(
                "student width %d, teacher width %d: each pair gets a linear projection", width, teacher_width
            )

    def forward(self, states: Sequence[Tensor]) -> dict[int, Tensor]:
        """From hidden states (B, T, D) to predictions {teacher layer: (B, T, E)}."""
        pairs = zip(self.pairs, self.projections, strict=True)
        return {teacher: project(states[student]) for (student, teacher), project in pairs}


Heads = PredictionHeads | LayerPairs


def distance(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Per frame: mean absolute difference and cosine similarity of two (B, T, E), each (B, T), always in float32.

    Half precision is not enough here: the norms of data2vec's deeper layers overflow it, and the loss turns NaN.
    """
    prediction, target = prediction.float(), target.float()
    l1 = (prediction - target).abs().mean(-1)
    return l1, F.cosine_similarity(prediction, target, dim=-1)


def loss_sums(
    predictions: Mapping[int, Tensor], targets: Mapping[int, Tensor], l1_weight: float, cosine_weight: float
) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """Sum of the loss over the frames and matched layers, and per layer the sums of L1 and cosine similarity.

    Sums, not means: divided by the frames of the whole global batch, they give the same gradient for any number of
    processes and micro-batches.
    """
    total = torch.zeros((), device=next(iter(targets.values())).device)
    parts = {}
    for layer, target in targets.items():
        l1, cosine = distance(predictions[layer], target)
        total = total + (l1_weight * l1 - cosine_weight * F.logsigmoid(cosine)).sum()
        parts[layer] = (l1.detach().sum(), cosine.detach().sum())
    return total, parts


def save_heads(folder: Path, heads: Heads) -> None:
    """Write the heads beside the model; `load_heads` needs no recipe to open them."""
    tensors = heads.state_dict() or {"none": torch.zeros(1)}
    write_tensors(folder / HEADS, tensors, heads_metadata(heads))


def heads_metadata(heads: Heads) -> dict[str, str]:
    """What heads predict, as their file says it."""
    kind = "heads" if isinstance(heads, PredictionHeads) else "layers"
    which = ",".join(map(str, heads.layers if isinstance(heads, PredictionHeads) else sum(heads.pairs, ())))
    return {"style": kind, "layers": which}


def load_heads(folder: Path, width: int, teacher_width: int) -> Heads | None:
    """The heads of a checkpoint folder, or None when it has none.

    Raises SpeechpressError when the file does not fit the widths.
    """
    if not (folder / HEADS).exists():
        return None
    tensors, metadata = read_tensors(folder / HEADS)
    numbers = [int(number) for number in metadata["layers"].split(",")]
    heads: Heads
    if metadata["style"] == "heads":
        heads = PredictionHeads(numbers, width, teacher_width)
    else:
        heads = LayerPairs(list(zip(numbers[::2], numbers[1::2], strict=True)), width, teacher_width)
    tensors.pop("none", None)
    try:
        heads.load_state_dict(tensors)
    except RuntimeError as error:
        raise SpeechpressError(f"{folder / HEADS}: does not fit this student and teacher: {error}") from error
    return heads.eval()
