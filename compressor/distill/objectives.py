"""What a student is asked to match, and how far off it is.

Shapes: B batch, T frames, D width of the student, E width of the teacher, N matched teacher layers.

Heads make predictions {teacher layer: (B, T, E)} of a student's hidden states; an objective is a function of one
`Matched` layer that yields one number per frame, (B, T): FUNCTIONS has them by name, `recipe.schema.OBJECTIVES` what is
said of them. A recipe's `match` says which are added up, with which weights. The default is DistilHuBERT's
(arXiv:2110.01900, eq. 1): the mean absolute difference plus `cosine` times -log sigmoid(cosine similarity).
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from ..models.checkpoint import HEADS, read_tensors, write_tensors
from ..recipe.schema import Match

logger = logging.getLogger(__name__)


Parts = dict[int, tuple[Tensor, Tensor]]


class Upsample(nn.Module):
    """Hidden states of a student with a time reduction at the teacher's rate: (B, T, D) -> (B, n T, D).

    "repeat" has each frame n times; "conv" is FitHuBERT's transposed convolution of kernel and stride n.
    """

    def __init__(self, width: int, factor: int, kind: str) -> None:
        super().__init__()
        self.factor = factor
        conv = nn.ConvTranspose1d(width, width, factor, stride=factor) if kind == "conv" and factor > 1 else None
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is None:
            return x if self.factor == 1 else x.repeat_interleave(self.factor, 1)
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class PredictionHeads(nn.Module):
    """DistilHuBERT's heads on the student's last layer, one per teacher layer; dropped after training.

    Linear (D -> N x D), GELU, then a separate Linear (D -> E) for each of the N targets: the layout that s3prl calls
    "expand-last".
    """

    mean: Tensor | None
    scale: Tensor | None

    def __init__(
        self, layers: Sequence[int], width: int, teacher_width: int, *, factor: int = 1, upsample: str = "repeat"
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.expand = nn.Linear(width, width * len(layers))
        # What nn.Linear starts with; a bare parameter has no start of its own.
        bound = 1 / math.sqrt(width)
        # One parameter for all N, so that they are one batched product.
        self.weight = nn.Parameter(torch.empty(len(layers), width, teacher_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(layers), 1, teacher_width).uniform_(-bound, bound))
        self.factor, self.upsample_kind = factor, upsample
        self.upsample = Upsample(width, factor, upsample)
        # Of standardised targets, see `rescale`; not saved, since they are folded into what is.
        self.register_buffer("mean", None, persistent=False)
        self.register_buffer("scale", None, persistent=False)

    def forward(self, states: Sequence[Tensor]) -> dict[int, Tensor]:
        """From hidden states (B, T, D) to predictions {teacher layer: (B, T, E)}."""
        last = self.upsample(states[-1])
        x = F.gelu(self.expand(last)).unflatten(-1, (len(self.layers), -1))
        y = torch.matmul(x.movedim(-2, 0).flatten(1, 2), self.weight) + self.bias
        if self.scale is not None and self.mean is not None:
            y = y * self.scale + self.mean
        return dict(zip(self.layers, y.unflatten(1, last.shape[:2]), strict=True))

    @torch.no_grad()
    def rescale(self, mean: Tensor, scale: Tensor, *, keep: bool) -> None:
        """From now on learn standardised numbers, which are turned into the teacher's scale, by (N, E) each.

        `keep`: the weights predict the teacher's scale already, and go on to predict the same.
        """
        mean, scale = mean[:, None].to(self.bias), scale[:, None].to(self.bias)
        if self.scale is None or self.mean is None:
            self.mean, self.scale = mean.clone(), scale.clone()
        # In place: DDP knows the buffers that it found when it was set up.
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if keep:
            self.weight.div_(scale)
            self.bias.sub_(mean).div_(scale)

    def folded(self) -> dict[str, Tensor]:
        """The tensors of heads that yield the same and know of no statistics."""
        tensors = self.state_dict()
        if self.scale is not None and self.mean is not None:
            tensors |= {"weight": self.weight * self.scale, "bias": self.bias * self.scale + self.mean}
        return {name: tensor.detach() for name, tensor in tensors.items()}


class LayerPairs(nn.Module):
    """Student layer i, as it is or projected, is the prediction of teacher layer j.

    `projections` says through which Linear each pair goes: pairs with the same number share one. They start as the
    identity where the widths agree (DPHuBERT, arXiv:2305.17651, section 3.1). None: no projections where the widths
    agree, else one per pair; `bare`: none at all, for objectives that need no equal widths.
    """

    mean: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        width: int,
        teacher_width: int,
        projections: Sequence[int] | None = None,
        *,
        bare: bool = False,
        factor: int = 1,
        upsample: str = "repeat",
    ) -> None:
        super().__init__()
        self.pairs = tuple((int(i), int(j)) for i, j in pairs)
        self.bare, self.shared = bare, tuple(projections or ())
        same = width == teacher_width
        self.group = self.shared or tuple(range(len(self.pairs)))
        plain = bare or (same and not self.shared)
        groups = range(len(set(self.group)))
        self.projections = nn.ModuleList(nn.Identity() if plain else nn.Linear(width, teacher_width) for _ in groups)
        # Conv upsampling has weights too, and pairs that share a projection share them.
        self.factor, self.upsample_kind = factor, upsample
        self.upsamples = nn.ModuleList(Upsample(width, factor, upsample) for _ in groups)
        if same and not plain:
            for projection in self.projections:
                nn.init.eye_(projection.get_parameter("weight"))
                nn.init.zeros_(projection.get_parameter("bias"))
        self.own = not same and not bare and len(groups) == len(self.pairs)
        if self.own and not self.shared:
            logger.warning("widths %d and %d of the teacher: each pair gets a linear projection", width, teacher_width)
        # As those of PredictionHeads.
        self.register_buffer("mean", None, persistent=False)
        self.register_buffer("scale", None, persistent=False)

    def forward(self, states: Sequence[Tensor]) -> dict[int, Tensor]:
        """From hidden states (B, T, D) to predictions {teacher layer: (B, T, E)}; bare ones stay (B, T, D)."""
        said = {}
        for row, ((student, teacher), group) in enumerate(zip(self.pairs, self.group, strict=True)):
            y = self.projections[group](self.upsamples[group](states[student]))
            said[teacher] = y if self.scale is None or self.mean is None else y * self.scale[row] + self.mean[row]
        return said

    @torch.no_grad()
    def rescale(self, mean: Tensor, scale: Tensor, *, keep: bool) -> None:
        """`PredictionHeads.rescale` where each pair has a projection of its own; others stay as they are."""
        if not self.own:
            return
        if self.scale is None or self.mean is None:
            self.mean, self.scale = mean.clone(), scale.clone()
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        for group, centre, size in zip(self.group if keep else (), mean, scale, strict=False):
            self.projections[group].get_parameter("weight").div_(size[:, None])
            self.projections[group].get_parameter("bias").sub_(centre).div_(size)

    def folded(self) -> dict[str, Tensor]:
        """The tensors of heads that yield the same and know of no statistics."""
        tensors = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        if self.scale is not None and self.mean is not None:
            for group, size, centre in zip(self.group, self.scale, self.mean, strict=True):
                weight, bias = f"projections.{group}.weight", f"projections.{group}.bias"
                tensors |= {weight: tensors[weight] * size[:, None], bias: tensors[bias] * size + centre}
        return tensors


Heads = PredictionHeads | LayerPairs


def make_heads(match: Match, width: int, teacher_width: int, factor: int = 1) -> Heads:
    """The heads that a recipe asks for; a student's frame lasts as long as `factor` of the teacher's."""
    upsample = match.upsample or "repeat"
    if not match.teacher_layers:
        return LayerPairs((), width, teacher_width, bare=True)
    if match.style == "heads":
        return PredictionHeads(match.teacher_layers, width, teacher_width, factor=factor, upsample=upsample)
    bare = match.relations_only and not match.projections
    return LayerPairs(match.pairs, width, teacher_width, match.projections, bare=bare, factor=factor, upsample=upsample)


def l1_and_cosine(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Per frame: mean absolute difference and cosine similarity of two (B, T, E), each (B, T), always in float32.

    Where the widths differ (a student that nothing projects), those of the rows of their Gram matrices. Half precision
    is not enough here: the norms of data2vec's deeper layers overflow it, and the loss turns NaN.
    """
    if prediction.shape[-1] != target.shape[-1]:
        prediction, target = gram(prediction, prediction), gram(target, target)
    prediction, target = prediction.float(), target.float()
    l1 = (prediction - target).abs().mean(-1)
    return l1, F.cosine_similarity(prediction, target, dim=-1)


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """Per frame: mean squared difference of two (B, T, E), (B, T)."""
    return (prediction.float() - target.float()).square().mean(-1)


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Products of each frame of x with each of y, (B, T, D) x 2 -> (B, T, T): STaR's temporal Gram matrix.

    arXiv:2312.09040; divided by the width, so that encoders of different widths compare.
    """
    return x.float() @ y.float().transpose(1, 2) / x.shape[-1]


@dataclass(frozen=True)
class Matched:
    """One matched layer, as an objective sees it.

    Attributes:
        prediction: (B, T, E) of the student; (B, T, D) where nothing projects it onto the teacher's width.
        target: (B, T, E) of the teacher.
        l1, cosine: their `l1_and_cosine`, (B, T) each.
        below: prediction and target of the matched layer below; None for the lowest.
        match: the recipe's section, for options of an objective.
    """

    prediction: Tensor
    target: Tensor
    l1: Tensor
    cosine: Tensor
    below: tuple[Tensor, Tensor] | None
    match: Match


def cosine_term(layer: Matched) -> Tensor:
    """-log sigmoid of the cosine similarity, or the similarity itself, which goes down to -1."""
    return -layer.cosine if layer.match.cosine_form == "raw" else -F.logsigmoid(layer.cosine)


def gram_term(layer: Matched) -> Tensor:
    """STaR's layer-wise temporal relations."""
    prediction, target = layer.prediction, layer.target
    return squared(gram(prediction, prediction), gram(target, target))


def gram_intra_term(layer: Matched) -> Tensor:
    """STaR's temporal relations between a layer and the one below; nothing for the lowest."""
    if layer.below is None:
        return torch.zeros_like(layer.l1)
    prediction, target = layer.below
    return squared(gram(prediction, layer.prediction), gram(target, layer.target))


FUNCTIONS: dict[str, Callable[[Matched], Tensor]] = {
    "l1": lambda layer: layer.l1,
    "cosine": cosine_term,
    "l2": lambda layer: squared(layer.prediction, layer.target),
    "gram": gram_term,
    "gram_intra": gram_intra_term,
}


def frame_loss(layer: Matched) -> Tensor:
    """What one layer's frames cost, (B, T): the weighted sum of the objectives."""
    terms = (weight * FUNCTIONS[name](layer) for name, weight in layer.match.terms.items())
    return sum(terms, torch.zeros_like(layer.l1))


def loss_sums(predictions: Mapping[int, Tensor], targets: Mapping[int, Tensor], match: Match) -> tuple[Tensor, Parts]:
    """Sum of the loss over the frames and matched layers, and per layer the sums of L1 and cosine similarity.

    Sums, not means: divided by the frames of the whole global batch, they give the same gradient for any number of
    processes and micro-batches.
    """
    total = torch.zeros((), device=next(iter(targets.values())).device) if targets else torch.zeros(())
    parts, weights = {}, match.layer_weights
    layers = sorted(targets)
    for index, layer in enumerate(layers):
        prediction, target = predictions[layer], targets[layer]
        l1, cosine = l1_and_cosine(prediction, target)
        # Of the layers that are matched: others have no prediction.
        below = layers[index - 1] if index else None
        pair = None if below is None else (predictions[below], targets[below])
        loss = frame_loss(Matched(prediction, target, l1, cosine, pair, match))
        total = total + (loss.sum() if weights.get(layer, 1.0) == 1.0 else weights[layer] * loss.sum())
        # For the log; with their graph they would keep a step's activations alive.
        parts[layer] = (l1.detach().sum(), cosine.detach().sum())
    return total, parts


def l1_and_cosine_sums(predictions: Mapping[int, Tensor], targets: Mapping[int, Tensor]) -> Parts:
    """Per layer the sums of L1 and cosine similarity over the frames."""
    pairs = {layer: l1_and_cosine(predictions[layer], target) for layer, target in targets.items()}
    return {layer: (l1.sum(), cosine.sum()) for layer, (l1, cosine) in pairs.items()}


def save_heads(folder: Path, heads: Heads) -> None:
    """Write the heads beside the model; `load_heads` needs no recipe to open them."""
    # Bare pairs have no tensors, but their file has to say which layers they match.
    tensors = heads.folded() or {"none": torch.zeros(1)}
    write_tensors(folder / HEADS, tensors, heads_metadata(heads))


def heads_metadata(heads: Heads) -> dict[str, str]:
    """What heads predict, as their file says it; what is as it always was is left out."""
    kind = "heads" if isinstance(heads, PredictionHeads) else "layers"
    which = ",".join(map(str, heads.layers if isinstance(heads, PredictionHeads) else sum(heads.pairs, ())))
    metadata = {"style": kind, "layers": which}
    if isinstance(heads, LayerPairs) and (heads.bare or heads.shared):
        metadata["projections"] = "none" if heads.bare else ",".join(map(str, heads.shared))
    if heads.factor > 1:
        metadata["upsample"] = f"{heads.upsample_kind}:{heads.factor}"
    return metadata


def load_heads(folder: Path, width: int, teacher_width: int) -> Heads | None:
    """The heads of a checkpoint folder, or None when it has none.

    Raises SpeechpressError when the file does not fit the widths.
    """
    if not (folder / HEADS).exists():
        return None
    tensors, metadata = read_tensors(folder / HEADS)
    numbers = [int(number) for number in metadata["layers"].split(",") if number]
    kind, _, factor = metadata.get("upsample", "repeat:1").partition(":")
    heads: Heads
    if metadata["style"] == "heads":
        heads = PredictionHeads(numbers, width, teacher_width, factor=int(factor), upsample=kind)
    else:
        shared = metadata.get("projections")
        groups = None if shared in (None, "none") else [int(number) for number in shared.split(",")]
        bare = shared == "none"
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        heads = LayerPairs(pairs, width, teacher_width, groups, bare=bare, factor=int(factor), upsample=kind)
    tensors.pop("none", None)
    try:
        heads.load_state_dict(tensors)
    except RuntimeError as error:
        raise SpeechpressError(f"{folder / HEADS}: does not fit this student and teacher: {error}") from error
    return heads.eval()
