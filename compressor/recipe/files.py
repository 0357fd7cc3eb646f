"""Recipes as YAML files: read strictly, changed by --set, listed, copied and compared."""

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular

from ..models.config import EncoderConfig
from ..models.encoder_schema import limits
from .clusters import Clusters, check_clusters
from .hear import Hear
from .hear_checks import check_hear, check_standardise
from .schema import OBJECTIVES, Final, Match, Prune, Published, Quantize, Recipe, Streaming, Student, Train
from .strict_yaml import Entry, as_section, check_keys, convert, did_you_mean, fill, override, parse, places

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by its name, or any recipe by its path, and apply `a.b=c` overrides.

    Raises SpeechpressError, naming `file:line` or the override, for whatever is wrong with it.
    """
    text, shown = _read(str(name_or_path))
    return parse_recipe(text, shown, overrides)


def parse_recipe(text: str, shown: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its YAML text; errors call it `shown`."""
    root = override(parse(text, shown), overrides)
    written = places(root)
    if any(line.startswith("--set") for dotted, line in written.items() if dotted in ("match.layers", "match.pairs")):
        root, written = _by_hand(root, written)
    # Before `fill`, which would call a key missing that is only misspelt.
    _check_all_keys(root)
    sections = dict(root.value)
    if "student" in sections:
        # `fill` knows dataclasses, but the encoder's fields lie flat among the student's own.
        sections["student"] = Entry(_student(sections["student"]), sections["student"].where)
    recipe = replace(fill(Recipe, Entry(sections, shown)), places=written)
    _check(recipe)
    return recipe


def recipe_names() -> list[str]:
    """The shipped recipes."""
    files = resources.files("speechpress.recipes").iterdir()
    return sorted(item.name.removesuffix(".yaml") for item in files if item.name.endswith(".yaml"))


def shipped_text(name: str) -> str:
    """The YAML of a shipped recipe with its comments.

    Raises SpeechpressError for a name that is not shipped, with the nearest one and the list.
    """
    names = recipe_names()
    if name not in names:
        advice = did_you_mean(name, names)
        advice = advice or (f"Did you mean the file {name}.yaml?" if Path(f"{name}.yaml").exists() else "")
        listed = (
            f"Built-in recipes: {', '.join(names)}. A recipe of your own is given by its path, such as ./mine.yaml."
        )
        raise SpeechpressError(" ".join(filter(None, [f"there is no recipe {name!r}.", advice, listed])))
    return (resources.files("speechpress.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def cp_recipe(name: str, destination: str | Path) -> Path:
    """Copy a shipped recipe, comments and all, to a file or into a folder, and return the path.

    Raises SpeechpressError when the file exists already or its folder does not.
    """
    text, path = shipped_text(name), Path(destination)
    if path.is_dir():
        path = path / f"{name}.yaml"
    try:
        # "x" asks and creates in one step: a file that appears in between is not overwritten either.
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise SpeechpressError(
            f"{path}: already exists and is left as it is. Choose another name, or remove it"
        ) from None
    except FileNotFoundError:
        raise SpeechpressError(f"{path}: the folder {path.parent} does not exist. Make it first") from None
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with file:
            file.write(text)
    except OSError as error:
        # On a full disk: half a recipe would still be YAML, and would be taken for a whole one.
        path.unlink(missing_ok=True)
        raise SpeechpressError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Each key in which two recipes differ, as `train.lr: 0.0002 -> 0.001`."""
    before, after = _flatten(old.to_dict()), _flatten(new.to_dict())
    keys = [*before, *(name for name in after if name not in before)]
    changed = [name for name in keys if before.get(name) != after.get(name)]
    return [f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}" for name in changed]


def _read(source: str) -> tuple[str, str]:
    path = Path(source)
    # A bare word is a shipped name, unless a file of that name lies in the working folder.
    if path.suffix not in (".yaml", ".yml") and path.name == source and not path.is_file():
        return shipped_text(source), f"{source}.yaml"
    # Before reading, which would never end with a pipe or a device.
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8"), source
    except FileNotFoundError:
        shipped = f" Built-in recipes: {', '.join(recipe_names())}."
        raise SpeechpressError(f"{source}: there is no such file.{shipped}") from None
    except UnicodeDecodeError:
        raise SpeechpressError(f"{source}: is not a text file in UTF-8, so it is not a recipe") from None
    except OSError as error:
        raise SpeechpressError(f"{source}: cannot be read as a recipe: {error.strerror}") from None


def _by_hand(root: Entry, written: dict[str, str]) -> tuple[Entry, dict[str, str]]:
    """Layers given with --set are the teacher's own numbers, unless a depth is given with --set too."""
    if written.get("match.depth", "--set").startswith("--set"):
        return root, written
    section = {name: entry for name, entry in root.value["match"].value.items() if name != "depth"}
    match = Entry(section, root.value["match"].where)
    return Entry(root.value | {"match": match}, root.where), {k: v for k, v in written.items() if k != "match.depth"}


def _encoder_kinds() -> dict[str, Any]:
    kinds = typing.get_type_hints(EncoderConfig)
    # One number stands for all layers alike.
    per_layer = {name: kinds[name] | int for name in ("num_heads", "ffn_widths")}
    # It follows from match.lag_ms.
    own = [item.name for item in fields(EncoderConfig) if item.name != "lag_frames"]
    return {name: kinds[name] for name in own} | per_layer


def _check_all_keys(root: Entry) -> None:
    known = {"student": ["layers", "init", *_encoder_kinds()]}
    # Of a key that two sections have, the advice is for the later one.
    sections = {"hear": Hear, "prune": Prune, "quantize": Quantize, "match": Match, "train": Train}
    sections |= {"streaming": Streaming, "published": Published}
    known |= {name: [item.name for item in fields(cls)] for name, cls in sections.items()}
    # Where a misplaced key belongs; the line below settles those that several sections have.
    homes = {word: name for name, words in known.items() for word in words}
    homes |= {"layers": "student", "projections": "match", "teacher": "", "name": "", "paper": "", "about": ""}
    check_keys(root.value, [item.name for item in fields(Recipe) if item.name != "places"], "", homes)
    for name, words in known.items():
        if name in root.value:
            check_keys(as_section(root.value[name], name), words, name, homes)
    for outer, inner, cls in (("prune", "final", Final), ("match", "clusters", Clusters)):
        if outer in root.value and inner in as_section(root.value[outer], outer):
            section, path = root.value[outer].value[inner], f"{outer}.{inner}"
            # null is no section, as an override that takes it away.
            if section.value is not None:
                check_keys(as_section(section, path), [item.name for item in fields(cls)], path, {})


def _student(section: Entry) -> Student:
    """The student's section, with the encoder's fields gathered into `config`."""
    kinds = _encoder_kinds()
    own = {name: item for name, item in section.value.items() if name not in kinds}
    config = {
        name: convert(item, kinds[name], f"student.{name}", limits(name))
        for name, item in section.value.items()
        if name in kinds
    }
    return replace(fill(Student, Entry(own, section.where), "student"), config=config)


def _check(recipe: Recipe) -> None:
    """What no single key can tell."""
    train = recipe.train
    if not _NAME.fullmatch(recipe.name):
        raise SpeechpressError(
            f"{recipe.where('name')}: name is {recipe.name!r}, but must be letters, digits, - _ or ."
        )
    for name in ("teacher", "student.init"):
        value = recipe.teacher if name == "teacher" else recipe.student.init
        if not value.strip():
            raise SpeechpressError(f"{recipe.where(name)}: {name} is empty")
    _check_match(recipe)
    _check_terms(recipe)
    check_hear(recipe)
    check_standardise(recipe)
    if recipe.streaming is not None and recipe.streaming.chunk_ms[0] > recipe.streaming.chunk_ms[1]:
        where, chunk = recipe.where("streaming.chunk_ms"), list(recipe.streaming.chunk_ms)
        raise SpeechpressError(f"{where}: streaming.chunk_ms is {chunk}, but must be [smallest, largest]")
    _check_prune(recipe)
    if recipe.quantize is not None and recipe.prune is not None and recipe.prune.by_gates:
        where = recipe.where("quantize.scheme", "quantize")
        raise SpeechpressError(
            f"{where}: quantize does not go with prune.method l0, whose student changes its shape. Prune first, then "
            "train what is left with student.init and a quantize section"
        )
    if train.batch_s is not None and train.batch_s < train.crop_s:
        where, crop = recipe.where("train.batch_s"), train.crop_s
        raise SpeechpressError(
            f"{where}: train.batch_s is {train.batch_s}, less than one crop of train.crop_s = {crop} s"
        )


def _check_prune(recipe: Recipe) -> None:
    prune = recipe.prune
    if prune is None:
        return
    # A key that its method never reads would look as if it had an effect.
    for name, method in (("of", "l0"), ("ramp", "l0"), ("lr", "l0"), ("final", "l0"), ("every", "parp")):
        if f"prune.{name}" in recipe.places and prune.method != method and not _is_default(prune, name):
            where = recipe.where(f"prune.{name}")
            raise SpeechpressError(f"{where}: prune.{name} is for method {method}, but prune.method is {prune.method}")
    if prune.by_gates and prune.final is None:
        where = recipe.where("prune.method", "prune")
        raise SpeechpressError(f"{where}: prune.final is missing: method l0 needs it, such as final: {{steps: 25000}}")
    if prune.by_gates and (not prune.of or len(set(prune.of)) != len(prune.of)):
        raise SpeechpressError(f"{recipe.where('prune.of')}: prune.of must name conv, head, ffn, each at most once")

    if prune.by_gates and prune.ramp >= recipe.train.steps:
        where = recipe.where("prune.ramp", "train.steps")
        raise SpeechpressError(
            f"{where}: prune.ramp is {prune.ramp}, but must be less than train.steps, {recipe.train.steps}, for the "
            "sparsity to be reached"
        )


def _is_default(prune: Prune, name: str) -> bool:
    # A recipe that a run wrote has its defaults written out, and must be readable again.
    return any(item.name == name and item.default == getattr(prune, name) for item in fields(Prune))


def _check_match(recipe: Recipe) -> None:
    match = recipe.match
    used, unused = ("layers", "pairs") if match.style == "heads" else ("pairs", "layers")
    where = recipe.where(f"match.{used}", "match.style", "match")
    if getattr(match, unused):
        place = recipe.where(f"match.{unused}")
        raise SpeechpressError(
            f"{place}: match.{unused} is not used by style {match.style}. Use match.{used} and remove it"
        )
    check_clusters(recipe)
    if not getattr(match, used):
        # Clusters alone: nothing is matched layer by layer.
        if match.clusters is not None and match.style == "heads":
            return
        sample = "[4, 8, 12]" if used == "layers" else "[[1, 6], [2, 12]] (student layer, teacher layer)"
        raise SpeechpressError(f"{where}: match.{used} is missing: style {match.style} needs it, such as {sample}")
    if any(len(pair) != 2 for pair in match.pairs):
        raise SpeechpressError(f"{where}: match.pairs must hold pairs, [student layer, teacher layer]")
    numbers = match.layers or tuple(student for student, _ in match.pairs)
    if len(set(numbers)) != len(numbers):
        raise SpeechpressError(f"{where}: match.{used} lists a layer twice: {list(numbers)}")
    if match.pairs and len(set(match.teacher_layers)) != len(match.pairs):
        raise SpeechpressError(f"{where}: match.pairs lists a teacher layer twice: {list(match.teacher_layers)}")
    # Never of nothing: that one of both keys is there was asked above.
    deepest = max(match.teacher_layers)
    if match.depth is not None and deepest > match.depth:
        text = f"match.{used} has {deepest}, but match.depth says that they are layers of {match.depth}"
        raise SpeechpressError(f"{where}: {text}. Use values 0–{match.depth}, or leave match.depth out")
    if match.pairs and max(numbers) > recipe.student.layers:
        text = f"match.pairs has student layer {max(numbers)}, but the student has {recipe.student.layers} layers"
        raise SpeechpressError(f"{where}: {text} (0 = input of the first layer). Use values 0–{recipe.student.layers}")


def _check_terms(recipe: Recipe) -> None:
    match = recipe.match
    count = len(match.teacher_layers)
    if match.clusters is not None and not match.teacher_layers:
        return
    if not match.terms:
        where = recipe.where("match.cosine", "match.l1", "match")
        raise SpeechpressError(
            f"{where}: match.l1 and match.cosine are both 0 and there is no other term, so there is nothing to learn"
            + (" from match.layers; leave them empty ([]) for clusters alone" if match.clusters else "")
        )
    if match.weights and (len(match.weights) != count or not any(match.weights)):
        where, what = recipe.where("match.weights"), f"{len(match.weights)} values for {count} matched layers"
        raise SpeechpressError(
            f"{where}: match.weights has {what}; give one for each, of which at least one is above 0"
        )
    if match.projections and match.style == "heads":
        where = recipe.where("match.projections")
        raise SpeechpressError(f"{where}: match.projections is not used by style heads. Use style layers, or remove it")
    numbers = match.projections
    # Numbers without gaps: one that is left out would be a projection that nothing trains.
    if numbers and (len(numbers) != count or sorted(set(numbers)) != list(range(max(numbers) + 1))):
        where = recipe.where("match.projections")
        text = f"match.projections is {list(numbers)}, but must number, from 0 on, one projection for each of {count}"
        raise SpeechpressError(f"{where}: {text} pairs; those with the same number share it")
    if match.mask_length is not None and match.mask_prob is None:
        where = recipe.where("match.mask_length")
        raise SpeechpressError(f"{where}: match.mask_length is only used with match.mask_prob, such as 0.8")
    for name in match.terms:
        if OBJECTIVES[name].layers > count:
            where = recipe.where(f"match.{name}")
            raise SpeechpressError(f"{where}: match.{name} compares a matched layer with the one below it; match two")


def _flatten(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{path}.{name}" if path else name
        flat |= _flatten(value, dotted) if isinstance(value, dict) else {dotted: value}
    return flat
