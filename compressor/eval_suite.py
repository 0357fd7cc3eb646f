"""`compress eval --data-root`: the ten tasks of SUPERB on a checkpoint or bundle, beside its teacher and the floors."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.bundle import is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError

from .checkpoint import load_checkpoint
from .config import SAMPLE_RATE, EncoderConfig
from .downstream import Budget
from .extraction import Listener, extract, stores
from .feature_store import FeatureStore
from .features import LOG_MEL, Upstream, last_layer, random_copy
from .pretrained import load_teacher
from .problems import FEATURES, Problem
from .scoring import BETTER_LOW
from .solve import Outcome, solve
from .sounds import Sound, check_sounds, durations_s
from .streaming import chunk_frames_of
from .upstreams import encoder_upstream, longest_s, open_upstream, teacher_upstream

logger = logging.getLogger(__name__)

DEFAULT = Budget()
FLOORS = ("random", "logmel")


@dataclass(frozen=True)
class Contest:
    """What is compared, what cannot be and why."""

    upstreams: dict[str, Upstream]
    notes: tuple[str, ...]
    latency: dict[str, float] | None = None
    limit_s: float | None = None


def evaluate_suite(
    source: Path,
    problems: Sequence[Problem],
    *,
    against: Sequence[str] = (),
    teacher: str | None = None,
    chunk_ms: float | None = None,
    layers: str = "weighted",
    budget: Budget = DEFAULT,
    cache: Path | None = None,
    device: str = "cpu",
    listen: Listener = logger.info,
) -> dict[str, Any]:
    """Measure a checkpoint or bundle on tasks; the result is plain JSON.

    Args:
        source: a checkpoint folder or a bundle; a bundle runs as on a device, in chunks where it streams.
        problems: from `mini_suite` or `superb_layouts`.
        against: further checkpoints, bundles or teachers, measured alike.
        teacher: where to find the teacher if not where the card says.
        chunk_ms: chunk size; for a checkpoint None is all audio at once, for a bundle its default.
        layers: "weighted" (a learned sum) or "last".
        budget: the same for every upstream and task.
        cache: folder in which features are kept; None keeps none.

    Returns:
        as `evaluate.evaluate`, for each task with "metric", a number per upstream and "ci95"; "against" has the others.

    Raises:
        SpeechpressError: before any long work, when the source, a corpus or a clip is not fit for it.
    """
    started = time.monotonic()
    if layers not in ("weighted", "last"):
        raise SpeechpressError(f"eval: --layers is weighted or last, not {layers!r}")
    contest = open_contest(source, against, teacher, chunk_ms, device)
    upstreams = {
        name: last_layer(upstream) if layers == "last" else upstream for name, upstream in contest.upstreams.items()
    }
    hours = check_problems(problems, upstreams.values(), contest.limit_s) / 3600
    listen(f"{len(problems)} tasks, {hours:.2f} h of audio, heard by {', '.join(upstreams)}")
    with stores(cache, upstreams) as kept:
        skipped = extract(upstreams, wanted(problems), kept, device, listen)
        problems = [problem.without(item.path for item in skipped) for problem in problems]
        features_s = time.monotonic() - started
        outcomes = {problem.name: solve_all(problem, upstreams, kept, budget, listen) for problem in problems}
    return {
        "checkpoint": str(source),
        "layers": layers,
        "latency": contest.latency,
        "hours": hours,
        "budget": {"steps": budget.steps, "batch": budget.batch, "lrs": list(budget.lrs), "seeds": budget.seeds},
        "size_bytes": {name: upstream.size_bytes for name, upstream in upstreams.items()},
        "against": [name for name in upstreams if name not in ("student", "teacher", *FLOORS)],
        "tasks": {problem.name: report(problem, outcomes[problem.name]) for problem in problems},
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
        "notes": [*contest.notes, *remarks(problems, outcomes)],
        "seconds": {"features": features_s, "all": time.monotonic() - started},
    }


def open_contest(
    source: Path, against: Sequence[str], teacher: str | None, chunk_ms: float | None, device: str
) -> Contest:
    """Open everything that is compared; a teacher that is not at hand is a note, all else an error."""
    notes: list[str] = []
    upstreams = {"student": open_upstream(source, chunk_ms, device)}
    latency = limit_s = None
    if is_bundle(source):
        bundle = read_bundle(source)
        named = (bundle.document["lineage"].get("teacher") or {}).get("source")
        limit_s = longest_s(bundle)
        latency = bundle.spec(chunk_ms).latency() if bundle.document["streams"] else None
        notes.append("a bundle gives its last layer only, and keeps no shape to make a random copy of")
    else:
        opened = load_checkpoint(source)
        named = opened.card.get("teacher", {}).get("source")
        config = opened.encoder.config
        chunk = None if chunk_ms is None else chunk_frames_of(config, chunk_ms)
        latency = None if chunk is None else config.stream_spec(chunk).latency()
        upstreams["random"] = _random(config, chunk, device)
    upstreams["logmel"] = LOG_MEL
    if found := _teacher(teacher or named, source, device, notes):
        upstreams["teacher"] = found
    for other in against:
        name = Path(other).name
        upstreams[name if name not in upstreams else other] = open_upstream(other, None, device)
    return Contest(upstreams, tuple(notes), latency, limit_s)


def _random(config: EncoderConfig, chunk: int | None, device: str) -> Upstream:
    return encoder_upstream(random_copy(config).to(device), chunk)


def _teacher(named: str | None, source: Path, device: str, notes: list[str]) -> Upstream | None:
    if named is None:
        notes.append(f"{source}: names no teacher, so there is nothing to compare with; give one with --teacher")
    else:
        try:
            return teacher_upstream(load_teacher(named).to(device))
        except SpeechpressError as error:
            notes.append(f"the teacher {named!r} is not at hand, so its column is empty: {error}")
    logger.warning(notes[-1])
    return None


def check_problems(problems: Sequence[Problem], upstreams: Any, limit_s: float | None) -> float:
    """Seconds of audio in all, after a look at every file.

    Raises SpeechpressError for files that are missing, shorter than a frame or longer than a bundle can run.
    """
    receptive_s = max(upstream.receptive_samples for upstream in upstreams) / SAMPLE_RATE
    for problem in problems:
        check_sounds((item.sound for item in problem.items), receptive_s, f"task {problem.name!r}")
    lengths = durations_s({item.sound for problem in problems for item in problem.items})
    if limit_s is not None and max(lengths.values()) > limit_s:
        raise SpeechpressError(
            f"this bundle does not stream and runs at most {limit_s:g} s at once, but the longest clip has "
            f"{max(lengths.values()):.1f} s; export it with --offline-seconds {max(lengths.values()) + 1:.0f}"
        )
    return sum(lengths.values())


def wanted(problems: Sequence[Problem]) -> dict[str, list[Sound]]:
    """Sounds whose frames, and whose means, the tasks need."""
    kinds: dict[str, dict[Sound, None]] = {"frames": {}, "means": {}}
    for problem in problems:
        kinds[FEATURES[problem.kind]].update(dict.fromkeys(item.sound for item in problem.items))
    return {kind: list(sounds) for kind, sounds in kinds.items()}


def solve_all(
    problem: Problem,
    upstreams: Mapping[str, Upstream],
    kept: Mapping[str, FeatureStore],
    budget: Budget,
    listen: Listener,
) -> dict[str, Outcome]:
    found = {}
    for name, upstream in upstreams.items():
        found[name] = solve(problem, kept[name], upstream.hop_samples, budget)
        listen(f"{problem.name} {name}: {problem.metric} {found[name].test:.3f}")
    return found


def report(problem: Problem, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """A task's entry in the JSON."""
    names = ["student", "teacher", *FLOORS, *(name for name in outcomes if name not in ("student", "teacher", *FLOORS))]

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
        "clips": problem.counts(),
        "chance": problem.chance,
        "speaker_disjoint": problem.speaker_disjoint,
        "notes": list(problem.notes),
    }


def remarks(problems: Sequence[Problem], outcomes: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    """What is unusual in the results: a student above its teacher, a floor above the student."""
    found = []
    for problem in problems:
        sign = -1 if problem.metric in BETTER_LOW else 1
        scores = {name: sign * outcome.test for name, outcome in outcomes[problem.name].items()}
        if scores["student"] > scores.get("teacher", float("inf")):
            found.append(f"{problem.name}: the student is above its teacher")
        above = [name for name in FLOORS if scores.get(name, -9.0) > scores["student"]]
        if above:
            found.append(f"{problem.name}: {' and '.join(above)} above the student: here it learned nothing to keep")
    return found
