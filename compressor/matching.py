"""The `match` section of a recipe: what a student is held against, and by which objectives.

A new objective is one row in `Match`, made by `objective`, and one function in `objectives.FUNCTIONS`.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from .strict_yaml import key

Compares = Literal["frames", "relations"]


@dataclass(frozen=True)
class Objective:
    """What is said of an objective besides its function.

    Attributes:
        name: the key of `match` that is its weight.
        doc: what the weight is of.
        words: for people, in tables.
        compares: frames of student and teacher, which must have the same width, or each side's relations between its
            own frames, which have none.
        layers: how many matched layers it takes; more than one for what lies between layers.
    """

    name: str
    doc: str
    words: str
    compares: Compares
    layers: int = 1


def objective(default: float | None, *, doc: str, words: str, compares: Compares, layers: int = 1) -> Any:
    """A key of `match` that is the weight of an objective: its row in the table, see `Objective`."""
    row = {"doc": doc, "words": words, "compares": compares, "layers": layers}
    return field(default=default, metadata={**key(default, low=0, high=1e9, doc=doc).metadata, "objective": row})


@dataclass(frozen=True)
class Match:
    """What of the student is held against what of the teacher, and how the distance is measured.

    Layer k of an encoder is the output of Transformer layer k; layer 0 is the input of the first one.
    """

    style: str = key(
        "heads", choices=("heads", "layers"), doc="heads: one prediction head per teacher layer; layers: none"
    )
    layers: tuple[int, ...] = key((), low=0, high=1000, doc="style heads: the teacher layers, one head each")
    pairs: tuple[tuple[int, int], ...] = key(
        (), low=0, high=1000, doc="style layers: [student layer, teacher layer], ..."
    )
    depth: int | None = key(None, low=1, high=1000, doc="the teacher depth that the layers are meant for")
    l1: float = objective(
        1.0, doc="weight of the mean absolute difference", words="absolute difference", compares="frames"
    )
    cosine: float = objective(1.0, doc="weight of the cosine similarity's term", words="cosine", compares="frames")
    cosine_form: str | None = key(
        None, choices=("log-sigmoid", "raw"), doc="the cosine term: -log sigmoid(similarity), or -similarity"
    )
    l2: float | None = objective(
        None, doc="weight of the mean squared difference", words="squared difference", compares="frames"
    )
    gram: float | None = objective(
        None,
        doc="weight of the squared difference of temporal Gram matrices",
        words="temporal relations",
        compares="relations",
    )
    gram_intra: float | None = objective(
        None,
        doc="the same between each matched layer and the one below it",
        words="temporal relations across layers",
        compares="relations",
        layers=2,
    )
    weights: tuple[float, ...] = key((), low=0, high=1e9, doc="weight of each matched layer, in their order")
    projections: tuple[int, ...] = key((), low=0, high=1000, doc="style layers: the Linear each pair goes through")
    upsample: str | None = key(
        None, choices=("repeat", "conv"), doc="how a time-reduced student's frames meet the teacher's"
    )
    mask_prob: float | None = key(None, above=0, high=1, doc="masking distillation: share of frames to hide")
    mask_length: int | None = key(None, low=1, high=1000, doc="mean frames of a hidden span")

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        return self.layers if self.style == "heads" else tuple(teacher for _, teacher in self.pairs)

    @property
    def layer_weights(self) -> dict[int, float]:
        """Teacher layer -> its weight in the loss."""
        layers = self.teacher_layers
        return dict(zip(layers, self.weights or (1.0,) * len(layers), strict=True))

    @property
    def terms(self) -> dict[str, float]:
        """The objectives that are not left out, and their weights."""
        weights = {name: getattr(self, name) or 0.0 for name in OBJECTIVES}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def relations_only(self) -> bool:
        """Whether nothing compares frames of student and teacher directly, so that their widths need not agree."""
        return all(OBJECTIVES[name].compares == "relations" for name in self.terms)


OBJECTIVES = {
    item.name: Objective(item.name, **item.metadata["objective"])
    for item in fields(Match)
    if "objective" in item.metadata
}
