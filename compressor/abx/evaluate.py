"""`compress eval --tasks abx`: phone discrimination of every layer, whole recordings and every chunk size.

Shapes: E entries (a pair of phones by one speaker), L layers.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import check_sounds, clip
from ..evaluate.features import Upstream
from ..evaluate.lineup import OWN_NAMES, Comparison, open_comparison
from ..evaluate.upstreams import bundle_upstream, encoder_upstream
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from ..models.streaming import chunk_frames_of
from .cells import MODES, MOST_TOKENS, Cells, make_cells
from .dtw import Angular, OtherUnit, distances, edited, warped
from .hear import Heard, heard, too_short
from .items import Token, about, lonely, read_items
from .score import entry_errors, mean_error, resampled
from .task_entry import task_entry
from .units import centres_of, units_of, without_repeats

logger = logging.getLogger(__name__)

CHUNKS_MS = (80.0, 160.0, 320.0, 640.0)
UNIT_WAYS = ("warped", "edited")
METHOD = "bootstrap over the speakers of A and B, of the best layer"


@dataclass(frozen=True)
class Request:
    """What is asked: the item file, its recordings, tokens per phone, context and speaker (None: all), units if any."""

    items: Path
    data: Path
    most_tokens: int | None = MOST_TOKENS
    units: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """The tokens that take part, renumbered, and the cells of each mode that has any."""

    tokens: list[Token]
    cells: dict[str, Cells]
    notes: list[str]


def evaluate_abx(
    source: str | Path,
    request: Request,
    *,
    against: Sequence[str] = (),
    teacher: str | None = None,
    chunk_ms: float | None = None,
    layers: str = "weighted",
    device: str = "cpu",
    listen: OnText = logger.info,
) -> dict[str, Any]:
    """Measure a checkpoint, bundle or teacher; the result is plain JSON.

    Args:
        source: what is measured; a student that streams also in chunks of CHUNKS_MS, a bundle in all of its own.
        request: items and recordings.
        against, teacher, device: as in `evaluate.suite.evaluate_suite`.
        chunk_ms: this chunk size only.
        layers: "last" looks at last layers only; else at all of them.

    Returns:
        as `evaluate_suite`, with the tasks "abx-within" and "abx-across", each the error of the best layer (the least
        mean of both modes) for each upstream, and "abx": {upstream: {"layers", "best", MODES: [error of each layer],
        "units"}}.

    Raises:
        SpeechpressError: before any long work, for items that nothing can be compared of, or recordings that are not
            there.
    """
    started = time.monotonic()
    tokens = read_items(request.items, request.data)
    comparison = open_comparison(source, against, teacher, chunk_ms, device)
    upstreams = _with_chunks(comparison, chunk_ms, layers)
    plan = plan_abx(tokens, upstreams, request)
    hours = _hours(plan, upstreams, request)
    sizes = ", ".join(f"{mode} speakers {cells.cells} cells" for mode, cells in plan.cells.items())
    listen(f"ABX: {len(plan.tokens)} tokens in {hours:.2f} h, {sizes}; models: {', '.join(upstreams)}")
    details, errors = {}, {}
    for name, upstream in upstreams.items():
        details[name], errors[name] = measure(upstream, plan, request, device)
        listen(f"{name}: {_line(details[name])}  [{time.monotonic() - started:.0f} s]")
    return {
        **_facts(source, request, tokens, plan, comparison),
        "layers": "last" if layers == "last" else "best",
        "hours": hours,
        "against": [name for name in upstreams if name not in OWN_NAMES],
        "tasks": {f"abx-{mode}": entry(mode, plan.cells[mode], details, errors) for mode in plan.cells},
        "abx": details,
        "seconds": {"all": time.monotonic() - started},
    }


def _facts(
    source: str | Path, request: Request, tokens: Sequence[Token], plan: Plan, comparison: Comparison
) -> dict[str, Any]:
    """What is known before anything is heard; fidelity and the like are there for readers of any evaluation."""
    return {
        "checkpoint": str(source),
        "data": str(request.data),
        "items": {"path": str(request.items), **about(tokens), "used": len(plan.tokens)},
        "most_tokens": request.most_tokens,
        "seed": request.seed,
        "latency": comparison.latency,
        "size_bytes": {name: one.size_bytes for name, one in comparison.upstreams.items()},
        "fidelity": {},
        "fidelity_by": None,
        "fidelity_detail": {},
        "sanity": None,
        "skipped": [],
        "notes": [*plan.notes, *comparison.notes],
    }


def _with_chunks(comparison: Comparison, chunk_ms: float | None, layers: str) -> dict[str, Upstream]:
    """What is compared, and the student in every chunk size."""
    upstreams = comparison.shown(layers)
    if chunk_ms is not None:
        return upstreams
    more: dict[str, Upstream] = {}
    if comparison.opened is not None and not comparison.opened.encoder.config.blockers:
        encoder = comparison.opened.encoder
        for size in CHUNKS_MS:
            hop_ms = 1000 * encoder.config.hop_samples / SAMPLE_RATE
            if size % hop_ms == 0:
                more[_named(size)] = encoder_upstream(encoder, chunk_frames_of(encoder.config, size))
    elif (bundle := comparison.bundle) is not None:
        own = comparison.latency["chunk_ms"] if comparison.latency else None
        sizes = [stream["chunk_ms"] for stream in bundle.document["streams"] if stream["chunk_ms"] != own]
        more = {_named(size): bundle_upstream(bundle, size) for size in sizes}
    shown = replace(comparison, upstreams=more).shown(layers)
    student = {"student": upstreams["student"]}
    return {**student, **shown, **{name: one for name, one in upstreams.items() if name != "student"}}


def _named(chunk_ms: float) -> str:
    return f"student at {chunk_ms:g} ms"


def plan_abx(tokens: Sequence[Token], upstreams: Mapping[str, Upstream], request: Request) -> Plan:
    """Raises SpeechpressError where nothing can be compared."""
    notes = []
    short = too_short(tokens, upstreams)
    if short.any():
        notes.append(f"{int(short.sum())} of {len(tokens)} tokens hold the middle of no frame and were left out")
    kept = [token for token, gone in zip(tokens, short, strict=True) if not gone]
    cells = {mode: make_cells(kept, mode, request.most_tokens, request.seed) for mode in MODES}
    whys = {
        "within": "no speaker says two tokens of a phone and one of another between the same neighbours",
        "across": "no phone is said by two speakers, one of whom says another phone between the same neighbours",
    }
    for mode in MODES:
        if not cells[mode].cells:
            notes.append(f"{mode} speakers nothing can be compared: {whys[mode]}")
    if not any(one.cells for one in cells.values()):
        raise SpeechpressError(
            f"--items {request.items}: {'; '.join(notes)}. It takes more tokens, or contexts that occur more often"
        )
    if alone := lonely(kept):
        words = f"{len(alone)} phones are said by one speaker only, such as {alone[0]}"
        notes.append(f"{words}: across speakers they stand for no X")
    used = np.unique(np.concatenate([one.tokens() for one in cells.values() if one.cells]))
    return Plan(
        [kept[number] for number in used],
        {m: replace(one, pairs=np.searchsorted(used, one.pairs)) for m, one in cells.items() if one.cells},
        notes,
    )


def _hours(plan: Plan, upstreams: Mapping[str, Upstream], request: Request) -> float:
    sounds = [clip(path) for path in sorted({token.path for token in plan.tokens})]
    receptive_s = max(upstream.receptive_samples for upstream in upstreams.values()) / SAMPLE_RATE
    seconds = check_sounds(sounds, receptive_s, str(request.items))
    limits = [upstream.limit_s for upstream in upstreams.values() if upstream.limit_s is not None]
    longest = max(token.offset_us for token in plan.tokens) / 1e6
    if limits and longest > min(limits):
        raise SpeechpressError(
            f"this bundle does not stream and runs at most {min(limits):g} s at once, but a token ends at "
            f"{longest:.1f} s; export it with --offline-seconds {longest + 10:.0f}"
        )
    return seconds / 3600


def measure(
    upstream: Upstream, plan: Plan, request: Request, device: str = "cpu"
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Errors of every layer, and by mode each layer's errors of all entries (E,)."""
    found: dict[str, list[np.ndarray]] = {mode: [] for mode in plan.cells}
    units: dict[str, dict[str, list[float]]] = {}
    for layer in heard(upstream, plan.tokens, device):
        cost = Angular(layer.frames)
        for mode, cells in plan.cells.items():
            apart = distances(cells.pairs, layer.starts, layer.lengths, cost)
            found[mode].append(entry_errors(cells, apart))
        if request.units is not None:
            _add_units(units, layer, plan, request.units, request.seed)
    means = {mode: [mean_error(plan.cells[mode], one) for one in rows] for mode, rows in found.items()}
    best = int(np.argmin(np.mean(list(means.values()), 0)))
    detail = {"layers": len(next(iter(means.values()))), "best": best, **means}
    return detail | ({"units": {"count": request.units, **units}} if units else {}), found


def _add_units(units: dict[str, dict[str, list[float]]], layer: Heard, plan: Plan, count: int, seed: int) -> None:
    numbers = units_of(layer.frames, centres_of(layer.frames, count, seed))
    short, starts, lengths = without_repeats(numbers, layer.starts.tolist(), layer.lengths.tolist())
    ways = {
        "warped": (OtherUnit(numbers), layer.starts, layer.lengths, warped),
        "edited": (OtherUnit(short), np.array(starts), np.array(lengths), edited),
    }
    for way, (cost, begins, sizes, align) in ways.items():
        for mode, cells in plan.cells.items():
            apart = distances(cells.pairs, begins, sizes, cost, align)
            units.setdefault(way, {}).setdefault(mode, []).append(mean_error(cells, entry_errors(cells, apart)))


def entry(
    mode: str, cells: Cells, details: Mapping[str, dict[str, Any]], errors: Mapping[str, dict[str, list[np.ndarray]]]
) -> dict[str, Any]:
    """A mode's entry in the JSON, of the form that a suite's tasks have."""
    names = list(details)
    best = [errors[name][mode][details[name]["best"]] for name in names]
    draws = dict(zip(names, resampled(cells, best), strict=True))
    scores = {name: mean_error(cells, one) for name, one in zip(names, best, strict=True)}
    facts = {
        "layer": {name: details[name]["best"] for name in names},
        "cells": cells.cells,
        "speakers": len(np.unique(cells.speaker)),
        "notes": [],
    }
    return task_entry(scores, draws, METHOD, facts)


def _line(detail: Mapping[str, Any]) -> str:
    return ", ".join(f"{mode} {100 * detail[mode][detail['best']]:.2f} %" for mode in MODES if mode in detail) + (
        f" (layer {detail['best']} of {detail['layers'] - 1})"
    )
