"""From a checkpoint to a bundle: prepare, quantise, lower, run, compare, and only then write. See docs/bundle.md.

Shapes: S samples, C frames of a chunk, T frames, D width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.atomic import atomic_folder
from speechpress.runtime.bundle import DOCUMENT, GOLDEN, PROGRAM, digest, is_bundle, read_bundle
from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.parity import Parity, compare_layers, describe, within, worst
from speechpress.runtime.program_checks import constants, run_golden, stream

from ..models.checkpoint import sha256, write_json, write_tensors
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.input_norm import MAX_AT_ONCE_S
from ..models.streaming import StreamingEncoder, chunk_frames_of
from ..quantize.fake_quant import check_operators, simulated
from ..quantize.scheme import Quantization, by_scheme
from ..targets import MIN_DELEGATED, WINDOW_MS, Target, check_scheme
from . import delegation
from .card import write_card
from .document import ExportPlan, facts, min_samples, summary
from .half import HalfOffline, HalfStep
from .lower import Lowered, Method, lower
from .prepare import Offline, prepared_step
from .pt2e import as_prepared
from .source import Source, golden_clip

# Seconds. RANDOM_S is no whole number of usual chunks, so that the last one has to be filled up.
OFFLINE_S, GOLDEN_S, RANDOM_S = 10.0, 2.0, 1.3


def plan(
    source: Source,
    target: Target,
    quantize: str | None = None,
    chunks_ms: tuple[float, ...] = (),
    offline_s: float = OFFLINE_S,
    layers: str = "last",
) -> ExportPlan:
    """Settle what is left open, and refuse what cannot be.

    Raises:
        SpeechpressError: chunks for an encoder that does not stream, or of no whole frames; a quantisation that the
            backend cannot run or that lacks calibration; an offline limit shorter than the golden clip (0 leaves
            whole recordings out); layers that there are not.
    """
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
    return ExportPlan(source, target, quantization, chunks, round(offline_s * SAMPLE_RATE), window, outputs)


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
        raise SpeechpressError(f"--layers {text}: names a layer twice")
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
    planned: ExportPlan, out: Path, overwrite: bool = False, allow_fallback: bool = False, say: OnText = print
) -> dict[str, Any]:
    """Write a bundle, or nothing: what stood at `out` is only replaced by one that passed its checks.

    Returns:
        What `compress export --json` prints.

    Raises:
        CheckFailed: the program is not as close to the checkpoint as the target asks, or its backend takes less than
            95 % of the time and that was not allowed.
        SpeechpressError: `out` exists, the encoder cannot be lowered, or the folder cannot be written.
    """
    if out.exists() and not overwrite:
        raise SpeechpressError(f"{out}: exists already; choose another --out, or replace it with --overwrite")
    if out.exists() and not is_bundle(out):
        raise SpeechpressError(f"{out}: is no bundle, so --overwrite leaves it alone; choose another --out")
    methods, values = _program(planned)
    say(f"lowering {', '.join(methods)} for {planned.target.backend}")
    lowered = lower(methods, values, planned.target.backend, as_prepared(planned.quantization, planned.encoder.config))
    # All of it inside, so that a check that fails leaves what stood at `out` as it was.
    with atomic_folder(out) as folder:
        document = _write(planned, lowered, folder)
        if planned.target.runs_here:
            say("running each of them, and comparing with the checkpoint")
            document |= _measured(planned, folder, lowered)
        # Again, because the digest is over what has been measured too.
        _seal(folder, document)
        write_card(folder, document)
        _judge(document, allow_fallback)
    return summary(out, document)


def _program(planned: ExportPlan) -> tuple[dict[str, Method], dict[str, Any]]:
    """The methods and constants of the program."""
    encoder, half, layers = planned.encoder, planned.scheme == "fp16", planned.layers
    methods = {f"step_{chunk}": step_method(encoder, chunk, half, layers) for chunk in planned.chunks}
    offline = offline_module(encoder, half, layers)
    if planned.max_samples:
        samples = torch.export.Dim("samples", min=min_samples(planned), max=planned.max_samples)
        methods["offline"] = Method(offline, (_noise(32_000),), ({1: samples},))
    if planned.window_samples:
        methods["window"] = Method(offline, (_noise(planned.window_samples),))
    return methods, constants(facts(planned))


def step_method(encoder: Encoder, chunk: int, half: bool, layers: tuple[int, ...] = ()) -> Method:
    """The streaming step, in chunks of so many frames."""
    step = prepared_step(encoder, chunk, layers)
    example = (torch.zeros(1, step.spec.chunk_samples), *step.initial_state().values())
    return Method(HalfStep(step) if half else step, example)


def offline_module(encoder: Encoder, half: bool, layers: tuple[int, ...] = ()) -> torch.nn.Module:
    """Whole recordings."""
    offline = Offline(encoder, layers)
    return HalfOffline(offline) if half else offline


def _noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@torch.inference_mode()
def _golden(planned: ExportPlan) -> dict[str, torch.Tensor]:
    """The clip, and what the checkpoint itself makes of it."""
    audio, encoder, layers = torch.from_numpy(golden_clip(GOLDEN_S)), planned.encoder, planned.layers
    golden = {"audio": audio}
    if planned.max_samples:
        golden["frames_offline"] = encoder(audio[None], layers=layers)[0]
    for chunk in planned.chunks:
        golden[f"frames_{chunk}"] = encoder(audio[None], chunk_frames=chunk, layers=layers)[0]
    if planned.window_samples:
        golden["frames_window"] = encoder(audio[None, -planned.window_samples :], layers=layers)[0]
    return golden


def _write(planned: ExportPlan, lowered: Lowered, folder: Path) -> dict[str, Any]:
    """Program, golden clip and a first document."""
    (folder / PROGRAM).write_bytes(lowered.program)
    write_tensors(folder / GOLDEN, _golden(planned))
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
    parity, noise = run_golden(bundle), _random_parity(planned, folder)
    inputs = _inputs(planned)
    shares = {
        name: delegation.report(folder / PROGRAM, name, inputs[name], lowered.fallback[name], lowered.delegated[name])
        | {"layers": delegation.layers(lowered, name)}
        for name in inputs
    }
    together = {name: worst([parity[name], noise[name]]) for name in parity}
    return {"parity": together, "delegation": shares}


@torch.inference_mode()
def _random_parity(planned: ExportPlan, folder: Path) -> dict[str, Parity]:
    """The program against the checkpoint on noise: chunk by chunk, and the shortest and the longest recording.

    Noise lies beyond ranges that were measured on speech; a program that has such is held against a simulation of it.
    """
    encoder, layers, parity = planned.encoder, planned.layers, {}
    audio = _loud_and_soft(round(RANDOM_S * SAMPLE_RATE))
    if any(operator.how == "static" for operator in planned.quantization.operators.values()):
        encoder = simulated(encoder, planned.quantization)
    for chunk in planned.chunks:
        engine = PteEngine(folder, encoder.config.stream_spec(chunk).chunk_ms)
        wanted = encoder(audio[None], chunk_frames=chunk, layers=layers)[0].numpy()
        parity[f"step_{chunk}"] = compare_layers(stream(engine, audio.numpy()), wanted, len(layers))

    def heard(run: Callable[[np.ndarray], np.ndarray], samples: int) -> Parity:
        noise = _loud_and_soft(samples)
        return compare_layers(run(noise.numpy()), encoder(noise[None], layers=layers)[0].numpy(), len(layers))

    model = PteModel(folder)
    if planned.max_samples:
        # The ends too: a size may have become fixed on the way, which no compiler says.
        lengths = (min_samples(planned), len(audio), planned.max_samples)
        parity["offline"] = worst([heard(model.offline, samples) for samples in lengths])
    if planned.window_samples:
        parity["window"] = heard(model.window, planned.window_samples)
    return parity


def _loud_and_soft(samples: int) -> torch.Tensor:
    """(S,) noise whose loudness comes and goes."""
    # From 0.2 to 2.2 and back in 1.2 s, so that whatever scales by loudness has something to follow.
    return _noise(samples, seed=1)[0] * (1.2 + torch.sin(torch.arange(samples) / 3000))


def _inputs(planned: ExportPlan) -> dict[str, list[np.ndarray]]:
    """What each method is timed with."""
    inputs = {}
    for chunk in planned.chunks:
        step = StreamingEncoder(planned.encoder, chunk)
        state = [tensor.numpy() for tensor in step.initial_state().values()]
        inputs[f"step_{chunk}"] = [_noise(step.spec.chunk_samples).numpy(), *state]
    if planned.max_samples:
        inputs["offline"] = [_noise(32_000).numpy()]
    if planned.window_samples:
        inputs["window"] = [_noise(planned.window_samples).numpy()]
    return inputs


def _judge(document: dict[str, Any], allow_fallback: bool) -> None:
    """Raises CheckFailed for a program that is too far from the checkpoint, or too much beside its backend."""
    tolerance = document["tolerance"]
    for method, parity in document["parity"].items():
        if not within(parity, tolerance):
            raise CheckFailed(
                f"the exported {method} is too far from the checkpoint: {describe(parity)}, but quantisation "
                f"{document['quantize']!r} must keep {describe(tolerance)}. Nothing was written. "
                "Try --quantize int8-linear or --quantize none"
            )
    for method, share in document["delegation"].items():
        if share["time_share"] < MIN_DELEGATED and not allow_fallback:
            costliest = share["fallback"][0]
            raise CheckFailed(
                f"{method}: only {share['time_share']:.1%} of the time is on the backend ({MIN_DELEGATED:.0%} asked); "
                f"the costliest beside it is {costliest['operator']} in {costliest['layer']}, "
                f"{costliest['time_share']:.1%}. Nothing was written. Accept it with --allow-fallback"
            )
