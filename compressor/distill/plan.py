"""What will be trained: recipe × teacher -> student, heads and matched layers, initialised."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.manifest import CHECKPOINT

from ..lessons.units import Centres, UnitHeads
from ..models.checkpoint import HEADS, ancestry, inherited_pruning, load_encoder, read_tensors
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.encoder import Encoder
from ..recipe.schema import Match, Recipe
from ..surgery.subclone import TAP_GAINS, TAPS, inherited, subclone
from ..teachers.load import Teacher, TeacherCard, load_teacher
from .objectives import Heads, LayerPairs, heads_metadata, make_heads
from .resolve import resolve_match, student_config

HOP_TOLERANCE = 0.02  # the hop of a foreign teacher is measured


@dataclass
class Plan:
    """Student, heads and matched layers of a run, with every choice that was not in the recipe's own words."""

    recipe: Recipe
    teacher: Teacher
    match: Match
    student: Encoder
    heads: Heads
    units: UnitHeads | None = None
    centres: Centres | None = None  # found before the first step
    statistics_missing: bool = False  # of the front end, which are measured on speech
    heads_adopted: bool = False  # from the checkpoint that it starts from
    parents: list[dict[str, Any]] = field(default_factory=list)  # checkpoints that it starts from, the nearest first
    pruned: dict[str, Any] | None = None  # what was taken out of the student, or of one that it starts from
    notes: list[str] = field(default_factory=list)

    @property
    def output_norm_free(self) -> bool:
        """Whether the student has a final norm that is neither its teacher's nor seen by any objective."""
        return self.student.config.pre_norm and self.recipe.student.init != "teacher"

    @property
    def lag_frames(self) -> int:
        """How late the student's predictions are, in frames of its teacher."""
        return self.student.config.lag_frames * self.heads.factor


def plan(recipe: Recipe, teacher: Teacher) -> Plan:
    """Build and initialise the student and its heads.

    Raises SpeechpressError when the recipe asks for layers or sizes that this teacher cannot give.
    """
    card = teacher.card
    match, notes = resolve_match(recipe, card.depth)
    check_no_lag(recipe, card)
    config, more = student_config(recipe, card.encoder, card.width)
    # What init does not fill is random: the same in every process, and with any teacher loaded before.
    torch.manual_seed(recipe.train.seed)
    student = Encoder(config)
    fitting, left = initialize(student, recipe.student.init, teacher)
    notes = [*notes, *more, *left]
    heads = make_heads(match, config.width, card.width, frame_factor(recipe, config, card))
    # A finished student brings trained heads: random ones would pull it away from what it has learned.
    adopted, left = adopt_heads(heads, recipe.student.init)
    notes += left
    if recipe.student.init == "teacher" and isinstance(heads, LayerPairs):
        notes += align_projections(heads, config, teacher)
    asked = match.clusters
    factor = frame_factor(recipe, config, card)
    units = None if asked is None else UnitHeads(asked, asked.layers, config.width, factor)
    if match.mask_prob is not None:
        notes += prepare_masking(recipe, teacher, student)
    if recipe.hear is not None and recipe.hear.mask_prob is not None:
        student.masked_spec_embed.requires_grad_(True)
    if config.pre_norm:  # the final norm belongs to no layer, so nothing would train it
        student.encoder.layer_norm.requires_grad_(False)
    student.front_end_grad = recipe.train.front_end_grad
    student.encoder.scale_layer_grads = recipe.train.layer_grads == "scaled"
    # A teacher with another front end has no such statistics to copy; they are then measured on speech.
    missing = not fitting.issuperset(student.measured)
    ancestors = ancestry(recipe.student.init)
    return Plan(
        recipe=recipe,
        teacher=teacher,
        match=match,
        student=student,
        heads=heads,
        units=units,
        statistics_missing=missing,
        heads_adopted=adopted,
        parents=ancestors,
        pruned=inherited_pruning(ancestors),
        notes=notes,
    )


def untrained(recipe: Recipe) -> Encoder | None:
    """The student before its first step, with the weights that a run of this recipe begins with.

    None where its norm is first measured on speech, so that without any it is no student yet.
    """
    job = plan(recipe, load_teacher(recipe.teacher))
    return None if job.statistics_missing else job.student.eval()


def check_no_lag(recipe: Recipe, card: TeacherCard) -> None:
    """Raises SpeechpressError for a teacher that is itself a student that answers late."""
    if card.encoder is not None and card.encoder.lag_frames:
        late_ms = 1000 * card.encoder.lag_frames * card.hop_samples / SAMPLE_RATE
        raise SpeechpressError(
            f"{recipe.where('teacher')}: {recipe.teacher} answers {late_ms:g} ms late (match.lag_ms), so a student of "
            "it would be late without saying so. Take a teacher without lag, such as its own"
        )


def frame_factor(recipe: Recipe, config: EncoderConfig, card: TeacherCard) -> int:
    """How many of the teacher's frames one frame of the student lasts.

    Raises SpeechpressError when that is no whole number.
    """
    factor = round(config.hop_samples / card.hop_samples)
    if factor < 1 or abs(factor * card.hop_samples - config.hop_samples) > HOP_TOLERANCE * config.hop_samples:
        ours, theirs = (1000 * hop / SAMPLE_RATE for hop in (config.hop_samples, card.hop_samples))
        raise SpeechpressError(
            f"{recipe.where('student.time_reduction', 'student.conv_strides', 'student')}: the student makes a frame "
            f"every {ours:g} ms, the teacher every {theirs:g} ms, so they cannot be compared. The "
            "student's must last as long as one of the teacher's or several"
        )
    return factor


def prepare_masking(recipe: Recipe, teacher: Teacher, student: Encoder) -> list[str]:
    """Let the student learn a mask vector of its own; notes on the teacher's.

    Raises SpeechpressError when the teacher has none.
    """
    if not teacher.can_mask:
        raise SpeechpressError(
            f"{recipe.where('match.mask_prob')}: match.mask_prob hides frames from the teacher, but "
            f"{recipe.teacher} ({teacher.card.family}) has no mask vector. "
            "Take a teacher of HuBERT's kind, or --set match.mask_prob=null"
        )
    student.masked_spec_embed.requires_grad_(True)
    vector = getattr(teacher.backbone.model, "masked_spec_embed", None)
    if isinstance(vector, Tensor) and not vector.any():
        return ["match: the teacher's mask vector is all zeros; it was never trained with masks"]
    return []


def initialize(student: Encoder, init: str, teacher: Teacher) -> tuple[set[str], list[str]]:
    """Copy from the teacher or a checkpoint folder into the student: what fits, and of the rest a part; see `subclone`.

    Returns:
        The names of the tensors that were copied, and notes on those that are a part and those that stayed random.
    """
    if init == "random":
        return set(), []
    if init == "teacher":
        source, config = teacher.hubert_weights(), teacher.card.encoder
    else:
        start = load_encoder(Path(init))
        source, config = start.state_dict(), start.config
    own = student.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    notes = []
    if config is not None:
        parts = subclone(own, source, student.config, config)
        fitting |= parts
        if TAPS not in fitting:
            fitting.pop(TAP_GAINS, None)  # of other taps
        if parts:
            notes.append(
                f"init: {len(parts)} tensors have other shapes than in {init!r} and are initialised from a part of them"
            )
        notes += shift_taps(fitting, config, student.config)
    student.load_state_dict(fitting, strict=False)
    # None of these is left random: masking alone uses the one, the others are measured.
    left = [name for name in own if name not in fitting and name not in ("masked_spec_embed", *student.measured)]
    if not left:
        return set(fitting), notes
    if not fitting:
        return set(), [f"init: nothing of {init!r} fits this student; it is initialised at random"]
    groups = sorted({".".join(name.split(".")[:3]) if "layers" in name else name.rsplit(".", 1)[0] for name in left})
    said = f"init: {len(fitting)} of {len(own)} tensors come from {init!r}; random: {', '.join(groups)}"
    return set(fitting), [*notes, said]


def shift_taps(tensors: dict[str, Tensor], source: EncoderConfig, student: EncoderConfig) -> list[str]:
    """Move the taps of a position convolution to where a student that looks less far ahead has the same frames.

    Left alone, the tap of frame t + 63 would be taken for that of frame t. Taps of later frames are lost; those of
    earlier frames than the source has start at length zero.
    """
    lost = source.future_frames - student.future_frames
    if not lost or TAP_GAINS not in tensors:
        return []
    for name in (TAP_GAINS, TAPS):
        # A copy, so the teacher's own taps stay when those below are set to zero.
        tensors[name] = tensors[name].roll(lost, dims=2)
    new = slice(0, lost) if lost > 0 else slice(lost, None)
    # The lengths, not the directions: a direction of zeros could not be normalised.
    tensors[TAP_GAINS][..., new] = 0.0
    change = f"{abs(lost)} frames {'less' if lost > 0 else 'more'} of the future"
    return [f"init: the position convolution sees {change} than the one it is initialised from"]


@torch.no_grad()
def align_projections(heads: LayerPairs, student: EncoderConfig, teacher: Teacher) -> list[str]:
    """Let the projections of a student of another width begin as the identity on what it has from its teacher.

    Where the widths agree they do so anyway. Rows for dimensions that the student has not stay random.
    """
    start, linears = teacher.card.encoder, [part for part in heads.projections if isinstance(part, nn.Linear)]
    pick = None if start is None or not linears else inherited(teacher.hubert_weights(), student, start)
    if pick is None:
        return []
    for linear in linears:
        linear.weight[pick.taken] = F.one_hot(pick.places, student.width).to(linear.weight)
        linear.bias[pick.taken] = 0.0
    return [f"init: projections start as the identity on the {len(pick.places)} dimensions that come from the teacher"]


def adopt_heads(heads: Heads, init: str) -> tuple[bool, list[str]]:
    """Heads of a finished student go on with it, if they predict the same layers: whether they do, and notes."""
    if init in ("teacher", "random"):
        return False, []
    folder = local_folder(init, CHECKPOINT)
    if not (folder / HEADS).exists():
        return False, []
    tensors, metadata = read_tensors(folder / HEADS)
    # Only names of these heads: the file of bare pairs holds a placeholder.
    shapes = {name: tensor.shape for name, tensor in heads.state_dict().items()}
    same = shapes == {name: tensor.shape for name, tensor in tensors.items() if name in shapes}
    if not same or not heads_metadata(heads).items() <= metadata.items():
        return False, [f"init: the heads of {init!r} predict something else; these are initialised at random"]
    heads.load_state_dict({name: tensors[name] for name in shapes})
    return True, []
