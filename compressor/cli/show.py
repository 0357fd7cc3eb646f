"""What `compress ls` and `compress show` tell, as plain data: no network, and torch only to load an unknown teacher.

Milliseconds and bytes are null where there is no limit, or nothing is known before a teacher is loaded.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechpress.runtime.bundle import Bundle, is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.json_file import parse_json
from speechpress.runtime.students.shipped import shipped_folder, shipped_students
from speechpress.runtime.tensor_file import read_metadata

from ..distill.resolve import resolve_match, student_config
from ..models import costs
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.describe import describe_encoder
from ..models.document_schema import Card, read_card
from ..recipe.files import load_recipe, recipe_names
from ..recipe.schema import Match, Recipe
from ..targets import TARGETS, target_of
from ..teachers.catalogue import KNOWN, KnownTeacher, built_in_teachers, from_folder, known_teacher
from ..teachers.hub_folder import pushed
from . import show_teacher

# 20 ms, as all HuBERT-like teachers have; used where nothing is known of the teacher.
TEACHER_HOP = SAMPLE_RATE // 50

STATE, RECIPE = "resume.safetensors", "recipe.yaml"  # see `resume` and `run`

KINDS = ("recipes", "teachers", "students", "targets", "devices")


def show(thing: str) -> dict[str, Any]:
    """What is known of a shipped recipe, a bundle, a target, a checkpoint folder, a teacher or a recipe file.

    They are looked for in this order. Teachers of which nothing is known beforehand are loaded, none is fetched; what
    `compress push` put on the Hub is.

    Raises SpeechpressError when it is none of them.
    """
    folder = Path(thing)
    # Recipes first: their names are ours, and a folder of the same name can be written as ./name.
    if thing in recipe_names():
        return show_recipe(load_recipe(thing))
    # Before checkpoints: a bundle is a folder as well.
    if is_bundle(folder):
        return show_bundle(folder)
    if thing in [target.name for target in TARGETS]:
        return {"kind": "target", **target_of(thing).to_dict()}
    if folder.is_dir():
        return show_checkpoint(folder)
    teacher = known_teacher(thing)
    if teacher is not None:
        return {"kind": "teacher", **_teacher(teacher)}
    # A checkpoint of another toolkit; any other file must be a recipe.
    if folder.is_file() and show_teacher.is_teacher_file(folder):
        return show_teacher.show_loaded(thing)
    # What we published ourselves is small; a teacher may have gigabytes.
    if (published := pushed(thing, CHECKPOINT, BUNDLE)) is not None:
        document = show_bundle(published) if is_bundle(published) else show_checkpoint(published)
        return {**document, "path" if is_bundle(published) else "name": thing}
    if not folder.exists() and not thing.endswith((".yaml", ".yml")):
        # Only from the cache: `show` fetches no teacher.
        if show_teacher.cached(thing) is not None:
            return show_teacher.show_loaded(thing)
        if "/" in thing or thing.startswith(show_teacher.TORCHAUDIO):
            raise show_teacher.unknown(thing)
    return show_recipe(load_recipe(thing))


def show_recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe makes of its teacher, and what that costs.

    Raises SpeechpressError when the recipe does not fit its teacher.
    """
    teacher = known_teacher(recipe.teacher)
    depth = teacher.depth if teacher else recipe.match.depth
    width = teacher.width if teacher else EncoderConfig().width
    # Layers are moved to the same fractions of the teacher's depth, so one depth has to be known.
    match, notes = resolve_match(recipe, depth) if depth else (recipe.match, [])
    if teacher is None:
        notes.append(f"{recipe.teacher} has not been loaded; figures assume a HuBERT-base teacher")
    start = EncoderConfig() if teacher is None else teacher.encoder
    config, more = student_config(recipe, start, width)
    hop = start.hop_samples if start else TEACHER_HOP
    factor = max(1, round(config.hop_samples / hop))
    heads = training_parts(match, config, width, factor)
    expected, said = after_pruning(recipe, config)
    return {
        "kind": "recipe",
        "name": recipe.name,
        "about": recipe.about,
        "paper": recipe.paper,
        **describe_encoder(config),
        **expected,
        "training_only_parameters": sum(part.parameters for part in heads),
        "published": published(recipe, config, heads),
        "teacher": _teacher(teacher) if teacher else {"source": recipe.teacher},
        "match": {
            "style": match.style,
            "layers": list(match.layers),
            "pairs": [list(pair) for pair in match.pairs],
            "terms": match.terms,
            "weights": list(match.weights),
            "clusters": None if match.clusters is None else asdict(match.clusters),
        },
        "recipe": recipe.to_dict(),
        "notes": [*notes, *more, *said],
    }


def training_parts(match: Match, config: EncoderConfig, teacher_width: int, factor: int) -> list[costs.Part]:
    """What is dropped after training: the prediction heads together, or each projection of a hidden state."""
    upsamples = match.upsample == "conv" and factor > 1
    up = costs.upsample_part(config, factor) if upsamples else costs.Part()
    if not match.teacher_layers:
        return []
    if match.style == "heads":
        return [up + costs.Part(costs.head_parameters(config.width, teacher_width, len(match.layers)))]
    # Relations between frames have the same size whatever the width, so they need no projection.
    projects = bool(match.projections) or (config.width != teacher_width and not match.relations_only)
    part = up + (costs.projection_part(config, teacher_width, factor) if projects else costs.Part())
    # Pairs may share a projection, which counts once.
    return [part] * (len(set(match.projections)) or len(match.pairs)) if part.parameters else []


def published(recipe: Recipe, config: EncoderConfig, heads: list[costs.Part]) -> dict[str, Any] | None:
    """What was published of a recipe's student, and what it is here, counted as its authors did."""
    facts = recipe.published
    if facts is None:
        return None
    # Papers differ in what they count, so that a sum of ours would compare with none of them.
    counted = {"none": [], "last": heads[-1:], "all": heads}[facts.heads]
    extra, left = sum(counted, costs.Part()), after_pruning(recipe, config)[0]
    macs = costs.macs_per_s(config) + extra.macs_per_s + costs.attention_macs_per_s(config, facts.attention_s)
    return {
        "parameters": round(facts.parameters),
        "parameters_here": left.get("parameters", costs.parameters(config)) + extra.parameters + facts.spare,
        "macs_per_s": facts.macs_per_s,
        "macs_per_s_here": None if facts.macs_per_s is None or left else macs,  # which units go is learned
        "heads": facts.heads,
        "attention_s": facts.attention_s,
    }


def after_pruning(recipe: Recipe, config: EncoderConfig) -> tuple[dict[str, Any], list[str]]:
    """What of an encoder's figures changes when the recipe takes units out, and notes on what cannot be told."""
    prune = recipe.prune
    if prune is None:
        return {}, []
    # Zeros in a dense matrix are stored and multiplied as other numbers are.
    if not prune.by_gates:
        return {}, [f"prune: {prune.sparsity:.0%} of the weights become zeros, which saves neither time nor memory"]
    whole = costs.parameters(config)
    left = round((1 - prune.sparsity) * whole)
    note = (
        f"prune: parameters are estimates after {prune.sparsity:.0%} are taken out of {whole:,}; which units go, "
        "and so how many MACs, is learned: MACs, bytes and the table of parts are those before"
    )
    return {"parameters": left, "parameters_before_pruning": whole}, [note]


def show_checkpoint(folder: str | Path) -> dict[str, Any]:
    """What config.json and card.json of a checkpoint folder say; weights are opened only where that does not do.

    Of a run that was stopped before it had a checkpoint: how far it came.

    Raises SpeechpressError when the folder is no checkpoint.
    """
    folder = Path(folder)
    card = read_card(folder / "card.json") if (folder / "card.json").is_file() else {}
    stopped = interrupted(folder, card)
    if stopped is not None and not card:
        return {"kind": "run", "name": str(folder), "recipe_name": load_recipe(str(folder / RECIPE)).name} | {
            "interrupted": stopped
        }
    if not (folder / "config.json").is_file():
        advice = "`compress distill` makes one; `compress ls` lists what else can be shown"
        raise SpeechpressError(f"{folder}: is not a checkpoint (it has no config.json); {advice}")
    try:
        facts = from_folder(folder, str(folder))
    except SpeechpressError:
        # Its config.json may leave out what transformers knows, or be of a family that is found out by loading.
        if not show_teacher.has_weights(folder):
            raise
        return show_teacher.show_loaded(str(folder))
    # Other families are teachers only: a student's encoder is HuBERT's or wav2vec 2.0's.
    if facts.encoder is None or facts.family not in ("hubert", "wav2vec2"):
        return {"kind": "teacher", **_teacher(facts)}
    return {"kind": "checkpoint", "name": str(folder), **describe_encoder(facts.encoder), **_lineage(card)} | {
        "interrupted": stopped
    }


def show_bundle(folder: str | Path) -> dict[str, Any]:
    """What bundle.json says; the program is not loaded.

    Raises SpeechpressError when the bundle is damaged or newer than this version.
    """
    return {"kind": "bundle", "path": str(folder), **read_bundle(folder).document}


def ls(kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """What there is of one kind, or of every kind; a kind of which there is nothing yet has an empty list.

    Raises SpeechpressError for a kind that does not exist.
    """
    listers = {
        "recipes": ls_recipes,
        "teachers": ls_teachers,
        "students": ls_students,
        "targets": ls_targets,
        "devices": ls_devices,
    }
    if kind is not None and kind not in listers:
        raise SpeechpressError(f"{kind!r} cannot be listed. Kinds: {', '.join(KINDS)}")
    return {name: lister() for name, lister in listers.items() if kind in (None, name)}


def ls_recipes() -> list[dict[str, Any]]:
    recipes = [load_recipe(name) for name in recipe_names()]
    return [{"name": item.name, "about": item.about, "teacher": item.teacher, "paper": item.paper} for item in recipes]


def ls_teachers() -> list[dict[str, Any]]:
    """The teachers whose facts are known beforehand; others work as well."""
    return [_teacher(teacher) for teacher in (*built_in_teachers(), *KNOWN)]


def ls_students() -> list[dict[str, Any]]:
    """The students that come with the package, by the names under which `load_bundle` and the commands find them."""
    return [_student(name, read_bundle(folder)) for name, folder in shipped_students().items()]


def _student(name: str, bundle: Bundle) -> dict[str, Any]:
    document = bundle.document
    return {
        "name": name,
        "teacher": (document["lineage"]["teacher"] or {}).get("source"),
        "width": document["features"]["width"],
        "quantize": document["quantize"],
        "chunk_ms": [stream["chunk_ms"] for stream in document["streams"]],
        "size_bytes": bundle.program.stat().st_size,
        "heads": [head["name"] for head in document.get("heads", [])],
        "bundle": str(bundle.path),
        "checkpoint": str(checkpoint) if (checkpoint := shipped_folder(name, CHECKPOINT)) else None,
    }


def ls_targets() -> list[dict[str, Any]]:
    return [target.to_dict() for target in TARGETS]


def ls_devices() -> list[dict[str, Any]]:
    """What is connected, then the devices of which facts ship, one YAML file each.

    Phones are looked for when adb is installed; boards behind ssh need not be listed to be used.
    """
    from speechpress.devices.known import known_devices
    from speechpress.devices.open import connected

    nothing = {"state": "known", "address": ""}
    return [*connected(), *({**nothing, **device.to_dict()} for device in known_devices())]


def _teacher(teacher: KnownTeacher) -> dict[str, Any]:
    published = teacher.parameters + teacher.pretraining_parameters
    return {
        "source": teacher.source,
        "family": teacher.family,
        "layers": teacher.depth,
        "width": teacher.width,
        "parameters": teacher.parameters,
        "published_parameters": published if teacher.pretraining_parameters else None,
        "macs_per_s": teacher.macs_per_s,
        "waveform_front_end": teacher.encoder is not None,
        "about": teacher.about,
    }


def _lineage(card: Card) -> dict[str, Any]:
    """What a card says of the making, as far as it says it."""
    recipe, teacher = card.get("recipe"), card.get("teacher")
    return {
        "recipe_name": recipe.get("name") if isinstance(recipe, dict) else None,
        "teacher": {"source": teacher.get("source")} if isinstance(teacher, dict) else None,
        "steps": card.get("steps"),
        "audio_h": card.get("audio_h"),
        "valid": card.get("valid"),
        "parents": card.get("parents") or [],
        "prune": card.get("prune"),
        "quantize": (card.get("quantize") or {}).get("scheme"),
        "notes": list(card.get("notes") or []),
        "heads": dict(card.get("heads") or {}),
    }


def interrupted(folder: Path, card: Card) -> dict[str, Any] | None:
    """Of a run that did not come to its end: {"step", "steps", "saved_step"}; None of a finished one.

    `step` is that of the weights there, None without any; `saved_step` is where --resume goes on, None where it cannot.
    """
    # Cards of before this key are of finished runs; without a card nothing was finished.
    if not (folder / RECIPE).is_file() or card.get("finished", bool(card)):
        return None
    steps = load_recipe(str(folder / RECIPE)).train.steps
    return {"step": card.get("steps"), "steps": steps, "saved_step": saved_step(folder / STATE)}


def saved_step(state: Path) -> int | None:
    """The step at which a run can go on; None where nothing was saved.

    Raises SpeechpressError when the file is damaged.
    """
    if not state.is_file():
        return None
    try:
        # The metadata alone: the state holds the optimiser too, and torch is not imported for it.
        return int(parse_json(read_metadata(state)["speechpress"])["progress"]["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpeechpressError(f"{state}: is damaged ({error!r}); restart the run with --overwrite") from error


def words(found: dict[str, Any]) -> str:
    """interrupted at 15 of 400 steps; --resume goes on at step 15."""
    at = found["step"] if found["step"] is not None else found["saved_step"] or 0
    on = found["saved_step"]
    advice = "there is no saved state to continue from" if on is None else f"--resume continues at step {on}"
    return f"interrupted at step {at} of {found['steps']}; {advice}"
