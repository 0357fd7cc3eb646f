"""One trial of a search, in a worker: measure the shape with random weights, and train it if it is fast enough.

The owner of the search sends these functions to its workers by name and needs no torch itself: it is imported inside.
"""

import errno
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechpress.runtime.errors import SpeechpressError

from ..cluster.jobs import Desk
from ..distill.resolve import student_config
from ..export.clock import DeviceClock
from ..models.config import EncoderConfig
from ..models.costs import parameters
from ..recipe.schema import Recipe
from ..views.numbers import fitting
from .quiet import Quiet
from .rows import DONE, SKIPPED, Row, blank
from .space import WINDOW_S, Shape, chunk_macs, default_chunk_ms, shaped

if TYPE_CHECKING:
    from ..distill.run import Outcome
    from ..export.source import Source
    from ..models.encoder import Encoder

# Random weights do not quantise as trained ones do, and a proxy's not as a finished student's: what int8 costs is in
# the fidelity of the program. These tell a program that runs from a broken one.
LOOSE = {"none": {"max_abs": 1e-3}}
BROKEN_COSINE = 0.5
SHORT_S = 2.0  # a program of whole recordings takes at least the golden clip
ROOM_BYTES = 20_000_000  # beside what grows with the student
# The checkpoint's weights, and its state with weights and two moments of AdamW: 16. The programs with random and with
# trained weights: 8. While the state is replaced, both are there: 12 more. The rest is spare.
BYTES_PER_PARAMETER = 40


class SearchStopped(SpeechpressError):
    """No further trial can be had: the device is gone, or the disk is full. The trial in hand is not counted."""


@dataclass(frozen=True)
class Job:
    """What all trials of a search share."""

    recipe: Recipe  # with the steps of the proxy
    data: tuple[Path, ...]
    train_device: str
    folder: Path
    clock: DeviceClock
    budget_ms: float


@dataclass(frozen=True)
class Facts:
    """What must be known before shapes can be drawn up: the teacher's sizes, and which teacher, speech and chip."""

    encoder: EncoderConfig | None
    width: int
    depth: int
    teacher: dict[str, Any]
    data: str
    train_h: float
    valid_h: float
    chipset: str | None = None


def survey(desk: Desk, job: Job) -> Facts:
    """Reach the device, open teacher and speech; raises SpeechpressError for whatever cannot be had."""
    desk.tell("reaching the device")
    chipset = job.clock.reach()
    _share_cores(desk)
    from ..data.corpus import open_corpus
    from ..data.heldout import hold_out
    from ..distill.distill import make_fabric
    from ..distill.resolve import resolve_match
    from ..distill.run import RunOptions
    from ..teachers.load import load_teacher

    desk.tell("opening teacher and speech")
    # A training device that is not there is said now, not by each trial.
    make_fabric(job.recipe, RunOptions(job.data, job.folder, job.train_device))
    card = load_teacher(job.recipe.teacher).card
    # So are layers that the teacher lacks.
    resolve_match(job.recipe, card.depth)
    corpus = open_corpus(*job.data)
    train, valid = hold_out(corpus, job.recipe.train.seed, job.recipe.train.crop_s)
    hours = train.hours, valid.hours
    return Facts(card.encoder, card.width, card.depth, card.to_dict(), corpus.fingerprint, *hours, chipset)


def run_trial(desk: Desk, job: Job, facts: Facts, number: int, shape: Shape, estimate_ms: float | None) -> Row:
    """The row of one shape.

    Raises:
        SearchStopped: there is no room, or the device is gone.
        SpeechpressError: this shape cannot be built, lowered, timed or trained.
    """
    quiet = Quiet()
    with quiet.working():
        return _run_trial(desk, quiet, job, facts, number, shape, estimate_ms)


def _run_trial(
    desk: Desk, quiet: Quiet, job: Job, facts: Facts, number: int, shape: Shape, estimate_ms: float | None
) -> Row:
    started, folder = time.perf_counter(), job.folder / f"{number:04d}"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed search left
    # In each worker: the survey ran in one of them.
    _share_cores(desk)
    try:
        row = outline(job.recipe, facts, number, shape) | {"estimate_ms": estimate_ms}
        check_room(job.folder, room_bytes(row["parameters"]))
        folder.mkdir(parents=True)
        row |= _measured(desk, quiet, job, facts, shape, row["chunk_ms"], folder)
        row["over_ms"] = row["p50_ms"] - job.budget_ms
        if row["over_ms"] > 0:
            row |= {"state": SKIPPED, "reason": f"over budget by measurement: {row['p50_ms']:.2f} ms per chunk"}
            shutil.rmtree(folder, ignore_errors=True)
        else:
            row |= {"state": DONE, **_trained(desk, quiet, job, shape, row["chunk_ms"], folder)}
    except (SpeechpressError, OSError) as error:
        raise _graver(error, job) from error
    return row | {"seconds": time.perf_counter() - started}


def outline(recipe: Recipe, facts: Facts, number: int, shape: Shape) -> Row:
    """A row with what arithmetic says of a shape; raises SpeechpressError when no encoder can be built of it."""
    made = shaped(recipe, shape)
    config, _ = student_config(made, facts.encoder, facts.width)
    chunk_ms = shape.get("chunk_ms", default_chunk_ms(made))
    macs, seconds = chunk_macs(config, chunk_ms), WINDOW_S if chunk_ms is None else chunk_ms / 1000
    figures = {"parameters": parameters(config), "macs": macs, "macs_per_s": macs / seconds}
    return blank(number, shape) | {"chunk_ms": 1000 * seconds, **figures}


def _measured(
    desk: Desk, quiet: Quiet, job: Job, facts: Facts, shape: Shape, chunk_ms: float, folder: Path
) -> dict[str, float | None]:
    """Latency of the shape's program, with random weights, of which the arithmetic is the same."""
    from ..export.source import Source

    desk.tell("lowering")
    encoder = _random_encoder(job.recipe, facts, shape)
    nothing = dict.fromkeys(("recipe", "teacher", "steps", "data", "fidelity", "checkpoint_sha256"))
    source = Source("random", encoder, {**nothing, "parents": [], "parameters": None})
    program = _exported(source, shape, chunk_ms, 0.0, folder / "random")
    desk.tell("timing")
    # On another device what works here disturbs nobody, but two programs there would disturb each other.
    alone = quiet.silence if job.clock.here else quiet.one_at_a_time
    with alone():
        timing = job.clock.time(folder / "random", None if encoder.config.blockers else chunk_ms)
    shutil.rmtree(folder / "random")
    return {
        "p50_ms": timing.p50_ms,
        "p99_ms": timing.p99_ms,
        "ms_per_s": timing.p50_ms * 1000 / chunk_ms,
        "others_cores": timing.others_cores,
        "size_bytes": program["size_bytes"],
        "delegated_time": program["delegated_time"],
    }


def _random_encoder(recipe: Recipe, facts: Facts, shape: Shape) -> "Encoder":
    import torch

    from ..models.encoder import Encoder

    torch.manual_seed(0)
    encoder = Encoder(student_config(shaped(recipe, shape), facts.encoder, facts.width)[0]).eval()
    if encoder.measured:
        encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    return encoder


def _exported(source: "Source", shape: Shape, chunk_ms: float, longest_s: float, out: Path) -> Mapping[str, Any]:
    """A bundle with the one method that is needed; what `compress export --json` prints of it."""
    from ..export.export import export, plan
    from ..targets import target_of

    scheme, target = shape.get("quantize", "none"), target_of("host")
    target = replace(target, tolerances={scheme: LOOSE.get(scheme, {"cosine": BROKEN_COSINE})})
    streams = not source.encoder.config.blockers
    order = plan(source, target, scheme, (chunk_ms,) if streams else (), longest_s)
    return export(order, out, overwrite=False, allow_fallback=True, say=lambda words: None)


def _trained(desk: Desk, quiet: Quiet, job: Job, shape: Shape, chunk_ms: float, folder: Path) -> dict[str, Any]:
    """Distil the shape for a short while, and the fidelity of what comes out."""
    from ..distill.distill import distill
    from ..distill.run import RunOptions

    recipe = shaped(job.recipe, shape)
    options = RunOptions(job.data, folder, job.train_device, overwrite=True)

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "train":
            desk.tell(f"step {event['step']}/{recipe.train.steps}")
            # A long training lets others have the silence that they time in.
            if job.clock.here:
                quiet.step_aside()

    desk.tell("training")
    outcome = distill(recipe, options, listen)
    # distill takes SIGTERM itself, and returns at a step from which it could go on.
    if not outcome.finished:
        raise SearchStopped("interrupted")
    if shape.get("quantize", "none") == "none":
        valid = outcome.card["valid"]
        # In the chunks that were timed, where the student streams.
        layers = valid.get("end_chunked", valid["end"])
    else:
        desk.tell("fidelity of the program")
        layers = program_fidelity(job, outcome, shape, chunk_ms, folder)
    cosines = {layer: values["cosine"] for layer, values in layers.items()}
    mean = sum(cosines.values()) / len(cosines)
    return {"fidelity": mean, "fidelity_layers": cosines, "train_s": outcome.card["train_s"]}


def program_fidelity(job: Job, outcome: "Outcome", shape: Shape, chunk_ms: float, folder: Path) -> dict[str, Any]:
    """What the heads make of the quantised program's frames, on the speech that the run held out."""
    from ..data.corpus import open_corpus
    from ..data.heldout import heldout_waves, hold_out
    from ..distill.objectives import load_heads
    from ..distill.validation import validate
    from ..evaluate.fidelity import ProgramStudent
    from ..export.source import open_source
    from ..teachers.load import load_teacher

    source, teacher = open_source(folder), load_teacher(job.recipe.teacher)
    streams = not source.encoder.config.blockers
    longest_s = 0.0 if streams else max(SHORT_S, job.recipe.train.crop_s)
    _exported(source, shape, chunk_ms, longest_s, folder / "program")
    heads = load_heads(folder, source.encoder.config.width, teacher.card.width)
    assert heads is not None, "distill writes them"
    student = ProgramStudent(folder / "program", heads, chunk_ms if streams else None)
    train = job.recipe.train
    _, valid = hold_out(open_corpus(*job.data), train.seed, train.crop_s)
    waves = heldout_waves(valid, train.crop_s)
    layers = tuple(int(layer) for layer in outcome.card["valid"]["end"])
    lag_frames = source.encoder.config.lag_frames * heads.factor
    found = validate(student, teacher, layers, waves, lag_frames=lag_frames)
    shutil.rmtree(folder / "program")
    return found


def _graver(error: Exception, job: Job) -> SpeechpressError:
    """The error itself, or, when no further trial can fare better, SearchStopped."""
    if isinstance(error, SearchStopped):
        return error
    if out_of_space(error):
        return SearchStopped(f"{job.folder}: no space is left on this disk ({error}); free some")
    # What failed may be the device and not the shape: then every further trial would fail.
    try:
        job.clock.reach()
    except SpeechpressError as gone:
        return SearchStopped(str(gone))
    return error if isinstance(error, SpeechpressError) else SpeechpressError(str(error))


def out_of_space(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that of a full disk."""
    while error is not None:
        # A SpeechpressError often stands for the OSError that it came from.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def room_bytes(parameters: int) -> int:
    """What the files of a trial may take."""
    return ROOM_BYTES + BYTES_PER_PARAMETER * parameters


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raises SearchStopped when a trial's files would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise SearchStopped(
            f"{folder}: {fitting(free)} are free on this disk, but {fitting(needed_bytes)} are needed; free some"
        )


def _share_cores(desk: Desk) -> None:
    """Each worker gets its share of the cores."""
    import torch

    torch.set_num_threads(max(1, _cores() // desk.beside))


def _cores() -> int:
    # A limit that somebody has set holds.
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return int(os.environ["OMP_NUM_THREADS"])
    # Not cpu_count alone: a container or taskset may allow fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
