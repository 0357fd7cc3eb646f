"""`compress prune`: a checkpoint made smaller, to a number of parameters or MACs, or to a time that is measured.

Units go by importance (`importance`, `selection`), are taken out (`cutting`), and the rest is distilled again. The
pruned checkpoint as it is before that lies beside the result, in OUT-cut.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError

from . import costs
from .checkpoint import CARD, Checkpoint, load_checkpoint, read_json, save_encoder, write_json
from .config import EncoderConfig
from .cutting import cut
from .distill import Setup, distill, heldout_waves, set_up
from .encoder import Encoder
from .importance import magnitude, taylor
from .joint import starting_from
from .lineage import ancestry
from .loss_importance import LAYER_BATCHES, layers_to_keep, losses
from .measured import check, measure
from .objectives import HEADS
from .prune_recipe import Prune
from .prune_search import Found, search
from .prune_target import UNSTRUCTURED, Target
from .recipe import Recipe
from .recipe_file import parse_recipe
from .resume import STATE
from .run import Outcome, Where, check_folder
from .runs import CUT
from .show import describe_encoder
from .training import Distiller, Listener
from .units import check_prunable, removed
from .validation import validate

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    `recover` is the number of steps of distillation, see `settled`; `chunk_ms` and `quantize` are those of the program
    that is timed; `layers` is how many Transformer layers stay, None all.
    """

    checkpoint: Path
    target: Target
    method: str = "taylor"
    recover: int | None = 0
    layers: int | None = None
    teacher: str | None = None
    sets: tuple[str, ...] = ()
    chunk_ms: float | None = None
    quantize: str | None = None


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
        _cut_down(order, opened, where, stump, say)
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
    if not stump.exists() or (stump.is_dir() and not any(stump.iterdir())):
        return
    card = read_json(stump / CARD) if (stump / CARD).is_file() else {}
    if not overwrite or not card.get("prune"):
        raise SpeechpressError(
            f"{stump}: is not empty; choose another --out, or replace what was pruned with --overwrite"
        )


def check_same(order: Order, opened: Checkpoint, stump: Path) -> None:
    """Raises SpeechpressError when the pruned checkpoint in `stump` comes from elsewhere, or was pruned otherwise."""
    card = read_json(stump / CARD)
    now = _asked(order) | {"parent": ancestry(str(opened.path))[0]["sha256"]}
    before = (card.get("prune") or {}).get("asked", {}) | {"parent": card["parents"][0]["sha256"]}
    different = [
        f"{name}: it has {before.get(name)!r}, asked for is {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]
    if different:
        raise SpeechpressError(f"{stump}: was pruned otherwise ({'; '.join(different)}); use another --out")


def _cut_down(order: Order, opened: Checkpoint, where: Where, stump: Path, say: Say) -> None:
    """Choose the units, take them out, and write the checkpoint."""
    check_prunable(opened.encoder.config)
    check_target(order.target, opened.encoder.config)
    timing: dict[str, Any] = {
        "address": str(order.target.device),
        "chunk_ms": order.chunk_ms,
        "quantize": order.quantize,
    }
    if order.target.kind == "latency_ms":
        check(opened.encoder, **timing)
    made = set_up(recipe_of(opened, order), replace(where, out=stump)) if where.data else None
    encoder = opened.encoder if made is None else made.job.student.eval()
    kept = _layers_to_keep(order, encoder, made, say)
    encoder = encoder if kept is None else cut(encoder, {}, kept)
    say(f"importance of units by {order.method}")
    importance = magnitude(encoder) if made is None or order.method == "magnitude" else taylor(encoder, losses(made))
    clock, whole = partial(measure, **timing), costs.parameters(opened.encoder.config)
    found = search(order.target, encoder, importance, order.method == "taylor", clock, say, whole)
    small = cut(encoder, found.masks)
    write_stump(order, opened, stump, small, found, made, kept)


def check_target(target: Target, config: EncoderConfig) -> None:
    """Raises SpeechpressError for a target that is larger than what there is."""
    whole = {"parameters": costs.parameters, "macs_per_s": costs.macs_per_s}
    if target.kind in whole and target.value >= (now := whole[target.kind](config)):
        raise SpeechpressError(
            f"the target is {target.say(target.value)}, but the checkpoint has only {target.say(now)}; nothing to prune"
        )


def _layers_to_keep(order: Order, encoder: Encoder, made: Setup | None, say: Say) -> list[int] | None:
    if order.layers is None:
        return None
    depth = encoder.config.num_layers
    if not 1 <= order.layers < depth:
        raise SpeechpressError(f"--layers {order.layers}: must be 1 to {depth - 1}; the checkpoint has {depth} layers")
    if made is None or order.method != "taylor" or made.job.match.style != "heads":
        raise SpeechpressError(
            "--layers needs --method taylor and a recipe with prediction heads (match.style heads): layers are taken "
            "out where the loss minds it least, and heads read the last one whatever its number is"
        )
    return layers_to_keep(encoder, order.layers, list(islice(losses(made), LAYER_BATCHES)), say)


def write_stump(
    order: Order,
    opened: Checkpoint,
    stump: Path,
    small: Encoder,
    found: Found,
    made: Setup | None,
    kept: list[int] | None,
) -> None:
    """The pruned checkpoint, a folder like any other: weights, config, heads, and a card that says what was done."""
    before = opened.encoder.config
    shutil.rmtree(stump, ignore_errors=True)  # see check_stump
    stump.mkdir(parents=True)
    if (opened.path / HEADS).exists():
        shutil.copyfile(opened.path / HEADS, stump / HEADS)
    save_encoder(stump, small)
    parents = [*ancestry(str(opened.path))]
    pruned = {
        "method": order.method,
        "asked": _asked(order),
        "parameters": [costs.parameters(before), costs.parameters(small.config)],
        "macs_per_s": [costs.macs_per_s(before), costs.macs_per_s(small.config)],
        "latency": found.latency,
        "layers_kept": None if kept is None else [layer + 1 for layer in kept],
        "units": removed(before if kept is None else _with_layers(before, kept), small.config),
    }
    card = {
        **opened.card,
        "finished": True,
        "parents": parents,
        "prune": pruned,
        "notes": [*opened.card.get("notes", []), *found.notes],
        "parameters": costs.parameters(small.config),
        "macs_per_s": costs.macs_per_s(small.config),
        "streaming": describe_encoder(small.config)["streaming"],
        "valid": {} if made is None else _fidelity(made, small),
    }
    write_json(stump / CARD, card)


def _with_layers(config: EncoderConfig, kept: list[int]) -> EncoderConfig:
    heads, widths = ([counts[layer] for layer in kept] for counts in (config.num_heads, config.ffn_widths))
    return replace(config, num_heads=tuple(heads), ffn_widths=tuple(widths))


def _fidelity(made: Setup, small: Encoder) -> dict[str, Any]:
    """Held-out fidelity before ("start") and after ("end") the units went."""
    job, waves = made.job, heldout_waves(made.valid_part, made.job.recipe.train.crop_s)

    def measured(encoder: Encoder) -> dict[str, dict[str, float]]:
        whole = Distiller(encoder.to(made.fabric.device), job.heads).eval()
        return validate(whole, made.teacher, job.match.teacher_layers, waves)

    return {"start": measured(job.student), "end": measured(small)}


def _asked(order: Order) -> dict[str, Any]:
    return {"target": asdict(order.target), "method": order.method, "layers": order.layers}


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
