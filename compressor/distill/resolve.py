"""A recipe meets a teacher: matched layers in the teacher's own numbers, and the student's config."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from ..models import costs
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.encoder_checks import EncoderError
from ..models.encoder_schema import MAX_PARAMETERS
from ..recipe.schema import MAX_LAG_MS, Match, Recipe, Streaming, _guilty


def _built(base: EncoderConfig, changes: Mapping[str, Any]) -> EncoderConfig:
    """Layers that are repeated have sizes that are, so those of the base do not stand in the way."""
    distinct = changes.get("distinct_layers")
    if distinct and base.num_layers % distinct == 0:
        again = base.num_layers // distinct
        own = {name: getattr(base, name)[:distinct] * again for name in ("num_heads", "ffn_widths", "reuse_attention")}
        changes = own | dict(changes)
    return replace(base, **changes)


def _same_fraction(layer: int, meant: int, depth: int) -> int:
    """Rounded half up; layer 0 stays the input of the first layer, the last stays the last."""
    # In whole numbers: round() would take a half to the even layer.
    return max(1, (2 * layer * depth + meant) // (2 * meant)) if layer else 0


def _scale(base: EncoderConfig, changes: dict[str, Any], notes: list[str]) -> None:
    """Heads and FFN widths that the recipe does not give follow a width or a head size that it does."""
    width, head_dim = changes.get("width", base.width), changes.get("head_dim", base.head_dim)
    if (width, head_dim) != (base.width, base.head_dim) and "num_heads" not in changes:
        changes["num_heads"] = max(1, width // head_dim)
        notes.append(f"student: num_heads follows the width: {changes['num_heads']} heads of {head_dim}")
    if width != base.width and "ffn_widths" not in changes:
        changes["ffn_widths"] = max(1, width * base.ffn_widths[0] // base.width)
        notes.append(f"student: ffn_widths follows the width: {changes['ffn_widths']}")


def _list(items: Sequence[Any]) -> str:
    return ", ".join(str(list(item) if isinstance(item, tuple) else item) for item in items)


def resolve_match(recipe: Recipe, teacher_depth: int) -> tuple[Match, list[str]]:
    """The recipe's match in the numbers of a teacher of `teacher_depth` layers, and notes on what was changed.

    With `match.depth` in the recipe its layers are taken at the same fractions of the depth; without it (also when they
    were given by --set alone) they are the teacher's own numbers, and one that it lacks raises SpeechpressError.
    """
    match = recipe.match
    meant = match.teacher_layers
    if match.depth is None or match.depth == teacher_depth:
        _check_depth(recipe, meant, teacher_depth)
        _check_depth(recipe, match.clusters.layers if match.clusters else (), teacher_depth, "match.clusters.layers")
        return replace(match, depth=teacher_depth), []
    asked, clustered, depth = match.clusters, tuple[int, ...](), match.depth
    if asked is not None:
        moved = [_same_fraction(layer, depth, teacher_depth) for layer in asked.layers]
        clustered = tuple(dict.fromkeys(moved))
        match = replace(match, clusters=replace(asked, layers=clustered))
    taken = tuple(_same_fraction(layer, depth, teacher_depth) for layer in meant)
    notes = [f"match: layers {_list(meant)} of {match.depth} -> {_list(taken)} of {teacher_depth}"] if meant else []
    if asked is not None:
        notes.append(
            f"match: clusters of layers {_list(asked.layers)} of {match.depth} -> {_list(clustered)} of {teacher_depth}"
        )
    # Of those that fall together, heads predict one layer, and of pairs the last is kept.
    kept = {layer: index for index, layer in enumerate(taken)}
    layers = tuple(kept) if match.layers else ()
    pairs = tuple((match.pairs[index][0], layer) for layer, index in kept.items()) if match.pairs else ()
    if len(kept) < len(taken):
        said = f"pairs {_list(pairs)} are kept" if pairs else "each is matched once"
        notes.append(f"match: several fall on the same layer of this shallower teacher; {said}")
    weights = tuple(match.weights[index] for index in kept.values()) if match.weights else ()
    shared = tuple(match.projections[index] for index in kept.values()) if match.projections else ()
    # LayerPairs takes them as indices, so those that are left are numbered without gaps.
    projections = tuple(sorted(set(shared)).index(number) for number in shared)
    return replace(
        match, layers=layers, pairs=pairs, weights=weights, projections=projections, depth=teacher_depth
    ), notes


def student_config(
    recipe: Recipe, teacher: EncoderConfig | None, teacher_width: int
) -> tuple[EncoderConfig, list[str]]:
    """The student's encoder: the teacher's own, at the recipe's depth, with the recipe's differences; and notes.

    For a teacher without a waveform front end (`teacher` is None, as for Whisper) the base is HuBERT's at the teacher's
    width. A recipe with a `streaming` section gets an encoder that streams: what looks at the whole recording is
    replaced. Raises SpeechpressError when such an encoder cannot be built.
    """
    notes: list[str] = []
    base = teacher or _waveform_base(recipe, teacher_width, notes)
    changes, layers = dict(recipe.student.config), recipe.student.layers
    _scale(base, changes, notes)
    for name in ("num_heads", "ffn_widths", "reuse_attention"):
        value = changes.get(name)
        if isinstance(value, int):
            changes[name] = (value,) * layers
        elif value is not None and len(value) != layers and not (name == "reuse_attention" and not value):
            place = recipe.where(f"student.{name}")
            raise SpeechpressError(f"{place}: student.{name} has {len(value)} values, but student.layers is {layers}")
    try:
        config = _built(base.with_layers(layers), changes)
        config = config if recipe.streaming is None else _streaming(recipe, recipe.streaming, config, notes)
        config = replace(config, lag_frames=_lag_frames(recipe, config))
    except EncoderError as error:
        raise SpeechpressError(f"{_guilty(recipe, error.keys, 'student')}: {error}") from None
    count = costs.parameters(config)
    if count > MAX_PARAMETERS:
        text = f"the student would have {count:,} parameters, but must have at most {MAX_PARAMETERS:,}"
        raise SpeechpressError(f"{_guilty(recipe, ('width', 'ffn_widths', 'conv_channels'), 'student')}: {text}")
    return config, notes


def _streaming(recipe: Recipe, streaming: Streaming, config: EncoderConfig, notes: list[str]) -> EncoderConfig:
    """The same encoder without what keeps it from streaming; what the recipe itself asks for stays."""
    own = recipe.student.config
    changes: dict[str, Any] = {
        "pos_conv_future": streaming.frames(config, "lookahead_ms") * config.time_reduction,
        "left_context": streaming.frames(config, "left_context_ms"),
    }
    for name, whole, causal in (("conv_norm", "group", "static"), ("input_norm", "utterance", "running")):
        if getattr(config, name) == whole and name not in own:
            changes[name] = causal
            notes.append(f"student: {name} {whole} needs the whole recording; the student gets {causal}")
    config = replace(config, **{name: value for name, value in changes.items() if name not in own})
    # An error, not a replacement: the recipe asked for it in its own words.
    if config.blockers:
        place = _guilty(recipe, [key for key, _ in config.blocking], "streaming")
        raise SpeechpressError(f"{place}: the recipe is for streaming, but {'; '.join(config.blockers)}")
    return config


def _lag_frames(recipe: Recipe, config: EncoderConfig) -> int:
    """`match.lag_ms` in frames of the student; raises SpeechpressError for a part of one, and where nothing streams."""
    lag_ms, where = recipe.match.lag_ms, recipe.where("match.lag_ms")
    if not lag_ms:
        return 0
    if config.blockers:
        raise SpeechpressError(
            f"{where}: match.lag_ms is for a student that streams; this one hears whole recordings, so nothing is "
            "gained by waiting. Leave it out, or add a streaming section"
        )
    frame_ms = 1000 * config.hop_samples / SAMPLE_RATE
    frames = round(lag_ms / frame_ms)
    if abs(frames * frame_ms - lag_ms) > 1e-6:
        nearest = min(max(frames, 1), int(MAX_LAG_MS / frame_ms)) * frame_ms
        raise SpeechpressError(
            f"{where}: match.lag_ms is {lag_ms:g}, but must be a multiple of the student's frame of {frame_ms:g} ms; "
            f"the nearest is {nearest:g}"
        )
    return frames


def _check_depth(recipe: Recipe, layers: Sequence[int], depth: int, name: str = "") -> None:
    beyond = [layer for layer in layers if layer > depth]
    if not beyond:
        return
    name = name or ("match.layers" if recipe.match.style == "heads" else "match.pairs")
    text = f"{name} has {_list(beyond)}, but the teacher has {depth} layers (0 = input of the first layer)"
    fix = f"Use values 0–{depth}, or say with match.depth how deep a teacher they are meant for"
    raise SpeechpressError(f"{recipe.where(name, name.rpartition('.')[0], 'match')}: {text}. {fix}.")


def _waveform_base(recipe: Recipe, width: int, notes: list[str]) -> EncoderConfig:
    base = EncoderConfig()
    if "width" in recipe.student.config:
        width = base.width  # the recipe's own width is set later on
    elif width % base.head_dim:
        text = f"the teacher is {width} wide, which is not a multiple of {base.head_dim}"
        raise SpeechpressError(
            f"{recipe.where('student')}: {text}, so it cannot be the student's width. Set student.width"
        )
    notes.append("student: the teacher has no waveform front end; the student gets HuBERT's")
    heads = width // base.head_dim
    return replace(base, width=width, num_heads=(heads,), ffn_widths=(4 * width,))
