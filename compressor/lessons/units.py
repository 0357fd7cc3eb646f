"""The teacher's clusters: how they are found, which unit each frame is, and the heads that tell it.

Shapes: B batch, T frames, E width of the teacher, D width of the student, K units.

Among targets and predictions, which are keyed by teacher layer, those of units have the key `~layer`, below 0.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from ..data.batches import Batch
from ..models.checkpoint import CLUSTERS, read_tensors, write_tensors
from ..recipe.clusters import Clusters
from ..recipe.schema import Recipe
from ..teachers.load import Teacher
from .kmeans import centres_of, require_sklearn

MOST_FRAMES = 200_000  # as float32 of width 768: 0.6 GB

UnitParts = dict[int, tuple[Tensor, Tensor]]


def layers_in(tensors: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Of targets or predictions, those of matched layers."""
    return {key: tensor for key, tensor in tensors.items() if key >= 0}


class Centres:
    """Centres of each clustered teacher layer, {layer: (K, E)}."""

    def __init__(self, tensors: Mapping[int, Tensor], heard_s: float = 0.0) -> None:
        self.tensors, self.heard_s = dict(sorted(tensors.items())), heard_s

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(self.tensors)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each layer's centres: units of others are other units."""
        return {
            str(layer): hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()
            for layer, tensor in self.tensors.items()
        }

    def units(self, states: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """{~layer: (B, T)}, the nearest centre of each frame of the clustered layers in `states` (B, T, E)."""
        found = {}
        for layer, centres in self.tensors.items():
            centres = centres.to(states[layer].device)
            # The frame's own length is the same for all centres.
            scores = states[layer].float() @ centres.T - centres.square().sum(-1) / 2
            found[~layer] = scores.argmax(-1)
        return found

    def save(self, folder: Path, heads: "UnitHeads | None" = None) -> None:
        """Write them, and the trained heads, to a run's folder."""
        write_tensors(folder / CLUSTERS, self.named(heads))

    def named(self, heads: "UnitHeads | None" = None) -> dict[str, Tensor]:
        """As they are called in the file."""
        trained = {} if heads is None else {f"heads.{name}": value for name, value in heads.state_dict().items()}
        return {**{f"centres.{layer}": tensor for layer, tensor in self.tensors.items()}, **trained}

    @classmethod
    def load(cls, folder: Path) -> "Centres":
        """Those that a run was begun with; raises SpeechpressError when they are not there."""
        if not (folder / CLUSTERS).exists():
            raise SpeechpressError(
                f"{folder / CLUSTERS}: is missing, so the units of this run are not known; restart it with --overwrite"
            )
        tensors, _ = read_tensors(folder / CLUSTERS)
        return cls({int(name[8:]): tensor for name, tensor in tensors.items() if name.startswith("centres.")})


def find_centres(
    recipe: Recipe, asked: Clusters, teacher: Teacher, batches: Iterable[Batch], device: torch.device
) -> Centres:
    """Cluster the frames of the first `minutes` of the training batches, of which only one epoch is taken.

    Raises SpeechpressError for fewer frames than units, and where scikit-learn is not installed.
    """
    require_sklearn()
    frames: dict[int, list[np.ndarray]] = {layer: [] for layer in asked.layers}
    heard_s, draw = 0.0, np.random.default_rng(recipe.train.seed)
    for batch in batches:
        if batch.epoch or heard_s >= 60 * asked.minutes:
            break
        heard_s += batch.audio_s
        for wave in batch.waves:
            # Clip by clip, as kept targets are heard, so that units do not depend on company.
            said = teacher.hidden_states(wave[None].to(device), layers=asked.layers)
            for layer in asked.layers:
                frames[layer].append(said[layer][0].float().cpu().numpy())
    count = sum(len(one) for one in frames[asked.layers[0]])
    if asked.count > count:
        raise SpeechpressError(
            f"{recipe.where('match.clusters.count', 'match.clusters')}: match.clusters.count is {asked.count}, but "
            f"{heard_s / 60:.2g} minutes of training speech have {count} frames only; ask for fewer units, or give "
            "more speech (and match.clusters.minutes)"
        )
    chosen = np.sort(draw.permutation(count)[:MOST_FRAMES])
    found = {}
    for layer, parts in frames.items():
        whole = np.concatenate(parts)[chosen]
        found[layer] = torch.from_numpy(centres_of(whole, asked.count, recipe.train.seed))
    return Centres(found, heard_s)


class UnitHeads(nn.Module):
    """HuBERT's head for each clustered layer: cosines of a projected frame and the units' vectors, over temperature."""

    def __init__(self, asked: Clusters, layers: Sequence[int], width: int, factor: int = 1) -> None:
        super().__init__()
        self.layers, self.temperature, self.factor = tuple(layers), asked.temperature, factor
        self.projections = nn.ModuleList(nn.Linear(width, asked.width) for _ in self.layers)
        # As HuBERT's label embeddings begin.
        self.vectors = nn.Parameter(torch.empty(len(self.layers), asked.count, asked.width).uniform_())

    def forward(self, last: Tensor) -> dict[int, Tensor]:
        """The student's last layer (B, T, D) -> {~layer: scores (B, T, K)}; a long frame stands for several."""
        last = last if self.factor == 1 else last.repeat_interleave(self.factor, 1)
        found = {}
        for layer, project, vectors in zip(self.layers, self.projections, self.vectors, strict=True):
            cosines = F.normalize(project(last).float(), dim=-1) @ F.normalize(vectors.float(), dim=-1).T
            found[~layer] = cosines / self.temperature
        return found


def unit_sums(
    predictions: Mapping[int, Tensor], targets: Mapping[int, Tensor], asked: Clusters, masked: Tensor | None
) -> tuple[Tensor, UnitParts]:
    """Sum over frames of the weighted cross-entropy, mean over layers; per ~layer its plain sum and the right units."""
    keys = [key for key in targets if key < 0]
    parts, total = {}, torch.zeros((), device=targets[keys[0]].device)
    for key in keys:
        scores, units = predictions[key].float(), targets[key]
        losses = F.cross_entropy(scores.flatten(0, 1), units.flatten(), reduction="none").view_as(units)
        total = total + (frame_weights(asked, units, masked) * losses).sum() / len(keys)
        parts[key] = losses.detach().sum(), (scores.detach().argmax(-1) == units).sum().to(losses.dtype)
    return asked.weight * total, parts


def frame_weights(asked: Clusters, units: Tensor, masked: Tensor | None) -> Tensor:
    """(B, T); frames beyond the mask's end count as seen."""
    weights = torch.full(units.shape, asked.unmasked, device=units.device)
    if masked is not None:
        hidden = masked[:, : units.shape[1]].to(units.device)
        weights[:, : hidden.shape[1]][hidden] = asked.masked
    return weights
