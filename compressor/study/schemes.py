"""What every scheme makes of a checkpoint, side by side: size, time, closeness, probes, the most sensitive operators.

Shapes: S samples, T frames, L layers, D width.

Size, time and the closeness of the features are those of a real program (of one method: streaming in chunks of 320 ms,
or windows of a second). Layers, heads, probes and operators are those of a simulation, which rounds as it does.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.engine import Program
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parity import compare
from speechpress.runtime.spec import StreamSpec
from speechpress.runtime.stream import State, Step, StreamingExtractor

from ..cluster.executor import PROCESSES, Job, open_executor, run_jobs
from ..cluster.jobs import Desk
from ..evaluate.features import of_model
from ..evaluate.heads import Budget
from ..evaluate.lineup import comparison_fidelity, open_comparison
from ..evaluate.solve import TaskScore
from ..evaluate.suite import score_tasks
from ..evaluate.upstreams import encoder_upstream
from ..export import delegation
from ..export.export import offline_module, step_method
from ..export.lower import Lowered, Method, lower
from ..export.pt2e import as_prepared
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.streaming import StreamingEncoder, chunk_frames_of
from ..quantize.fake_quant import check_operators, simulated
from ..quantize.ptq import BUDGET_DB, Prepared, prepare, settle
from ..quantize.scheme import Quantization
from ..quantize.sensitivity import Yardstick
from ..targets import SCHEMES, WINDOW_MS
from ..tasks.folder import make_task

CHUNK_MS, ROUNDS, PROGRAM_S, WORST, SEEDS = 320.0, 30, 20.0, 5, 3


@dataclass(frozen=True)
class SchemeReportOptions:
    """What a report is to hold: schemes, tasks of the probes and where their labels are, and the teacher, if moved.

    Schemes are looked at `jobs` at a time, where `executor` says.
    """

    schemes: Sequence[str] = tuple(SCHEMES)
    tasks: Sequence[str] = ("ks", "sid")
    data: Path | None = None
    teacher: str | None = None
    budget_db: float = BUDGET_DB
    rounds: int = ROUNDS
    executor: str = PROCESSES
    jobs: int = 1


def report(prepared: Prepared, options: SchemeReportOptions, say: OnText) -> dict[str, Any]:
    """Everything as plain JSON: {"checkpoint", "method", "speech", "schemes": {scheme: {...}}, "notes"}.

    Of a scheme: size_bytes, median_ms and q1_ms, q3_ms of a call on one thread, time_share on the backend, program
    (parity of the features on held-out speech), layers [{cosine, snr_db}] from layer 0 on, heads {teacher layer:
    cosine}, probes {task: {test, ci95, ...}}, float [operators], sensitive [{name, how, snr_db}]. A scheme that this
    encoder cannot have stands in notes.

    Raises:
        SpeechpressError: unknown tasks, or none of the schemes can be had.
    """
    notes: list[str] = []
    looks = _looks(prepared, options, notes, say)
    rows = {scheme: look.row for scheme, look in looks.items()}
    for scheme, times in _timed(prepared.encoder, looks, options.rounds, say).items():
        rows[scheme] |= times
    encoders = {scheme: _simulated(prepared.encoder, look.quantization) for scheme, look in looks.items()}
    _add_heads(prepared, encoders, rows, options, notes, say)
    _add_probes(prepared, encoders, rows, options, notes, say)
    return {
        "checkpoint": str(prepared.opened.path),
        "method": _method_name(prepared.encoder),
        "threads": 1,
        "speech": prepared.speech.about if prepared.speech else None,
        "schemes": rows,
        "notes": notes,
    }


@dataclass(frozen=True)
class Look:
    """What one scheme makes of the encoder, but for its time: that is taken of all in turn."""

    quantization: Quantization
    program: bytes
    row: dict[str, Any]


def _looks(prepared: Prepared, options: SchemeReportOptions, notes: list[str], say: OnText) -> dict[str, Look]:
    """Every scheme looked at, each as a job of its own; one that cannot be had is a note."""
    # Always with float32, which the others are held against.
    schemes = list(dict.fromkeys(["none", *options.schemes]))
    if options.jobs == 1 and options.executor == PROCESSES:
        found: dict[str, Look | str] = {scheme: look_at(say, prepared, scheme, options.budget_db) for scheme in schemes}
    else:
        place = (prepared.opened.path.absolute(), options.data)
        jobs = [Job(scheme, look_there, (*place, scheme, options.budget_db)) for scheme in schemes]
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "workers.log"
            with open_executor(options.executor, min(options.jobs, len(jobs)), log) as workers:
                found = run_jobs(workers, jobs, lambda name, words: say(words))
    notes += [f"{scheme}: {found[scheme]}" for scheme in schemes if isinstance(found[scheme], str)]
    looks = {scheme: look for scheme in schemes if isinstance(look := found[scheme], Look)}
    # float32 can always be had, so it alone means that no scheme can.
    if len(looks) < 2:
        raise SpeechpressError(f"{prepared.opened.path}: no scheme is available: {'; '.join(notes) or 'none given'}")
    return looks


def look_there(desk: Desk, checkpoint: Path, data: Path | None, scheme: str, budget_db: float) -> Look | str:
    """`look_at` in a worker, which opens the checkpoint and the speech by itself: an encoder cannot be pickled."""
    return look_at(desk.tell, prepare(checkpoint, data, needs_speech=True), scheme, budget_db)


def look_at(say: OnText, prepared: Prepared, scheme: str, budget_db: float) -> Look | str:
    """A scheme settled, lowered, run on speech, and its most sensitive operators; or why it cannot be had."""
    try:
        if scheme not in ("mixed", "int8-static"):
            check_operators(str(prepared.opened.path), prepared.encoder, Quantization(scheme))
        quantization, _ = settle(prepared, scheme, say, budget_db)
    except SpeechpressError as error:
        return str(error)
    program, row = _lowered(prepared, scheme, quantization, say)
    say(f"{scheme}: layers")
    yardstick = Yardstick(prepared.encoder, _some(prepared, PROGRAM_S), _chunk(prepared.encoder))
    row["layers"] = _layers(prepared, _simulated(prepared.encoder, quantization))
    row["float"] = [name for name, item in quantization.operators.items() if item.how == "float"]
    row["sensitive"] = [vars(cost) for cost in yardstick.costs(quantization, say)[:WORST]]
    return Look(quantization, program, row)


def _simulated(encoder: Encoder, quantization: Quantization) -> Encoder:
    return encoder if quantization.scheme == "none" else simulated(encoder, quantization)


def _some(prepared: Prepared, seconds: float) -> list[torch.Tensor]:
    """The first of the test clips, so many seconds."""
    assert prepared.speech is not None
    kept: list[torch.Tensor] = []
    for wave in prepared.speech.test:
        # Clips stay whole, so the last one may go beyond.
        if sum(w.shape[1] for w in kept) < seconds * SAMPLE_RATE:
            kept.append(wave)
    return kept


def _chunk(encoder: Encoder) -> int | None:
    """Frames of the chunks in which it is looked at; None for one that does not stream."""
    return None if encoder.config.blockers else chunk_frames_of(encoder.config, CHUNK_MS)


def _method_name(encoder: Encoder) -> str:
    chunk = _chunk(encoder)
    return "window" if chunk is None else f"step_{chunk}"


def method_of(encoder: Encoder, quantization: Quantization) -> Method:
    """The one method that is lowered: a second of recording, or a chunk of 320 ms."""
    half, chunk = quantization.scheme == "fp16", _chunk(encoder)
    if chunk is None:
        window = torch.zeros(1, round(WINDOW_MS * SAMPLE_RATE / 1000))
        return Method(offline_module(encoder, half), (window,))
    return step_method(encoder, chunk, half)


def lowered_alone(encoder: Encoder, quantization: Quantization) -> tuple[Lowered, Method]:
    """A program with that method only."""
    method = method_of(encoder, quantization)
    prepared = as_prepared(quantization, encoder.config)
    return lower({_method_name(encoder): method}, {}, "xnnpack", prepared), method


def _lowered(prepared: Prepared, scheme: str, quantization: Quantization, say: OnText) -> tuple[bytes, dict[str, Any]]:
    """The program of a scheme, and what is to be said of it."""
    encoder, name = prepared.encoder, _method_name(prepared.encoder)
    say(f"{scheme}: lowering")
    lowered, method = lowered_alone(encoder, quantization)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{scheme}.pte"
        path.write_bytes(lowered.program)
        share = delegation.report(path, name, _inputs(method), lowered.fallback[name], lowered.delegated[name])
        parity = _program_parity(encoder, Program(path, threads=1), _some(prepared, PROGRAM_S))
    return lowered.program, {
        "size_bytes": len(lowered.program),
        "time_share": share["time_share"],
        "program": parity,
    }


def _inputs(method: Method) -> list[np.ndarray]:
    return [_speech_like(method.example[0]), *(tensor.numpy() for tensor in method.example[1:])]


def _speech_like(example: torch.Tensor) -> np.ndarray:
    return (torch.randn(example.shape, generator=torch.Generator().manual_seed(0)) * 0.1).numpy()


def _timed(encoder: Encoder, looks: dict[str, Look], rounds: int, say: OnText) -> dict[str, dict[str, float]]:
    """Median and quartiles of a call of each, here, whatever machine has lowered it."""
    say(f"timing, {rounds} calls each in turn")
    name, times = _method_name(encoder), {scheme: list[float]() for scheme in looks}
    with tempfile.TemporaryDirectory() as folder:
        calls = {}
        for scheme, look in looks.items():
            path = Path(folder) / f"{scheme}.pte"
            path.write_bytes(look.program)
            calls[scheme] = Program(path, threads=1), _inputs(method_of(encoder, look.quantization))
        # In turn, so that a disturbance of the machine meets all of them.
        for number in range(rounds + 1):
            for scheme, (program, arrays) in calls.items():
                started = time.perf_counter()
                program.run(name, *arrays)
                if number:  # the first one warms up
                    times[scheme].append(1000 * (time.perf_counter() - started))
    found = {}
    for scheme, values in times.items():
        # Not the mean: what disturbs a call only ever makes it longer.
        q1, median, q3 = statistics.quantiles(values, n=4)
        found[scheme] = {"median_ms": median, "q1_ms": q1, "q3_ms": q3}
    return found


class _Engine:
    """One streaming method as an engine of `runtime.stream`."""

    heads: tuple[HeadSpec, ...] = ()

    def __init__(self, encoder: Encoder, program: Program) -> None:
        chunk = chunk_frames_of(encoder.config, CHUNK_MS)
        self.program, self.method = program, f"step_{chunk}"
        self.spec: StreamSpec = encoder.config.stream_spec(chunk)
        self._initial = StreamingEncoder(encoder, chunk).initial_state()

    def initial_state(self) -> State:
        return {name: tensor.numpy() for name, tensor in self._initial.items()}

    def step(self, chunk: np.ndarray, state: State) -> Step:
        frames, *new = self.program.run(self.method, chunk, *state.values())
        return Step(frames, dict(zip(state, new, strict=True)))


@torch.inference_mode()
def _program_parity(encoder: Encoder, program: Program, waves: Sequence[torch.Tensor]) -> dict[str, float]:
    """The program's features against the encoder's, on speech: streamed, or second by second."""
    found, wanted = [], []
    for wave in waves:
        if encoder.config.blockers:
            size = round(WINDOW_MS * SAMPLE_RATE / 1000)
            # The program takes whole windows; the rest of a recording is left out.
            for window in wave.split(size, 1)[: wave.shape[1] // size]:
                found.append(program.run("window", window.numpy())[0][0])
                wanted.append(encoder(window)[0].numpy())
        else:
            # A new engine for each clip, so that no state is carried over.
            engine = _Engine(encoder, program)
            stream = StreamingExtractor(engine)
            found += [stream.push(wave[0].numpy()).frames, stream.flush().frames]
            wanted.append(encoder(wave, chunk_frames=engine.spec.chunk_frames)[0].numpy())
    if not wanted:
        raise SpeechpressError("no held-out recording is as long as a second; give longer ones with --data")
    return compare(np.concatenate(found), np.concatenate(wanted))


@torch.inference_mode()
def _layers(prepared: Prepared, quantised: Encoder) -> list[dict[str, float]]:
    """Closeness of layers 0..L to the float ones."""
    waves, chunk = _some(prepared, PROGRAM_S), _chunk(prepared.encoder)
    sides = [
        [encoder.hidden_states(wave, chunk_frames=chunk) for wave in waves] for encoder in (quantised, prepared.encoder)
    ]
    layers = []
    for layer in range(len(sides[0][0])):
        frames, wanted = (torch.cat([states[layer][0] for states in side]).numpy() for side in sides)
        layers.append({name: value for name, value in compare(frames, wanted).items() if name != "max_abs"})
    return layers


def _add_heads(
    prepared: Prepared,
    encoders: dict[str, Encoder],
    rows: dict[str, Any],
    options: SchemeReportOptions,
    notes: list[str],
    say: OnText,
) -> None:
    """Cosine of the heads to the teacher, where there are both."""
    comparison, waves = open_comparison(prepared.opened.path, (), options.teacher), _some(prepared, PROGRAM_S)
    for scheme, encoder in encoders.items():
        rows[scheme]["heads"] = {}
        if comparison.teacher is not None:
            say(f"{scheme}: heads against the teacher")
            comparison.upstreams["student"] = encoder_upstream(encoder, _chunk(encoder))
            found = comparison_fidelity(comparison, waves)
            # A linear map is fitted anew for each scheme, and would hide what rounding does to the heads.
            rows[scheme]["heads"] = found["fidelity"] if found["fidelity_by"] == "heads" else {}
    # Every scheme says the same.
    notes += dict.fromkeys(comparison.notes)


def _add_probes(
    prepared: Prepared,
    encoders: dict[str, Encoder],
    rows: dict[str, Any],
    options: SchemeReportOptions,
    notes: list[str],
    say: OnText,
) -> None:
    for row in rows.values():
        row["probes"] = {}
    try:
        tasks = [make_task(name, options.data) for name in options.tasks]
    except SpeechpressError as error:
        # Speech of one's own may have no labels; that the starter's lack some is an error.
        if options.data is None:
            raise
        notes.append(f"no probes: {error}")
        return
    if not tasks:
        return
    upstreams = {scheme: of_model(encoder, _chunk(encoder)) for scheme, encoder in encoders.items()}
    found = score_tasks(upstreams, tasks, Budget(seeds=SEEDS), listen=say)
    notes += [f"{task.name}: {note}" for task in tasks for note in task.notes]
    for scheme, row in rows.items():
        row["probes"] = {name: _probe(scores[scheme]) for name, scores in found.scores.items()}


def _probe(score: TaskScore) -> dict[str, Any]:
    return {key: value for key, value in asdict(score).items() if key != "also"}
