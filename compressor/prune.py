"""`compress prune`: a checkpoint made smaller, to a number of parameters or MACs, or to a time that is measured.

What goes is chosen and taken out (`prune_cut`), and the rest is distilled again. The pruned checkpoint as it is before
that lies beside the result, in OUT-cut.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parts import entries

from . import costs
from .checkpoint import CARD, STATE, Checkpoint, is_remains, load_checkpoint, read_json
from .distill import distill, set_up
from .joint import starting_from
from .lineage import ancestry
from .prune_cut import check_cut, cut_down, write_stump
from .prune_order import Order
from .prune_recipe import Prune
from .prune_target import UNSTRUCTURED
from .recipe import Recipe
from .recipe_file import parse_recipe
from .run import Outcome, Where, check_folder
from .runs import CUT
from .training import Listener

Say = Callable[[str], None]


def prune(order: Order, where: Where, listen: Listener, say: Say) -> dict[str, Any]:
    """Write a smaller checkpoint to `where.out`.

    Args:
        order: what is asked for.
        where: data may be empty where neither importance nor recovery needs any.
        listen: hears the events of the recovery.
        say: hears what is being done.

    Returns:
        What `compress prune --json` prints, with `finished`: False when the recovery was interrupted.

    Raises:
        SpeechpressError: no checkpoint, a target that cannot be met, speech or a recipe that is missing, a folder in
            use.
    """
    opened = open_prunable(order.checkpoint)
    check_order(order, where)
    if order.method in UNSTRUCTURED:
        recipe = zeroing(order, recipe_of(opened, order))
        return _document(order, opened, distill(recipe, where, listen))
    stump = where.out.with_name(where.out.name + CUT) if order.recover else where.out
    if not where.resume:
        check_stump(stump, where.overwrite)
        if order.recover:
            check_folder(where)
    if not (where.resume and (stump / CARD).exists()):
        check_cut(order, opened.encoder)
        made = set_up(recipe_of(opened, order), replace(where, out=stump)) if where.data else None
        write_stump(order, opened, stump, cut_down(order, opened, made, say), made)
    check_same(order, opened, stump)
    if not order.recover:
        return _document(order, opened, Outcome(stump, True, read_json(stump / CARD)))
    recipe = starting_from(recipe_of(opened, order), stump, load_checkpoint(stump).encoder.config)
    begun = (where.out / STATE).exists() or (where.out / CARD).exists()
    place = where if not where.resume or begun else replace(where, resume=False, overwrite=True)
    return _document(order, opened, distill(recovering(recipe, order), place, listen))


def settled(order: Order, where: Where, say: Say) -> Order:
    """With a number of steps of recovery where none was given: a tenth of the recipe's, and none without speech."""
    if order.recover is not None:
        return order
    if not where.data:
        say("no speech was named (--data, --starter), so nothing is distilled after the units have gone")
        return replace(order, recover=0)
    steps = max(1, recipe_of(open_prunable(order.checkpoint), order).train.steps // 10)
    say(f"{steps} steps of distillation afterwards, a tenth of the recipe's (--recover)")
    return replace(order, recover=steps)


def open_prunable(folder: Path) -> Checkpoint:
    """Raises SpeechpressError for a bundle, whose weights are compiled, and for what is no checkpoint."""
    if is_bundle(folder):
        raise SpeechpressError(
            f"{folder}: is a bundle, whose program is finished; prune the checkpoint that it was exported from and "
            "export that again"
        )
    return load_checkpoint(folder)


def recipe_of(opened: Checkpoint, order: Order) -> Recipe:
    """The recipe that a checkpoint was made with, by its card, for exactly its encoder.

    Raises SpeechpressError when the card names none.
    """
    written = opened.card.get("recipe")
    if not isinstance(written, dict) or "match" not in written:
        raise SpeechpressError(
            f"{opened.path}: its card holds no recipe, so nothing says what it should match. Distil it first, or prune "
            "it with --method magnitude --recover 0"
        )
    settings = [*([f"teacher={order.teacher}"] if order.teacher else []), *order.sets]
    recipe = parse_recipe(yaml.safe_dump(written), str(opened.path / CARD), settings)
    return starting_from(recipe, opened.path, opened.encoder.config)


def check_order(order: Order, where: Where) -> None:
    """Raises SpeechpressError for what cannot be begun: speech that is missing, a folder that is the source itself."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpeechpressError("compress prune runs in one process; start it without torchrun")
    if where.out.resolve() == order.checkpoint.resolve():
        raise SpeechpressError(f"--out {where.out}: is the checkpoint itself, which is kept; choose another folder")
    if (order.method == "taylor" or order.recover) and not where.data:
        why = "the importance of units (--method taylor)" if order.method == "taylor" else "distillation (--recover)"
        raise SpeechpressError(f"{why} needs speech: give --data FOLDER, or --starter for what comes with the package")


def zeroing(order: Order, recipe: Recipe) -> Recipe:
    """The recipe of an unstructured pruning: every step of it distils."""
    if order.target.kind != "sparsity":
        raise SpeechpressError(
            f"--method {order.method} sets single weights to zero, which changes no cost; give --sparsity 0.5"
        )
    if not order.recover:
        raise SpeechpressError(f"--method {order.method} prunes while it distils; say for how long with --steps 1000")
    pruned = Prune(order.target.value, order.method, every=max(1, min(50, order.recover // 10)))
    return replace(recovering(recipe, order), prune=pruned)


def recovering(recipe: Recipe, order: Order) -> Recipe:
    """So many steps, measured and saved often enough to be seen."""
    steps = order.recover or 0
    every = {
        name: min(getattr(recipe.train, name), max(1, steps // 10)) for name in ("validate_every", "checkpoint_every")
    }
    train = replace(recipe.train, steps=steps, **every)
    return replace(recipe, train=train)


def check_stump(stump: Path, overwrite: bool) -> None:
    """Raises SpeechpressError when a folder for the checkpoint before recovery is in use."""
    if not stump.exists() or (stump.is_dir() and not entries(stump)):
        return
    card = read_json(stump / CARD) if (stump / CARD).is_file() else {}
    ours = card.get("prune") or (stump.is_dir() and is_remains(stump))
    if not overwrite or not ours:
        raise SpeechpressError(
            f"{stump}: is not empty; go on from what was pruned there with --resume, replace it with --overwrite, or "
            "choose another --out"
        )


def check_same(order: Order, opened: Checkpoint, stump: Path) -> None:
    """Raises SpeechpressError when the pruned checkpoint in `stump` comes from elsewhere, or was pruned otherwise."""
    card = read_json(stump / CARD)
    now = order.asked | {"parent": ancestry(str(opened.path))[0]["sha256"]}
    before = (card.get("prune") or {}).get("asked", {}) | {"parent": card["parents"][0]["sha256"]}
    different = [
        f"{name}: it has {before.get(name)!r}, asked for is {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]
    if different:
        raise SpeechpressError(f"{stump}: was pruned otherwise ({'; '.join(different)}); use another --out")


def _document(order: Order, opened: Checkpoint, outcome: Outcome) -> dict[str, Any]:
    """What --json prints; `macs_per_s` and `parameters` are those of the result."""
    before, after = opened.encoder.config, load_checkpoint(outcome.out).encoder.config
    card = outcome.card
    return {
        "out": str(outcome.out),
        "finished": outcome.finished,
        "method": order.method,
        "target": asdict(order.target),
        "parameters": costs.parameters(after),
        "macs_per_s": costs.macs_per_s(after),
        "size_bytes": costs.size_bytes(after),
        "before": {
            "parameters": costs.parameters(before),
            "macs_per_s": costs.macs_per_s(before),
            "size_bytes": costs.size_bytes(before),
        },
        "prune": card["prune"],
        "recovery_steps": order.recover,
        "valid": card["valid"],
        "notes": card["notes"],
    }
