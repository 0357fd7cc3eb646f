"""`compress prune`: a checkpoint made smaller, to a number of parameters or MACs, or to a time that is measured.

What goes is chosen and taken out (`cut`), and the rest is distilled again. The pruned checkpoint as it is before
that lies beside the result, in OUT-cut.
"""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.parts import entries

from ..distill.distill import distill, set_up
from ..distill.folders import CUT
from ..distill.run import Outcome, RunOptions, check_folder
from ..distill.stages import starting_from
from ..models import costs
from ..models.checkpoint import CARD, STATE, Checkpoint, ancestry, is_remains, load_checkpoint
from ..models.document_schema import read_card
from ..models.events import OnEvent, OnText
from ..models.kept_heads import left_behind
from ..recipe.files import parse_recipe
from ..recipe.schema import Prune, Recipe
from .cut import check_cut, cut_down, write_cut
from .options import UNSTRUCTURED, PrunePlan


def prune(plan: PrunePlan, options: RunOptions, listen: OnEvent, say: OnText) -> dict[str, Any]:
    """Write a smaller checkpoint to `options.out`.

    Args:
        plan: what is asked for.
        options: data may be empty where neither importance nor recovery needs any.
        listen: hears the events of the recovery.
        say: hears what is being done.

    Returns:
        What `compress prune --json` prints, with `finished`: False when the recovery was interrupted.

    Raises:
        SpeechpressError: no checkpoint, a target that cannot be met, speech or a recipe that is missing, a folder in
            use.
    """
    plan = replace(plan, checkpoint=local_folder(plan.checkpoint, CHECKPOINT))
    opened = open_prunable(plan.checkpoint)
    check_plan(plan, options)
    for note in left_behind(opened.path):
        say(note)
    # They prune while they distil, so there is no cut to be made before.
    if plan.method in UNSTRUCTURED:
        recipe = zeroing(plan, recipe_of(opened, plan))
        return _document(plan, opened, distill(recipe, options, listen))
    cut_folder = options.out.with_name(options.out.name + CUT) if plan.recover else options.out
    if not options.resume:
        check_cut_folder(cut_folder, options.overwrite)
        if plan.recover:
            check_folder(options)
    # A resumed run keeps its cut: chosen anew it might be another, and the recovery would not fit it.
    if not (options.resume and (cut_folder / CARD).exists()):
        check_cut(plan, opened.encoder)
        made = set_up(recipe_of(opened, plan), replace(options, out=cut_folder, resume=False)) if options.data else None
        write_cut(plan, opened, cut_folder, cut_down(plan, opened, made, say), made)
    # Also after --resume, where the folder may be that of another call.
    check_same(plan, opened, cut_folder)
    if not plan.recover:
        return _document(plan, opened, Outcome(cut_folder, True, read_card(cut_folder / CARD)))
    recipe = starting_from(recipe_of(opened, plan), cut_folder, load_checkpoint(cut_folder).encoder.config)
    # Interrupted between the cut and the first saved state: there is nothing to resume, so recovery begins.
    begun = (options.out / STATE).exists() or (options.out / CARD).exists()
    place = options if not options.resume or begun else replace(options, resume=False, overwrite=True)
    return _document(plan, opened, distill(recovering(recipe, plan), place, listen))


def settled(plan: PrunePlan, options: RunOptions, say: OnText) -> PrunePlan:
    """With a number of steps of recovery where none was given: a tenth of the recipe's, and none without speech."""
    if plan.recover is not None:
        return plan
    if not options.data:
        say("no speech given (--data, --starter), so nothing is distilled after pruning")
        return replace(plan, recover=0)
    steps = max(1, recipe_of(open_prunable(plan.checkpoint), plan).train.steps // 10)
    say(f"{counted(steps, 'step')} of distillation afterwards, a tenth of the recipe's (--recover)")
    return replace(plan, recover=steps)


def open_prunable(folder: Path) -> Checkpoint:
    """Raises SpeechpressError for a bundle, whose weights are compiled, and for what is no checkpoint."""
    if is_bundle(folder):
        raise SpeechpressError(
            f"{folder}: is a bundle, whose program is finished; prune the checkpoint that it was exported from and "
            "export that again"
        )
    return load_checkpoint(folder)


def recipe_of(opened: Checkpoint, plan: PrunePlan) -> Recipe:
    """The recipe that a checkpoint was made with, by its card, for exactly its encoder.

    Raises SpeechpressError when the card names none.
    """
    written = opened.card.get("recipe")
    if not isinstance(written, dict) or "match" not in written:
        raise SpeechpressError(
            f"{opened.path}: its card holds no recipe, so nothing says what it should match. Distil it first, or prune "
            "it with --method magnitude --recover 0"
        )
    settings = [*([f"teacher={plan.teacher}"] if plan.teacher else []), *plan.sets]
    recipe = parse_recipe(yaml.safe_dump(written), str(opened.path / CARD), settings)
    return starting_from(recipe, opened.path, opened.encoder.config)


def check_plan(plan: PrunePlan, options: RunOptions) -> None:
    """Raises SpeechpressError for what cannot be begun: speech that is missing, a folder that is the source itself."""
    # torchrun sets it; every process would cut, and write the same folder.
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpeechpressError("compress prune runs in one process; start it without torchrun")
    if options.out.resolve() == plan.checkpoint.resolve():
        raise SpeechpressError(f"--out {options.out}: is the checkpoint itself, which is kept; choose another folder")
    if (plan.method == "taylor" or plan.recover) and not options.data:
        why = "the importance of units (--method taylor)" if plan.method == "taylor" else "distillation (--recover)"
        raise SpeechpressError(f"{why} needs speech: give --data FOLDER, or --starter for what comes with the package")


def zeroing(plan: PrunePlan, recipe: Recipe) -> Recipe:
    """The recipe of an unstructured pruning: every step of it distils."""
    if plan.target.kind != "sparsity":
        raise SpeechpressError(
            f"--method {plan.method} sets single weights to zero, which changes no cost; give --sparsity 0.5"
        )
    if not plan.recover:
        raise SpeechpressError(f"--method {plan.method} prunes while it distils; say for how long with --steps 1000")
    pruned = Prune(plan.target.value, plan.method, every=max(1, min(50, plan.recover // 10)))
    return replace(recovering(recipe, plan), prune=pruned)


def recovering(recipe: Recipe, plan: PrunePlan) -> Recipe:
    """So many steps, measured and saved often enough to be seen."""
    steps = plan.recover or 0
    every = {
        name: min(getattr(recipe.train, name), max(1, steps // 10)) for name in ("validate_every", "checkpoint_every")
    }
    train = replace(recipe.train, steps=steps, **every)
    return replace(recipe, train=train)


def check_cut_folder(cut_folder: Path, overwrite: bool) -> None:
    """Raises SpeechpressError when a folder for the checkpoint before recovery is in use."""
    if not cut_folder.exists() or (cut_folder.is_dir() and not entries(cut_folder)):
        return
    card = read_card(cut_folder / CARD) if (cut_folder / CARD).is_file() else {}
    ours = card.get("prune") or (cut_folder.is_dir() and is_remains(cut_folder))
    if not overwrite or not ours:
        raise SpeechpressError(
            f"{cut_folder}: is not empty; continue from what was pruned there with --resume, replace it with "
            "--overwrite, or choose another --out"
        )


def check_same(plan: PrunePlan, opened: Checkpoint, cut_folder: Path) -> None:
    """Raises SpeechpressError when the checkpoint in `cut_folder` comes from elsewhere, or was pruned otherwise."""
    card = read_card(cut_folder / CARD)
    # By hash: folders are moved, and a path may hold another checkpoint by now.
    now = plan.asked | {"parent": ancestry(str(opened.path))[0]["sha256"]}
    before = (card.get("prune") or {}).get("asked", {}) | {"parent": (card.get("parents") or [{}])[0].get("sha256")}
    different = [
        f"{name}: it has {before.get(name)!r}, asked for is {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]
    if different:
        raise SpeechpressError(f"{cut_folder}: was pruned otherwise ({'; '.join(different)}); use another --out")


def _document(plan: PrunePlan, opened: Checkpoint, outcome: Outcome) -> dict[str, Any]:
    """What --json prints; `macs_per_s` and `parameters` are those of the result."""
    before, after = opened.encoder.config, load_checkpoint(outcome.out).encoder.config
    card = outcome.card
    return {
        "out": str(outcome.out),
        "finished": outcome.finished,
        "method": plan.method,
        "target": asdict(plan.target),
        "parameters": costs.parameters(after),
        "macs_per_s": costs.macs_per_s(after),
        "size_bytes": costs.size_bytes(after),
        "before": {
            "parameters": costs.parameters(before),
            "macs_per_s": costs.macs_per_s(before),
            "size_bytes": costs.size_bytes(before),
        },
        "prune": card["prune"],
        "recovery_steps": plan.recover,
        "valid": card["valid"],
        "notes": [*(card["notes"] or []), *left_behind(opened.path)],
    }
