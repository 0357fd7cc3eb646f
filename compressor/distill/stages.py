"""Joint distillation and pruning (DPHuBERT, arXiv:2305.17651): gates first, then the pruned student is distilled alone.

The first run lies beside the second, in OUT-joint; when it ends, its units are taken out, and the checkpoint there is
an ordinary one, from which the second run starts.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

from speechpress.runtime.json_file import json_text

from ..cluster.ranks import from_first
from ..models.checkpoint import CARD, STATE, read_config
from ..models.config import EncoderConfig
from ..models.document_schema import read_card
from ..models.events import OnEvent
from ..recipe.schema import Recipe, Student
from .distill import distill, meet
from .folders import JOINT
from .resume import check_identity
from .run import Outcome, RunOptions, check_folder, gone_on


def distill_in_stages(recipe: Recipe, options: RunOptions, listen: OnEvent) -> Outcome:
    """`distill`, and when the recipe prunes by gates, the distillation that follows.

    An interrupted one goes on in the stage in which it was. With `go_on` one that is finished is not begun again.

    Raises SpeechpressError as `distill` does, and where processes do not fit together.
    """
    options = meet(recipe, options)
    if options.go_on and from_first(_finished(options.out) and not (options.out / STATE).exists()):
        return _ended(recipe, options)
    if recipe.prune is None or not recipe.prune.by_gates:
        return distill(recipe, gone_on(options), listen)
    first = replace(options, out=options.out.with_name(options.out.name + JOINT))
    if options.go_on:
        return _gone_on_in_stages(recipe, first, options, listen)
    # The second folder too is looked at before the hours of the first run.
    if not options.resume:
        check_folder(options)
    if not (options.resume and _finished(first.out)):
        outcome = distill(recipe, first, listen)
        if not outcome.finished:
            # It is resumed by the name that was given, not by that of the first stage.
            return replace(outcome, out=options.out)
    # Interrupted between the stages: the second has nothing to resume, and starts anew.
    begun = (options.out / STATE).exists() or (options.out / CARD).exists()
    second = options if not options.resume or begun else replace(options, resume=False, overwrite=True)
    return distill(final_recipe(recipe, first.out), second, listen)


def _gone_on_in_stages(recipe: Recipe, first: RunOptions, options: RunOptions, listen: OnEvent) -> Outcome:
    """Both stages, each begun or gone on with as its folder has it."""
    if not from_first(_finished(first.out)):
        outcome = distill(recipe, gone_on(first), listen)
        if not outcome.finished:
            return replace(outcome, out=options.out)
    return distill(final_recipe(recipe, first.out), gone_on(options), listen)


def _ended(recipe: Recipe, options: RunOptions) -> Outcome:
    """What a finished run came to; raises SpeechpressError when it is one of another recipe."""
    card = read_card(options.out / CARD)
    gated = recipe.prune is not None and recipe.prune.by_gates
    wanted = final_recipe(recipe, options.out.with_name(options.out.name + JOINT)) if gated else recipe
    # Through JSON as the card's own went: its tuples are lists now.
    check_identity(options.out, {"recipe": card["recipe"]}, {"recipe": json.loads(json_text(wanted.to_dict()))})
    return Outcome(options.out, True, card)


def final_recipe(recipe: Recipe, pruned: Path) -> Recipe:
    """The recipe of the second run: the pruned student alone."""
    assert recipe.prune is not None and recipe.prune.final is not None
    final = recipe.prune.final
    train = replace(recipe.train, steps=final.steps, lr=final.lr, warmup=final.warmup)
    return replace(starting_from(recipe, pruned, read_config(pruned)), train=train)


def starting_from(recipe: Recipe, folder: Path, config: EncoderConfig) -> Recipe:
    """The same recipe for exactly the encoder in `folder`, without a `prune` section."""
    # With init the folder itself, a size that differs would leave tensors random: all are given.
    values = {item.name: getattr(config, item.name) for item in fields(EncoderConfig)}
    # The lag stands in `match`, which is the same.
    given = {name: value for name, value in values.items() if value is not None and name != "lag_frames"}
    return replace(recipe, student=Student(config.num_layers, str(folder), given), prune=None)


def _finished(folder: Path) -> bool:
    return (folder / CARD).exists() and bool(read_card(folder / CARD).get("finished"))
