"""The cut of `compress prune`: what goes is chosen and taken out, and what is left is written.

First whole layers and then dimensions of the width, where that was asked for; then units, until the target is met.
"""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.atomic import atomic_folder
from speechpress.runtime.errors import SpeechpressError

from ..data.heldout import heldout_waves
from ..distill.distill import Setup
from ..distill.objectives import Heads, load_heads, save_heads
from ..distill.plan import Plan
from ..distill.step import Distiller
from ..distill.validation import validate
from ..export.latency import check, measure
from ..models import costs
from ..models.checkpoint import CARD, HEADS, Checkpoint, ancestry, save_encoder, write_json
from ..models.config import EncoderConfig
from ..models.describe import describe_encoder
from ..models.encoder import Encoder
from ..models.events import OnText
from ..surgery.cut import cut
from ..surgery.narrow import check_width, narrow, strongest
from ..surgery.units import check_prunable, removed
from .heads import narrow_heads
from .importance import magnitude, taylor, width_importance
from .losses import LAYER_BATCHES, layers_to_keep, losses
from .options import PrunePlan, PruneTarget
from .search import Found, search


@dataclass(frozen=True)
class Cut:
    """What is left, and what was chosen on the way."""

    encoder: Encoder
    heads: Heads | None  # that fit it; None: those of the checkpoint, if there are any
    found: Found
    layers: list[int] | None  # that stay, counted from 0; None is all


def check_target(target: PruneTarget, config: EncoderConfig) -> None:
    """Raises SpeechpressError for a target that is larger than what there is."""
    whole = {"parameters": costs.parameters, "macs_per_s": costs.macs_per_s}
    if target.kind in whole and target.value >= (now := whole[target.kind](config)):
        raise SpeechpressError(
            f"the target is {target.say(target.value)}, but the checkpoint has only {target.say(now)}; nothing to prune"
        )


def check_cut(plan: PrunePlan, encoder: Encoder) -> None:
    """Raises SpeechpressError for what cannot be taken out of this encoder, whatever the speech says."""
    config = encoder.config
    check_prunable(config)
    check_target(plan.target, config)
    if plan.width is not None:
        check_width(plan.width, config)
    depth = config.num_layers
    if plan.layers is not None and not 1 <= plan.layers < depth:
        raise SpeechpressError(f"--layers {plan.layers}: must be 1 to {depth - 1}; the checkpoint has {depth} layers")
    if plan.target.kind == "latency_ms":
        # A device that cannot be reached should be known before importance is measured.
        check(encoder, **_timing(plan))


def _timing(plan: PrunePlan) -> dict[str, Any]:
    return {"address": str(plan.target.device), "chunk_ms": plan.chunk_ms, "quantize": plan.quantize}


def cut_down(plan: PrunePlan, opened: Checkpoint, made: Setup | None, say: OnText) -> Cut:
    """Choose what goes, and take it out.

    Args:
        plan: what is asked for, see `check_cut`.
        opened: the checkpoint.
        made: its distillation, set up, where there is speech.
        say: hears what is being done.

    Raises:
        SpeechpressError: the target cannot be met, or layers are to go without a loss that says which.
    """
    # In eval mode: what dropout takes out by chance is not what is asked here.
    encoder = opened.encoder if made is None else made.job.student.eval()
    # The coarse cuts first: how much a unit matters depends on what is left around it.
    layers = _layers_to_keep(plan, encoder, made, say)
    encoder = encoder if layers is None else cut(encoder, {}, layers)
    by_loss, heads = made is not None and plan.method == "taylor", None
    if plan.width is not None:
        say(f"importance of the {encoder.config.width} dimensions of the width by {plan.method}")
        importance = width_importance(encoder, losses(made) if made is not None and by_loss else None)
        # As many from each group of the position convolution, which needs groups of one size.
        dimensions = strongest(importance, plan.width, encoder.config.pos_conv_groups)
        encoder, heads = narrow(encoder, dimensions), _narrowed_heads(opened, dimensions)
    say(f"importance of units by {plan.method}")
    units = taylor(encoder, losses(_with(made, heads))) if made is not None and by_loss else magnitude(encoder)
    # A sparsity is a share of the checkpoint as it was given, not of what layers and width have left.
    clock, whole = partial(measure, **_timing(plan)), costs.parameters(opened.encoder.config)
    found = search(plan.target, encoder, units, plan.method == "taylor", clock, say, whole)
    return Cut(cut(encoder, found.masks), heads, found, layers)


def _narrowed_heads(opened: Checkpoint, dimensions: Tensor) -> Heads | None:
    """The heads of a checkpoint for these dimensions; none where they were not kept."""
    if not (opened.path / HEADS).exists():
        return None
    teacher_width = (opened.card.get("teacher") or {}).get("width")
    if teacher_width is None:
        raise SpeechpressError(
            f"{opened.path}: its card does not say how wide its teacher is, so its heads cannot be narrowed; "
            f"remove {HEADS} from it to prune the width without them"
        )
    heads = load_heads(opened.path, opened.encoder.config.width, teacher_width)
    assert heads is not None
    return narrow_heads(heads, dimensions, teacher_width)


def _with(made: Setup, heads: Heads | None) -> Setup:
    """The same distillation with these heads, if there are any."""
    if heads is None:
        return made
    return replace(made, job=replace(made.job, heads=heads.to(made.fabric.device)))


def _layers_to_keep(plan: PrunePlan, encoder: Encoder, made: Setup | None, say: OnText) -> list[int] | None:
    if plan.layers is None:
        return None
    if made is None or plan.method != "taylor" or made.job.match.style != "heads":
        raise SpeechpressError(
            "--layers needs --method taylor and a recipe with prediction heads (match.style heads): layers are taken "
            "out where the loss minds it least, and heads read the last one whatever its number is"
        )
    return layers_to_keep(encoder, plan.layers, list(islice(losses(made), LAYER_BATCHES)), say)


def write_cut(plan: PrunePlan, opened: Checkpoint, cut_folder: Path, done: Cut, made: Setup | None) -> None:
    """The pruned checkpoint, a folder like any other: weights, config, heads, and a card that says what was done."""
    card = _card(plan, opened, done, made)
    with atomic_folder(cut_folder) as part:  # see check_cut_folder
        if done.heads is not None:
            save_heads(part, done.heads)
        elif (opened.path / HEADS).exists():
            shutil.copyfile(opened.path / HEADS, part / HEADS)
        save_encoder(part, done.encoder)
        write_json(part / CARD, card)


def _card(plan: PrunePlan, opened: Checkpoint, done: Cut, made: Setup | None) -> dict[str, Any]:
    """The card of the pruned checkpoint: its parent's, and what was done."""
    before, small, kept = opened.encoder.config, done.encoder, done.layers
    pruned = {
        "method": plan.method,
        "asked": plan.asked,
        "parameters": [costs.parameters(before), costs.parameters(small.config)],
        "macs_per_s": [costs.macs_per_s(before), costs.macs_per_s(small.config)],
        "latency": done.found.latency,
        # People count layers from 1, as teachers do: 0 is what goes into the first.
        "layers_kept": None if kept is None else [layer + 1 for layer in kept],
        "width": [before.width, small.config.width],
        "units": removed(before if kept is None else _with_layers(before, kept), small.config),
    }
    return {
        **{key: value for key, value in opened.card.items() if key != "heads"},  # of the weights as they were
        "finished": True,
        "parents": [*ancestry(str(opened.path))],
        "prune": pruned,
        "notes": [*(opened.card.get("notes") or []), *done.found.notes],
        "parameters": costs.parameters(small.config),
        "macs_per_s": costs.macs_per_s(small.config),
        "streaming": describe_encoder(small.config)["streaming"],
        "valid": {} if made is None else _fidelity(made, small, done.heads),
    }


def _with_layers(config: EncoderConfig, kept: list[int]) -> EncoderConfig:
    heads, widths = ([counts[layer] for layer in kept] for counts in (config.num_heads, config.ffn_widths))
    return replace(config, num_heads=tuple(heads), ffn_widths=tuple(widths))


def _fidelity(made: Setup, small: Encoder, heads: Heads | None) -> dict[str, Any]:
    """Held-out fidelity before ("start") and after ("end") the units went."""
    waves = heldout_waves(made.valid_part, made.job.recipe.train.crop_s)

    def measured(job: Plan, encoder: Encoder) -> dict[str, dict[str, float]]:
        whole = Distiller(encoder.to(made.fabric.device), job.heads).eval()
        return validate(whole, made.teacher, job.match.teacher_layers, waves, lag_frames=made.job.lag_frames)

    return {"start": measured(made.job, made.job.student), "end": measured(_with(made, heads).job, small)}
