"""From a checkpoint to a bundle: prepare, quantise, lower, run, compare, and only then write. See docs/bundle.md.

Shapes: S samples, C frames of a chunk, T frames, D width.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from speechpress.runtime.answers.decode import decoder_of
from speechpress.runtime.atomic import atomic_folder
from speechpress.runtime.bundle import DOCUMENT, GOLDEN, PROGRAM, digest, is_bundle, read_bundle
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.parity import describe, within, worst
from speechpress.runtime.program_checks import constants, run_golden

from ..models.answering import specs_of, with_heads
from ..models.checkpoint import sha256, write_json, write_tensors
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.input_norm import MAX_AT_ONCE_S
from ..models.streaming import chunk_frames_of
from ..quantize.fake_quant import check_operators
from ..quantize.scheme import Quantization, by_scheme
from ..targets import BACKENDS, MIN_DELEGATED, ONNXRUNTIME, WINDOW_MS, Target, check_scheme
from . import delegation
from .answers import NONE, choose_heads, judge, remedies, together, with_parity
from .backends import OWN_NORMS
from .card import write_card
from .closeness import GOLDEN_S, golden, inputs, noise, on_noise
from .document import ExportPlan, facts, min_samples, summary
from .half import HalfOffline, HalfStep
from .head_loss import TOLERANCE, head_losses, judge_losses
from .lower import Lowered, Method, lower
from .onnx_program import export_onnx
from .prepare import Offline
from .prepare_step import prepared_step
from .pt2e import as_prepared
from .source import Source

OFFLINE_S = 10.0
SHOWN = 8  # kinds of operators beside a backend


def plan(
    source: Source,
    target: Target,
    quantize: str | None = None,
    chunks_ms: tuple[float, ...] = (),
    offline_s: float | None = None,
    layers: str = "last",
    heads: str = NONE,
) -> ExportPlan:
    """Settle what is left open, and refuse what cannot be. `heads`: see `answers.choose_heads`.

    `offline_s`: the longest recording; None is OFFLINE_S where the backend takes recordings of any length, else 0.

    Raises:
        SpeechpressError: chunks for an encoder that does not stream, or of no whole frames; a quantisation that the
            backend cannot run or that lacks calibration; an offline limit shorter than the golden clip (0 leaves
            whole recordings out); layers or heads that there are not, or heads that do not fit.
    """
    kept = choose_heads(source, heads)
    source = replace(source, encoder=with_heads(source.encoder, kept))
    for spec in specs_of(source.encoder):
        decoder_of(spec)  # what no runtime could decode is refused here, and not on the device
    config, quantization = source.encoder.config, choose_quantization(source, target, quantize)
    if config.blockers and chunks_ms:
        raise SpeechpressError(
            f"{source.name}: does not stream, so --chunk-ms has no meaning: {'; '.join(config.blockers)}. Leave it out "
            "for whole recordings, or distil a streaming student: compress distill --recipe distilhubert-streaming"
        )
    # Two lengths in ms may be the same number of frames, and a method is named by that.
    chunks = (
        ()
        if config.blockers
        else tuple(dict.fromkeys(chunk_frames_of(config, ms) for ms in chunks_ms or target.chunks_ms))
    )
    any_length = BACKENDS[target.backend].any_length
    if offline_s is None:
        offline_s = OFFLINE_S if any_length else 0
    if offline_s and not any_length:
        raise SpeechpressError(
            f"the backend {target.backend} takes no recordings of varying length, so --offline-seconds must be 0; "
            "chunks, and windows of fixed length, it takes"
        )
    if 0 != offline_s < GOLDEN_S:
        raise SpeechpressError(
            f"--offline-seconds is {offline_s:g}, but must be at least {GOLDEN_S:g}, for the golden clip, or 0 for no "
            "whole recordings"
        )
    if config.input_norm == "running" and offline_s > MAX_AT_ONCE_S:
        raise SpeechpressError(
            f"--offline-seconds is {offline_s:g}, but an encoder whose input is scaled by its past "
            f"takes at most {MAX_AT_ONCE_S:g} at once"
        )
    window = round(WINDOW_MS * SAMPLE_RATE / 1000) if config.blockers else 0
    outputs = choose_layers(layers, config.num_layers)
    return ExportPlan(source, target, quantization, chunks, round(offline_s * SAMPLE_RATE), window, outputs, kept)


def choose_layers(text: str, depth: int) -> tuple[int, ...]:
    """The layers that come out side by side, ascending: "last", "all" (0 to `depth`), or numbers such as "0,2,4".

    Raises SpeechpressError for what is none of these, a layer that there is not, or one that is named twice.
    """
    words = {"last": (depth,), "all": tuple(range(depth + 1))}
    if text in words:
        return words[text]
    try:
        layers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SpeechpressError(f"--layers {text}: must be last, all, or numbers such as 0,2,{depth}") from None
    if wrong := [layer for layer in layers if not 0 <= layer <= depth]:
        raise SpeechpressError(f"--layers {text}: there is no layer {wrong[0]}; the encoder has layers 0 to {depth}")
    if len(set(layers)) < len(layers):
        raise SpeechpressError(f"--layers {text}: lists a layer twice")
    return tuple(sorted(layers))


def choose_quantization(source: Source, target: Target, quantize: str | None) -> Quantization:
    """What was asked for, else the checkpoint's own quantisation, else the target's; checked against both.

    Raises SpeechpressError for a scheme that the target cannot run, that needs calibration, or that asks for groups of
    weights that a layer's width does not divide into.
    """
    own = source.quantization
    scheme = quantize or (own.scheme if own is not None else target.quantize)
    check_scheme(target, scheme)
    quantization = own if own is not None and own.scheme == scheme else by_scheme(scheme)
    check_operators(source.name, source.encoder, quantization)
    return quantization


def export(
    planned: ExportPlan,
    out: Path,
    overwrite: bool = False,
    allow_fallback: bool = False,
    say: OnText = print,
    head_tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Write a bundle, or nothing: what stood at `out` is only replaced by one that passed its checks.

    `head_tolerance`: the share of its own figure that a head may lose on held-out speech.

    Returns:
        What `compress export --json` prints.

    Raises:
        CheckFailed: the program, or a head in it, is not as close to the checkpoint as the target asks, a head lost too
            much, or its backend takes less than 95 % of the time and that was not allowed.
        SpeechpressError: `out` exists, the encoder cannot be lowered, or the folder cannot be written.
    """
    if planned.target.runtime == ONNXRUNTIME:
        return export_onnx(planned, _program(planned)[0], out, overwrite, say)
    if out.exists() and not overwrite:
        raise SpeechpressError(f"{out}: already exists; choose another --out, or replace it with --overwrite")
    if out.exists() and not is_bundle(out):
        raise SpeechpressError(f"{out}: is not a bundle, so --overwrite does not touch it; choose another --out")
    methods, values = _program(planned)
    say(f"lowering {', '.join(methods)} for {planned.target.backend}")
    lowered = lower(methods, values, planned.target.backend, as_prepared(planned.quantization, planned.encoder.config))
    # All of it inside, so that a check that fails leaves what stood at `out` as it was.
    with atomic_folder(out) as folder:
        document = _write(planned, lowered, folder)
        if planned.target.runs_here:
            say("running each of them, and comparing with the checkpoint")
            document |= _measured(planned, folder, lowered)
            judge(document)
            if planned.heads and (planned.chunks or planned.max_samples):
                losses = head_losses(planned, folder, head_tolerance, say)
                document["heads"] = [head | {"metrics": losses[head["name"]]} for head in document["heads"]]
        else:
            _judge_counted(planned.target.backend, delegation.counted(lowered), allow_fallback, say)
        # Again, because the digest is over what has been measured too.
        _seal(folder, document)
        write_card(folder, document)
        _judge(document, allow_fallback)
    return summary(out, document)


def _program(planned: ExportPlan) -> tuple[dict[str, Method], dict[str, Any]]:
    """The methods and constants of the program."""
    encoder, half, layers = planned.encoder, planned.scheme == "fp16", planned.layers
    norms = planned.target.backend in OWN_NORMS
    methods = {f"step_{chunk}": step_method(encoder, chunk, half, layers, norms) for chunk in planned.chunks}
    offline = offline_module(encoder, half, layers, norms)
    if planned.max_samples:
        samples = torch.export.Dim("samples", min=min_samples(planned), max=planned.max_samples)
        unproven = bool(planned.heads) or encoder.config.front_end == "mel"
        methods["offline"] = Method(offline, (noise(32_000),), ({1: samples},), unproven)
    if planned.window_samples:
        methods["window"] = Method(offline, (noise(planned.window_samples),))
    return methods, constants(facts(planned))


def step_method(
    encoder: Encoder, chunk: int, half: bool, layers: tuple[int, ...] = (), own_norms: bool = False
) -> Method:
    """The streaming step, in chunks of so many frames; `own_norms`: see `prepare.prepared`."""
    step = prepared_step(encoder, chunk, layers, own_norms)
    example = (torch.zeros(1, step.spec.chunk_samples), *step.initial_state().values())
    return Method(HalfStep(step) if half else step, example)


def offline_module(
    encoder: Encoder, half: bool, layers: tuple[int, ...] = (), own_norms: bool = False
) -> torch.nn.Module:
    """Whole recordings; `own_norms`: see `prepare.prepared`."""
    offline = Offline(encoder, layers, own_norms)
    return HalfOffline(offline) if half else offline


def _write(planned: ExportPlan, lowered: Lowered, folder: Path) -> dict[str, Any]:
    """Program, golden clip and a first document."""
    (folder / PROGRAM).write_bytes(lowered.program)
    write_tensors(folder / GOLDEN, golden(planned))
    names = (PROGRAM, GOLDEN)
    files = {n: {"sha256": sha256(folder / n), "size_bytes": (folder / n).stat().st_size} for n in names}
    document = facts(planned) | {"files": files}
    # Now already: to be measured, it is opened as any bundle is.
    _seal(folder, document)
    return document


def _seal(folder: Path, document: dict[str, Any]) -> None:
    document["digest"] = digest(document)
    write_json(folder / DOCUMENT, document)


def _measured(planned: ExportPlan, folder: Path, lowered: Lowered) -> dict[str, Any]:
    """Parity on the golden clip, the worse of it and of noise, and the share of time on the backend, per method."""
    bundle = read_bundle(folder)
    speech, random = run_golden(bundle), on_noise(planned, folder)
    given = inputs(planned)
    shares = {
        name: delegation.report(folder / PROGRAM, name, given[name], lowered.fallback[name], lowered.delegated[name])
        | {"layers": delegation.layers(lowered, name)}
        for name in given
    }
    found = {
        "parity": {name: worst([speech[name].frames, random[name].frames]) for name in speech},
        "delegation": shares,
    }
    if not bundle.heads:
        return found
    answers = {name: together(speech[name].answers, random[name].answers) for name in speech}
    return found | {"heads": with_parity(bundle.document["heads"], answers)}


def _judge(document: dict[str, Any], allow_fallback: bool) -> None:
    """Raises CheckFailed for a program that is too far from the checkpoint, or too much beside its backend."""
    tolerance = document["tolerance"]
    for method, parity in document["parity"].items():
        if not within(parity, tolerance):
            raise CheckFailed(
                f"the exported {method} is too far from the checkpoint: {describe(parity)}, but quantisation "
                f"{document['quantize']!r} must keep {describe(tolerance)}. Nothing was written. "
                f"{remedies(document['quantize'])}"
            )
    judge_losses(document)
    for method, share in document["delegation"].items():
        if share["time_share"] < MIN_DELEGATED and not allow_fallback:
            costliest = share["fallback"][0]
            raise CheckFailed(
                f"{method}: only {share['time_share']:.1%} of the time is on the backend ({MIN_DELEGATED:.0%} asked); "
                f"the costliest outside it is {costliest['operator']} in {costliest['layer']}, "
                f"{costliest['time_share']:.1%}. Nothing was written. Accept it with --allow-fallback"
            )


def _judge_counted(backend: str, counts: dict[str, dict[str, Any]], allow_fallback: bool, say: OnText) -> None:
    """Of a backend that does not run here: raises CheckFailed where it leaves many operators out, and says the rest."""
    for method, found in counts.items():
        words = (
            f"{method}: {found['delegated']} of {found['operators']} operators on {backend}, in {found['calls']} calls"
        )
        named = Counter(f"{row['operator']} in {row['layer']}" for row in found["fallback"])
        outside = ", ".join(f"{name} ({times}x)" if times > 1 else name for name, times in named.most_common(SHOWN))
        if found["delegated"] < MIN_DELEGATED * found["operators"] and not allow_fallback:
            raise CheckFailed(
                f"{words} ({MIN_DELEGATED:.0%} asked); beside it are {outside}. Nothing was written. Accept it with "
                "--allow-fallback"
            )
        say(f"{words}; beside it: {outside or 'nothing'}. Not run here")
