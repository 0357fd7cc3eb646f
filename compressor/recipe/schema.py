"""What may stand in a recipe: teacher, student, what is matched, training, pruning, quantisation."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import yaml

from ..models.config import SAMPLE_RATE, EncoderConfig
from .clusters import Clusters
from .hear import Hear
from .strict_yaml import key


@dataclass(frozen=True)
class Student:
    """What is trained. `config` holds the fields of EncoderConfig in which it differs from its teacher."""

    layers: int = key(low=1, high=1000, doc="Transformer layers of the student, such as 2")
    init: str = key(
        "teacher",
        doc="first weights: teacher, random, or the folder of a checkpoint; of other shapes a part is taken",
    )
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Train:
    """How it is trained: AdamW under a warm-up and decay of the learning rate."""

    # Defaults are DistilHuBERT's (arXiv:2110.01900), so that a recipe says only in what it differs.
    steps: int = key(low=1, high=10**9, doc="optimizer steps, such as 200000")
    lr: float = key(2e-4, above=0, high=1, doc="peak learning rate")
    warmup: float = key(0.07, low=0, high=1, doc="fraction of the steps over which the rate rises to its peak")
    schedule: str = key(
        "linear", choices=("linear", "constant"), doc="after the warm-up: linear down to 0, or constant"
    )
    betas: tuple[float, float] = key((0.9, 0.98), low=0, below=1, doc="AdamW's running averages")
    eps: float = key(1e-6, above=0, high=1, doc="AdamW's epsilon")
    weight_decay: float = key(1e-6, low=0, high=1e6, doc="AdamW's weight decay")
    batch: int = key(24, low=1, high=100_000, doc="recordings per step, over all processes and accumulation rounds")
    batch_s: float | None = key(None, above=0, high=1e6, doc="most seconds of audio per step; absent: no such limit")
    # 250,000 samples, as in DistilHuBERT's own recipe.
    crop_s: float = key(15.625, above=0, high=3600, doc="a longer recording is cut at random to this many seconds")
    crops: str | None = key(
        None, choices=("random", "fixed"), doc="drawn again in every epoch, or once, so that targets can be kept"
    )
    precision: str = key(
        "fp16", choices=("fp32", "bf16", "fp16"), doc="arithmetic of the forward passes on an accelerator"
    )
    clip: float = key(5.0, low=0, high=1e9, doc="largest gradient norm; 0: no clipping")
    accumulate: int = key(1, low=1, high=10_000, doc="gradient accumulation rounds per batch, to save memory")
    front_end_grad: float = key(0.1, low=0, high=1, doc="factor on the gradient into the convolutional front end")
    layer_grads: str | None = key(
        None, choices=("even", "scaled"), doc="gradients of the layers: as they are, or scaled by depth (ARMHuBERT)"
    )
    seed: int = key(0, low=0, high=2**31 - 1, doc="of the initial weights, the crops and the order of the data")
    checkpoint_every: int = key(5000, low=1, high=10**9, doc="steps between checkpoints")
    validate_every: int = key(5000, low=1, high=10**9, doc="steps between measurements on held-out speech")

    @property
    def crop_samples(self) -> int:
        return round(self.crop_s * SAMPLE_RATE)


@dataclass(frozen=True)
class Streaming:
    """How a student that streams is made: what it may see, and the chunks in which it is trained.

    One student serves every chunk size, because each batch has another one.
    """

    chunk_ms: tuple[float, float] = key(
        (80, 640), above=0, high=60_000, doc="smallest and largest chunk that a batch may have"
    )
    full_context: float = key(0.25, low=0, high=1, doc="share of the batches that see the whole recording")
    left_context_ms: float = key(1280, above=0, high=600_000, doc="how far before its chunk a frame attends")
    lookahead_ms: float = key(
        0, low=0, high=60_000, doc="look-ahead beyond the front end's own, whatever the number of layers"
    )

    def frames(self, encoder: EncoderConfig, name: str) -> int:
        """One of the durations in frames of this encoder, rounded up."""
        return math.ceil(getattr(self, name) * SAMPLE_RATE / 1000 / encoder.hop_samples)

    def chunk_range(self, encoder: EncoderConfig) -> tuple[int, int]:
        """Smallest and largest chunk in frames."""
        # A time reduction can make one frame longer than the chunk that is asked for.
        low, high = (max(1, round(ms * SAMPLE_RATE / 1000 / encoder.hop_samples)) for ms in self.chunk_ms)
        return low, high

    def draw_chunk(self, encoder: EncoderConfig, seed: int, step: int) -> int | None:
        """Frames of the chunks of one training step, None for the whole recording; the same on every process.

        Even on a logarithmic scale, so that short and long chunks get their share.
        """
        # From the step alone, so that a resumed run and every process draw the same; a text, whose seeding is by a hash
        # that is equal on every machine.
        draw = random.Random(f"{seed}/{step}")
        if draw.random() < self.full_context:
            return None
        low, high = map(math.log, self.chunk_range(encoder))
        return round(math.exp(draw.uniform(low, high)))


@dataclass(frozen=True)
class Published:
    """What its authors say the student costs, for comparison with what it costs here.

    `heads` is what their count of parameters and MACs holds beside the encoder: the projections of "all" matched
    layers, that of the "last" one, or "none". `spare` counts parameters that only theirs has. `attention_s` is how far
    frames are taken to attend in the published MACs, which hold attention's own products.
    """

    parameters: float = key(above=0, high=1e15, doc="published count")
    heads: str = key("none", choices=("none", "last", "all"), doc="heads that are included in the count")
    spare: int = key(0, low=0, high=10**15, doc="parameters that only the authors' code has")
    macs_per_s: float | None = key(None, above=0, high=1e18, doc="published multiply-accumulates per second of audio")
    attention_s: float = key(0.0, low=0, high=1e6, doc="seconds that a frame attends to in the published MACs")


@dataclass(frozen=True)
class Quantize:
    """Training for fewer bits: from `start` on the student computes as its exported program will."""

    scheme: str = key(choices=("int8", "int8-static", "int4"), doc="quantisation of the later export")
    start: float = key(0.0, low=0, below=1, doc="share of the steps before numbers are rounded")
    freeze: float = key(0.8, low=0, high=1, doc="int8-static: share of the steps after which its ranges stay")


def _lists(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items() if value is not None and value != ()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _lists(vars(value))
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


MAX_LAG_MS = 200
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
    lag_ms: float | None = key(
        None, low=0, high=MAX_LAG_MS, doc="streaming: delay of the student's outputs behind its teacher's"
    )
    # Absent, not false: what is left out of a recipe stays out of what older runs have saved of theirs.
    standardise: bool | None = key(None, doc="true: targets have zero mean and unit variance in every dimension")
    standardise_power: float | None = key(
        None, above=0, high=1, doc="of the deviations that standardised targets are divided by; absent: 1"
    )
    standardise_plain: float | None = key(
        None, above=0, high=1e9, doc="weight of the same loss in the teacher's own scale, beside standardised targets"
    )
    clusters: Clusters | None = None

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


METHODS = ("l0", "parp", "one-shot")


@dataclass(frozen=True)
class Final:
    """The distillation that follows once the units are taken out."""

    steps: int = key(low=1, high=10**9, doc="optimizer steps, such as 25000")
    lr: float = key(1e-4, above=0, high=1, doc="peak learning rate")
    warmup: float = key(0.2, low=0, high=1, doc="fraction of the steps over which the rate rises to its peak")


@dataclass(frozen=True)
class Prune:
    """Structured, by gates that are learned (l0), or unstructured, by magnitude (parp, one-shot)."""

    sparsity: float = key(above=0, below=1, doc="share to remove: l0 of all parameters, else of the pruned weights")
    method: str = key("l0", choices=METHODS, doc="l0: units, by learned gates; parp, one-shot: single weights")
    of: tuple[str, ...] = key(("conv", "head", "ffn"), choices=("conv", "head", "ffn"), doc="l0: the units with gates")
    ramp: int = key(5000, low=0, high=10**9, doc="l0: steps over which the wanted sparsity rises from 0")
    lr: float = key(0.02, above=0, high=10, doc="l0: peak learning rate of gates and multipliers")
    every: int = key(50, low=1, high=10**9, doc="parp: steps between prunings")
    final: Final | None = None

    @property
    def by_gates(self) -> bool:
        return self.method == "l0"


@dataclass(frozen=True)
class Recipe:
    """One whole recipe. `places` says where each dotted key was written, for errors found later."""

    student: Student
    match: Match
    train: Train
    name: str = key(doc="letters, digits, - _ .")
    teacher: str = key(doc="hub id, folder, file, torchaudio:NAME or starter")
    paper: str = key("", doc="address of the paper")
    about: str = key("", doc="one-line description")
    hear: Hear | None = None
    streaming: Streaming | None = None
    prune: Prune | None = None
    # Recipes are equal when they do the same, whatever was published and wherever their keys stand.
    published: Published | None = field(default=None, compare=False)
    quantize: Quantize | None = None
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def where(self, *dotted: str) -> str:
        """`file:line` (or the --set) of the first of these keys that was written."""
        return next((self.places[name] for name in dotted if name in self.places), self.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every value that holds, defaults included; loads back into an equal recipe.

        What was published is left out: it is no part of what is done.
        """
        student = {"layers": self.student.layers, "init": self.student.init} | _lists(self.student.config)
        plain = {name: getattr(self, name) for name in ("name", "paper", "about", "teacher")}
        names = ("match", "train", "hear", "streaming", "prune", "quantize")
        sections = {name: _lists(vars(section)) for name in names if (section := getattr(self, name)) is not None}
        return {name: value for name, value in plain.items() if value} | {"student": student} | sections

    def text(self) -> str:
        """The recipe as YAML, as it was used: overrides applied, defaults written out."""
        # In the order of the schema, as people write recipes, so that the two can be compared by eye.
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _guilty(recipe: Recipe, keys: Sequence[str], section: str) -> str:
    """Where the recipe sets the first of these fields of the encoder that it does set, else where its section is."""
    # These two are worked out from durations, so the line to blame is that of the duration.
    own = {"pos_conv_future": "streaming.lookahead_ms", "left_context": "streaming.left_context_ms"}
    dotted = [name for key in keys for name in (f"student.{key}", own.get(key, f"student.{key}"))]
    return recipe.where(*dotted, section)
