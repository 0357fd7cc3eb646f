"""`compress study layers`: which layer of a teacher knows what, how alike its layers are, and which to distil.

Every layer is probed alone on every task, the learned sum of layers beside it, log-mel and random weights as the floor;
CKA compares the layers with each other and with those of students.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

from ..data.audio import Skipped
from ..evaluate.checks import check_tasks
from ..evaluate.extract import extract, stores
from ..evaluate.features import LOG_MEL, Upstream, of_model, random_copy
from ..evaluate.probes import wilson
from ..evaluate.similarity import compare_layers, layer_frames
from ..evaluate.suite import wanted
from ..evaluate.upstreams import encoder_upstream, teacher_upstream
from ..models.checkpoint import Checkpoint, load_checkpoint
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from ..models.torch_device import check_device
from ..tasks.task import Task
from ..teachers.load import Teacher, load_teacher
from .choose import Suggestion, suggest
from .probes import clips_to_compare, probe_task
from .students import Measuring, Training, check_training, compared, leaks, measure_students, train_arms

logger = logging.getLogger(__name__)


def study_layers(
    source: str,
    tasks: Sequence[Task],
    students: Sequence[Path] = (),
    *,
    training: Training | None = None,
    seeds: int = 1,
    most: int = 3,
    cache: Path | None = None,
    device: str = "cpu",
    listen: OnText = logger.info,
) -> dict[str, Any]:
    """Study a teacher; the result is plain JSON.

    Args:
        source: what `teachers.load.load_teacher` takes.
        tasks: see `probes.open_tasks`.
        students: checkpoint folders to compare with the teacher.
        training: also distil students of 1 to `most` heads, on the suggested and on other layers; None does not.
        seeds, most: probes for each layer and task, and heads at most.
        cache, device: folder in which features are kept (None keeps none), and where they are computed.
        listen: hears what is being done, a line each.

    Returns:
        {"teacher", "tasks": {name: {"layers": [{"layer", "val", "test", "ci95"}], "weighted": the same with
        "layer_weights", "logmel", "random", "best_layer", ...}}, "cka", "suggestion", "students", "comparison" (None
        without training), "notes", "seconds"}.

    Raises SpeechpressError, before any long work, for one layer, unfit data, another frame rate or an unfit recipe.
    """
    device, started = check_device(device), time.monotonic()
    teacher = open_teacher(source)
    opened, notes = open_students(students, teacher), list(teacher.card.notes)
    upstreams = floors(teacher, device, notes) | {"teacher": teacher_upstream(teacher.to(device))}
    everybody = [*upstreams.values(), *(encoder_upstream(checkpoint.encoder) for checkpoint in opened.values())]
    hours = check_tasks(tasks, everybody) / 3600
    runs = None if training is None else check_training(training, teacher, most)
    notes += [] if runs is None else leaks(runs, tasks)
    listen(f"{counted(len(tasks), 'task')}, {hours:.2f} h of audio, {teacher.card.depth + 1} layers")
    tasks, entries, skipped = _probed(tasks, upstreams, cache, seeds, device, listen)
    measuring = Measuring(teacher, tasks, clips_to_compare(tasks, device), seeds, cache, device, listen)
    cka = likeness(measuring, opened)
    suggestion = suggest_layers(entries, cka["teacher"], most)
    listen(suggestion.reason)
    arms = [] if runs is None else train_arms(runs, suggestion, listen)
    opened |= {arm.name: load_checkpoint(arm.folder) for arm in arms}
    found = measure_students(opened, measuring)
    return {
        "teacher": {**teacher.card.to_dict(), "encoder": None},
        "hours": hours,
        "seeds": seeds,
        "tasks": entries,
        "cka": likeness(measuring, opened) if arms else cka,
        "suggestion": described(suggestion),
        "students": found,
        "comparison": None if runs is None else compared(runs, arms, found, suggestion.heads),
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
        "notes": notes,
        "seconds": time.monotonic() - started,
    }


def _probed(
    tasks: Sequence[Task],
    upstreams: Mapping[str, Upstream],
    cache: Path | None,
    seeds: int,
    device: str,
    listen: OnText,
) -> tuple[list[Task], dict[str, Any], list[Skipped]]:
    """(tasks without what cannot be read, their entries, what was skipped): every layer and floor is probed."""
    with stores(cache, upstreams) as kept:
        skipped = extract(upstreams, wanted(tasks), kept, device, listen)
        readable = [task.without(item.path for item in skipped) for task in tasks]
        return readable, {task.name: probe_task(task, kept, seeds, listen) for task in readable}, skipped


def open_teacher(source: str) -> Teacher:
    """Raises SpeechpressError when there is none, or it leaves no choice."""
    teacher = load_teacher(source)
    if teacher.card.depth < 2:
        raise SpeechpressError(f"{source}: has one layer, so there is no choice of layers to study; distil that one")
    return teacher


def open_students(folders: Sequence[Path], teacher: Teacher) -> dict[str, Checkpoint]:
    """Checkpoints by their folders' names. Raises SpeechpressError for one whose frames are not the teacher's."""
    opened: dict[str, Checkpoint] = {}
    for folder in folders:
        checkpoint = load_checkpoint(folder)
        hop, teachers = checkpoint.encoder.config.hop_samples, teacher.card.hop_samples
        if hop != teachers:
            raise SpeechpressError(
                f"{folder}: has a frame every {hop / 16:g} ms, but {teacher.card.source} has one every "
                f"{teachers / 16:g} ms; layers are compared frame by frame, so leave this student out"
            )
        name = folder.resolve().name
        # The teacher has this name in the tables.
        opened[str(folder) if name in opened or name == "teacher" else name] = checkpoint
    return opened


def floors(teacher: Teacher, device: str, notes: list[str]) -> dict[str, Upstream]:
    """What is there without learning: log-mel, and the teacher's shape with random weights where that can be built."""
    found = {"logmel": LOG_MEL}
    if teacher.card.encoder is None:
        notes.append(
            f"random weights are not among the floors: a {teacher.card.family} is not built here without its own"
        )
    else:
        found["random"] = encoder_upstream(random_copy(teacher.card.encoder).to(device))
    return found


def likeness(measuring: Measuring, opened: Mapping[str, Checkpoint]) -> dict[str, Any]:
    """CKA of the teacher's layers with each other and with those of students; see `similarity.compare_layers`."""
    seconds = sum(wave.shape[1] for wave in measuring.waves) / SAMPLE_RATE
    measuring.listen(f"CKA on {seconds:.0f} s of test clips")
    models = {"teacher": of_model(measuring.teacher)}
    models |= {name: of_model(checkpoint.encoder.to(measuring.device)) for name, checkpoint in opened.items()}
    return {"seconds": seconds, **compare_layers("teacher", layer_frames(models, measuring.waves))}


def suggest_layers(tasks: Mapping[str, Any], cka: Sequence[Sequence[float]], most: int) -> Suggestion:
    """A suggestion from the probes of `probe_task`: chosen on val, so that test scores stay untouched by it."""
    accuracy = {name: [entry["val"] for entry in task["layers"]] for name, task in tasks.items()}
    noise = {}
    for name, task in tasks.items():
        # The interval of the best layer stands for those of all.
        low, high = wilson(max(accuracy[name]), task["clips"]["val"])
        noise[name] = (high - low) / 2
    return suggest(accuracy, {name: task["chance"] for name, task in tasks.items()}, cka, most, noise)


def described(suggestion: Suggestion) -> dict[str, Any]:
    """A suggestion as plain JSON."""
    return {
        "heads": suggestion.heads,
        "layers": list(suggestion.layers),
        "reason": suggestion.reason,
        "steps": [{"layer": step.layer, "gain": step.gain, "reason": step.reason} for step in suggestion.steps],
        "by_heads": {str(k): list(suggestion.first(k)) for k in range(1, len(suggestion.steps) + 1)},
    }
