"""What will be trained: recipe × teacher -> student, heads and matched layers, initialised."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from .checkpoint import load_encoder
from .encoder import Encoder
from .objectives import Heads, LayerPairs, PredictionHeads
from .pretrained import Teacher
from .recipe import Match, Recipe, resolve_match, student_config


@dataclass
class Plan:
    """Student, heads and matched layers of a run, with every choice that was not in the recipe's own words."""

    recipe: Recipe
    teacher: Teacher
    match: Match
    student: Encoder
    heads: Heads
    notes: list[str] = field(default_factory=list)


def plan(recipe: Recipe, teacher: Teacher) -> Plan:
    """Build and initialise the student and its heads.

    Raises SpeechpressError when the recipe asks for layers or sizes that this teacher cannot give.
    """
    card = teacher.card
    match, notes = resolve_match(recipe, card.depth)
    config, more = student_config(recipe, card.encoder, card.width)
    torch.manual_seed(recipe.train.seed)
    student = Encoder(config)
    notes = [*notes, *more, *initialize(student, recipe.student.init, teacher)]
    heads: Heads
    if match.style == "heads":
        heads = PredictionHeads(match.teacher_layers, config.width, card.width)
    else:
        heads = LayerPairs(match.pairs, config.width, card.width)
    if config.pre_norm:  # the final norm belongs to no layer, so nothing would train it
        student.encoder.layer_norm.requires_grad_(False)
    student.front_end_grad = recipe.train.front_end_grad
    return Plan(recipe, teacher, match, student, heads, notes)


def initialize(student: Encoder, init: str, teacher: Teacher) -> list[str]:
    """Copy what fits from the teacher or a checkpoint folder into the student; says what stayed random."""
    if init == "random":
        return []
    source = teacher.hubert_weights() if init == "teacher" else load_encoder(Path(init)).state_dict()
    own = student.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    student.load_state_dict(fitting, strict=False)
    left = [name for name in own if name not in fitting and name != "masked_spec_embed"]
    if not left:
        return []
    if not fitting:
        return [f"init: nothing of {init!r} fits this student; it starts from random weights"]
    groups = sorted({".".join(name.split(".")[:3]) if "layers" in name else name.rsplit(".", 1)[0] for name in left})
    return [f"init: {len(fitting)} of {len(own)} tensors come from {init!r}; random: {', '.join(groups)}"]
