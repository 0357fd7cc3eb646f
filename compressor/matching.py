"""The `match` section of a recipe: what a student is held against, and by which objectives."""

from dataclasses import dataclass

from .strict_yaml import key


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
    l1: float = key(1.0, low=0, high=1e9, doc="weight of the mean absolute difference")
    cosine: float = key(1.0, low=0, high=1e9, doc="weight of the cosine similarity's term")
    cosine_form: str | None = key(
        None, choices=("log-sigmoid", "raw"), doc="the cosine term: -log sigmoid(similarity), or -similarity"
    )
    l2: float | None = key(None, low=0, high=1e9, doc="weight of the mean squared difference")
    gram: float | None = key(None, low=0, high=1e9, doc="weight of the squared difference of temporal Gram matrices")
    gram_intra: float | None = key(
        None, low=0, high=1e9, doc="the same between each matched layer and the one below it"
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
        weights = {name: getattr(self, name) or 0.0 for name in ("l1", "l2", "cosine", "gram", "gram_intra")}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def relations_only(self) -> bool:
        """Whether nothing compares frames of student and teacher directly, so that their widths need not agree."""
        return self.terms.keys() <= {"gram", "gram_intra"}
