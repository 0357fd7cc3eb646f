"""`compress eval --suite`: the ten tasks of SUPERB on a checkpoint or bundle, beside its teacher and the floors.

Shapes: S samples.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .contest import OWN_NAMES, contest_fidelity, open_contest
from .downstream import Budget
from .events import OnText
from .extraction import extract, stores
from .features import some_waves
from .outcome_store import OutcomeStore
from .problems import FEATURES, Problem, shuffled
from .scoring import BETTER_LOW, quality
from .solve import Outcome
from .solve_jobs import Job, solve_jobs
from .sounds import Sound, read_sound
from .suite_checks import FLOORS, check_problems, complaints, remarks

logger = logging.getLogger(__name__)

DEFAULT = Budget()
LAYERS = ("weighted", "last")
FIDELITY_S = 120.0
SHUFFLED = "shuffled labels: "


def evaluate_suite(
    source: str | Path,
    problems: Sequence[Problem],
    *,
    against: Sequence[str] = (),
    teacher: str | None = None,
    chunk_ms: float | None = None,
    layers: str = "weighted",
    budget: Budget = DEFAULT,
    cache: Path | None = None,
    sanity: bool = False,
    workers: int = 1,
    device: str = "cpu",
    listen: OnText = logger.info,
) -> dict[str, Any]:
    """Measure a checkpoint or bundle on tasks; the result is plain JSON.

    Args:
        source: a checkpoint folder, a bundle or a teacher; a bundle runs as on a device, in chunks where it streams.
        problems: from `mini_suite` or `superb_layouts`.
        against: further checkpoints, bundles or teachers, measured alike.
        teacher: where to find the teacher if not where the card says.
        chunk_ms: chunk size; for a checkpoint None is all audio at once, for a bundle its default.
        layers: "weighted" (a learned sum) or "last".
        budget: the same for every upstream and task.
        cache: folder in which features and outcomes are kept; None keeps none.
        sanity: also learn from shuffled labels, and look whether anything is out of order; see `suite_checks`.
        workers: tasks that are solved at once.

    Returns:
        as `evaluate.evaluate`, for each task with "metric", a number per upstream and "ci95"; "against" has the others.

    Raises:
        SpeechpressError: before any long work, when the source, a corpus or a clip is not fit for it.
    """
    started = time.monotonic()
    if layers not in LAYERS:
        raise SpeechpressError(f"eval: --layers is weighted or last, not {layers!r}")
    if not problems:
        raise SpeechpressError("eval: there is no task left to measure; name some with --tasks")
    contest = open_contest(source, against, teacher, chunk_ms, device)
    upstreams = contest.shown(layers)
    hours = check_problems(problems, upstreams.values()) / 3600
    listen(f"{len(problems)} tasks, {hours:.2f} h of audio, heard by {', '.join(upstreams)}")
    with stores(cache, upstreams) as kept:
        skipped = extract(upstreams, wanted(problems), kept, device, listen)
        problems = [problem.without(item.path for item in skipped) for problem in problems]
        features_s = time.monotonic() - started
        witness = "teacher" if "teacher" in upstreams else "student"
        jobs = [Job(problem.name, problem, name) for problem in problems for name in upstreams]
        if sanity:
            jobs += [Job(SHUFFLED + problem.name, shuffled(problem), witness) for problem in problems]
        found = solve_jobs(jobs, upstreams, kept, budget, OutcomeStore(cache), workers, listen)
    outcomes = {problem.name: {name: found[problem.name, name] for name in upstreams} for problem in problems}
    tasks = {problem.name: report(problem, outcomes[problem.name]) for problem in problems}
    if sanity:
        for name, entry in tasks.items():
            entry["shuffled"] = _of_shuffled(found[SHUFFLED + name, witness], witness)
    measured = contest_fidelity(contest, held_out_waves(problems[0], device))
    return {
        "checkpoint": str(source),
        "layers": layers,
        "latency": contest.latency,
        "hours": hours,
        "budget": {"steps": budget.steps, "batch": budget.batch, "lrs": list(budget.lrs), "seeds": budget.seeds},
        "size_bytes": {name: upstream.size_bytes for name, upstream in upstreams.items()},
        "against": [name for name in upstreams if name not in OWN_NAMES],
        "tasks": tasks,
        **measured,
        "sanity": _sanity(tasks, problems) if sanity else None,
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
        "notes": [*contest.notes, *remarks(problems, outcomes)],
        "seconds": {"features": features_s, "all": time.monotonic() - started, "workers": workers},
    }


def wanted(problems: Sequence[Problem]) -> dict[str, list[Sound]]:
    """Sounds whose frames, and whose means, the tasks need."""
    kinds: dict[str, dict[Sound, None]] = {"frames": {}, "means": {}}
    for problem in problems:
        kinds[FEATURES[problem.kind]].update(dict.fromkeys(item.sound for item in problem.items))
    return {kind: list(sounds) for kind, sounds in kinds.items()}


def held_out_waves(problem: Problem, device: str) -> list[Tensor]:
    """Test clips of a task, each (1, S), in a fixed random order up to FIDELITY_S."""
    sounds = [item.sound for item in sorted(problem.part("test"), key=lambda item: item.order)]
    return some_waves(sounds, read_sound, FIDELITY_S, device)


def report(problem: Problem, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """A task's entry in the JSON."""
    names = ["student", "teacher", *FLOORS, *(name for name in outcomes if name not in OWN_NAMES)]

    def each(value: Callable[[Outcome], Any]) -> dict[str, Any]:
        return {name: value(outcomes[name]) if name in outcomes else None for name in names}

    method = "Wilson over test clips" if problem.kind == "classify" else "bootstrap over test clips, trials or queries"
    return {
        "metric": problem.metric,
        "better": "lower" if problem.metric in BETTER_LOW else "higher",
        **each(lambda outcome: outcome.test),
        "ci95": each(lambda outcome: list(outcome.ci95)),
        "ci95_method": f"{method}, of the mean over seeds",
        "val": each(lambda outcome: outcome.val),
        "seeds": each(lambda outcome: list(outcome.seeds)),
        "layer_weights": each(lambda outcome: list(outcome.layer_weights)),
        "lr": each(lambda outcome: outcome.lr),
        "also": each(lambda outcome: outcome.also),
        "quality": each(lambda outcome: quality(problem.metric, outcome.test)),
        "retention": retention(problem.metric, outcomes),
        "clips": problem.counts(),
        "chance": problem.chance,
        "speaker_disjoint": problem.speaker_disjoint,
        "notes": list(problem.notes),
    }


def retention(metric: str, outcomes: Mapping[str, Outcome]) -> dict[str, float | None]:
    """What share of the teacher's score each of the others has, on a scale where higher is better."""
    if "teacher" not in outcomes:
        return dict.fromkeys(outcomes)
    whole = quality(metric, outcomes["teacher"].test)
    return {name: quality(metric, one.test) / whole if whole else None for name, one in outcomes.items()}


def _of_shuffled(outcome: Outcome, witness: str) -> dict[str, Any]:
    return {"of": witness, "test": outcome.test, "ci95": list(outcome.ci95)}


def _sanity(tasks: Mapping[str, dict[str, Any]], problems: Sequence[Problem]) -> dict[str, Any]:
    found = complaints(tasks, {problem.name: problem.kind for problem in problems})
    return {"ok": not found, "complaints": found}
