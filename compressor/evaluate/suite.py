"""`compress eval --suite`: the ten tasks of SUPERB on a checkpoint or bundle, beside its teacher and the floors.

Shapes: S samples.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

from ..cluster.executor import PROCESSES
from ..data.audio import Skipped
from ..data.sounds import Sound, read_sound
from ..models.events import OnText
from ..tasks.kinds import KINDS, is_error, quality
from ..tasks.task import Task, shuffled
from .checks import check_tasks, complaints, remarks
from .extract import extract, stores
from .features import Upstream, some_waves
from .heads import Budget
from .lineup import OWN_NAMES, Comparison, comparison_fidelity, open_comparison
from .retention import floor_of, kept_intervals, of_teacher
from .solve import Job, ScoreStore, TaskScore, solve_jobs

logger = logging.getLogger(__name__)

DEFAULT = Budget()
LAYERS = ("weighted", "last")
FIDELITY_S = 120.0
SHUFFLED = "shuffled labels: "
# Which parts of an entry only one of the two kinds of JSON has; files that are older than this table have them so.
QUICK_ONLY = frozenset({"std_over_seeds", "classes", "crop_s", "chance_by_voice"})
SUITE_ONLY = frozenset({"better", "seeds", "lr", "also", "retention", "kept_above_floor"})
METHODS = {"verify": "bootstrap over test speakers", "search": "bootstrap over queries"}


@dataclass(frozen=True)
class ScoredTasks:
    """Tasks, without clips that could not be read, and how well each upstream solves them.

    `scores` is by task and upstream; `shuffled`, by task, is what one of them, the witness, learns from the answers of
    other clips.
    """

    tasks: list[Task]
    scores: dict[str, dict[str, TaskScore]]
    shuffled: dict[str, TaskScore]
    witness: str
    skipped: list[Skipped]
    features_s: float


def score_tasks(
    upstreams: Mapping[str, Upstream],
    tasks: Sequence[Task],
    budget: Budget = DEFAULT,
    *,
    cache: Path | None = None,
    sanity: bool = False,
    workers: int = 1,
    executor: str = PROCESSES,
    device: str = "cpu",
    listen: OnText = logger.info,
) -> ScoredTasks:
    """Solve every task, each of a name of its own, on every upstream; this is how all evaluations are made.

    With `sanity` the teacher, or the first upstream where there is none, also learns from shuffled answers; see
    `evaluate_suite` for the rest.

    Raises:
        SpeechpressError: no clip can be read, or unreadable ones leave a split or a class empty.
    """
    started = time.monotonic()
    # Who learns best also finds what leaks.
    witness = "teacher" if "teacher" in upstreams else next(iter(upstreams))
    with stores(cache, upstreams) as kept:
        skipped = extract(upstreams, wanted(tasks), kept, device, listen)
        # Which clips cannot be read is known only now.
        tasks = [task.without(item.path for item in skipped) for task in tasks]
        features_s = time.monotonic() - started
        jobs = [Job(task.name, task, name) for task in tasks for name in upstreams]
        if sanity:
            jobs += [Job(SHUFFLED + task.name, shuffled(task), witness) for task in tasks]
        found = solve_jobs(jobs, upstreams, kept, budget, ScoreStore(cache), workers, listen, executor)
    return ScoredTasks(
        tasks,
        {task.name: {name: found[task.name, name] for name in upstreams} for task in tasks},
        {task.name: found[SHUFFLED + task.name, witness] for task in tasks} if sanity else {},
        witness,
        skipped,
        features_s,
    )


def evaluate_suite(
    source: str | Path,
    tasks: Sequence[Task],
    *,
    against: Sequence[str] = (),
    teacher: str | None = None,
    chunk_ms: float | None = None,
    layers: str = "weighted",
    budget: Budget = DEFAULT,
    cache: Path | None = None,
    sanity: bool = False,
    workers: int = 1,
    executor: str = PROCESSES,
    device: str = "cpu",
    listen: OnText = logger.info,
) -> dict[str, Any]:
    """Measure a checkpoint or bundle on tasks; the result is plain JSON.

    Args:
        source: a checkpoint folder, a bundle or a teacher; a bundle runs as on a device, in chunks where it streams.
        tasks: from `tasks.mini` or `tasks.superb`.
        against: further checkpoints, bundles or teachers, measured alike.
        teacher: where to find the teacher if not where the card says.
        chunk_ms: chunk size; for a checkpoint None is all audio at once, for a bundle its default.
        layers: "weighted" (a learned sum) or "last".
        budget: the same for every upstream and task.
        cache: folder in which features and scores are kept; None keeps none.
        sanity: also learn from shuffled labels, and look whether anything is out of order; see `checks`.
        workers, executor: how many tasks are solved at once, and where; see `cluster.executor`.

    Returns:
        as `quick.evaluate`, for each task with "metric", a number per upstream and "ci95"; "against" has the others.

    Raises:
        SpeechpressError: before any long work, when the source, a corpus or a clip is not fit for it.
    """
    started = time.monotonic()
    _check_request(layers, tasks)
    comparison = open_comparison(source, against, teacher, chunk_ms, device)
    upstreams = comparison.shown(layers)
    hours = check_tasks(tasks, upstreams.values()) / 3600
    listen(f"{counted(len(tasks), 'task')}, {hours:.2f} h of audio; models: {', '.join(upstreams)}")
    where: dict[str, Any] = {"cache": cache, "workers": workers, "executor": executor, "device": device}
    found = score_tasks(upstreams, tasks, budget, sanity=sanity, listen=listen, **where)
    entries = _entries(found)
    document = {
        "checkpoint": str(source),
        "layers": layers,
        "latency": comparison.latency,
        "hours": hours,
        "budget": {"steps": budget.steps, "batch": budget.batch, "lrs": list(budget.lrs), "seeds": budget.seeds},
        "size_bytes": {name: upstream.size_bytes for name, upstream in upstreams.items()},
        "against": [name for name in upstreams if name not in OWN_NAMES],
        "tasks": entries,
        **comparison_fidelity(comparison, held_out_waves(found.tasks[0], device)),
        "sanity": _sanity(entries, found.tasks) if sanity else None,
        **_said(comparison, found),
        "seconds": {"features": found.features_s, "all": time.monotonic() - started, "workers": workers},
    }
    return document | {"kept_above_floor": kept_intervals(document, draws_of(found))}


def _said(comparison: Comparison, found: ScoredTasks) -> dict[str, Any]:
    return {
        "skipped": [{"path": item.path, "reason": item.reason} for item in found.skipped],
        "notes": [*comparison.notes, *remarks(found.tasks, found.scores)],
    }


def draws_of(found: ScoredTasks) -> dict[str, dict[str, tuple[float, ...]]]:
    """By task and upstream, the scores over test clips drawn anew."""
    return {task: {name: score.draws for name, score in scores.items()} for task, scores in found.scores.items()}


def _check_request(layers: str, tasks: Sequence[Task]) -> None:
    if layers not in LAYERS:
        raise SpeechpressError(f"eval: --layers is weighted or last, not {layers!r}")
    if not tasks:
        raise SpeechpressError("eval: there is no task left to measure; name some with --tasks")


def _entries(found: ScoredTasks) -> dict[str, dict[str, Any]]:
    entries = {task.name: suite_entry(task, found.scores[task.name]) for task in found.tasks}
    for name, score in found.shuffled.items():
        entries[name]["shuffled"] = {"of": found.witness, "test": score.test, "ci95": list(score.ci95)}
    return entries


def wanted(tasks: Sequence[Task]) -> dict[str, list[Sound]]:
    """Sounds whose frames, and whose means, the tasks need."""
    kinds: dict[str, dict[Sound, None]] = {"frames": {}, "means": {}}
    for task in tasks:
        kinds[KINDS[task.kind].features].update(dict.fromkeys(item.sound for item in task.items))
    return {kind: list(sounds) for kind, sounds in kinds.items()}


def held_out_waves(task: Task, device: str) -> list[Tensor]:
    """Test clips of a task, each (1, S), in a fixed random order up to FIDELITY_S."""
    # By their drawn order, so that not only the first speakers of the corpus are heard.
    sounds = [item.sound for item in sorted(task.part("test"), key=lambda item: item.order)]
    return some_waves(sounds, read_sound, FIDELITY_S, device)


def suite_entry(task: Task, scores: Mapping[str, TaskScore]) -> dict[str, Any]:
    """A task's entry in the JSON of a suite."""
    return {key: value for key, value in entry(task, scores).items() if key not in QUICK_ONLY}


def quick_entry(task: Task, scores: Mapping[str, TaskScore]) -> dict[str, Any]:
    """A task's entry in the JSON of the quick measure, where speakers without names count as not unseen."""
    found = {key: value for key, value in entry(task, scores).items() if key not in SUITE_ONLY}
    return {**found, "speaker_disjoint": bool(task.speaker_disjoint)}


def entry(task: Task, scores: Mapping[str, TaskScore]) -> dict[str, Any]:
    """All that is known of a task; both kinds of JSON are parts of it."""
    # Always all of them, None where one was not measured: readers need not ask which there are.
    names = [*OWN_NAMES, *(name for name in scores if name not in OWN_NAMES)]

    def each(value: Callable[[TaskScore], Any]) -> dict[str, Any]:
        return {name: value(scores[name]) if name in scores else None for name in names}

    found = {
        "metric": task.metric,
        "better": "lower" if is_error(task.metric) else "higher",
        **each(lambda score: score.test),
        "ci95": each(lambda score: list(score.ci95)),
        "ci95_method": f"{_method(task)}, of the mean over seeds",
        "val": each(lambda score: score.val),
        "seeds": each(lambda score: list(score.seeds)),
        "std_over_seeds": each(lambda score: score.std),
        "layer_weights": each(lambda score: list(score.layer_weights)),
        "lr": each(lambda score: score.lr),
        "also": each(lambda score: score.also),
        "quality": each(lambda score: quality(task.metric, score.test)),
        "retention": of_teacher({name: quality(task.metric, score.test) for name, score in scores.items()}),
        "classes": len(task.classes),
        "clips": task.counts(),
        "crop_s": task.crop_s,
        "chance": task.chance,
        "chance_by_voice": task.chance_by_voice,
        "speaker_disjoint": task.speaker_disjoint,
        "notes": list(task.notes),
    }
    return {**found, "kept_above_floor": _above_floor(found, names)}


def _method(task: Task) -> str:
    if task.classes:
        return "Wilson over test clips"
    return METHODS.get(task.kind, "bootstrap over test clips")


def _above_floor(task: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    """Of each upstream, None where the task does not count; see `retention`."""
    floor, why = floor_of(task)
    if floor is None or why is not None:
        return dict.fromkeys(names)
    lowest, room = task["quality"][floor], task["quality"]["teacher"] - task["quality"][floor]
    values = {name: task["quality"][name] for name in names}
    return {name: None if value is None else (value - lowest) / room for name, value in values.items()}


def _sanity(entries: Mapping[str, dict[str, Any]], tasks: Sequence[Task]) -> dict[str, Any]:
    found = complaints(entries, {task.name: task.kind for task in tasks})
    return {"ok": not found, "complaints": found}
