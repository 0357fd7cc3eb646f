"""Retention: what share of its teacher's quality a model has kept, on the one scale on which more is better.

`kept_above_floor` is the measure: (student - floor) / (teacher - floor), where the floor is the better one of random
weights and log-mel, so that what nobody has to distil counts for nothing, and below it the number is negative. A task
counts only where the teacher's 95 % interval, over clips and seeds, lies wholly above the floor's: else there was
nothing to keep, and a small number would be divided by. `of_teacher` is the plain share, as older files have it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..tasks.kinds import quality
from ..tasks.metrics import interval as middle_of
from ..tasks.task import FLOORS

T_QUANTILES = (12.71, 4.30, 3.18, 2.78, 2.57)  # 97.5 % of Student's t with 1, 2, ... degrees of freedom
Draws = Mapping[str, Mapping[str, Sequence[float]]]  # by task and model: the score over test clips drawn anew


def of_teacher(qualities: Mapping[str, float]) -> dict[str, float | None]:
    """Each model's quality over that of "teacher"; None where there is no teacher, or it can do nothing."""
    whole = qualities.get("teacher")
    return {name: value / whole if whole else None for name, value in qualities.items()}


def retention(document: Mapping[str, Any]) -> dict[str, Any]:
    """How much of the teacher's quality is kept, by task and model, on the scale of `kinds.quality`.

    Returns:
        {"tasks": {task: {"floor": name or None, "models": {model: {"of_teacher", "kept_above_floor"}}}}, "mean":
        {model: {"of_teacher", "kept_above_floor", "tasks" (in the second mean)}}, "left_out": {task: why}}.
    """
    tasks = {name: _kept(task, models_of(document)) for name, task in document["tasks"].items()}
    means = {}
    for model in models_of(document):
        parts = [task["models"][model] for task in tasks.values()]
        whole = [part["of_teacher"] for part in parts if part["of_teacher"] is not None]
        above = [part["kept_above_floor"] for part in parts if part["kept_above_floor"] is not None]
        means[model] = {"of_teacher": mean(whole), "kept_above_floor": mean(above), "tasks": len(above)}
    left_out = {name: why for name, task in tasks.items() if (why := task.pop("why")) is not None}
    return {"tasks": tasks, "mean": means, "left_out": left_out}


def models_of(document: Mapping[str, Any]) -> list[str]:
    """The student, and what was measured against it."""
    return ["student", *document.get("against", [])]


def _kept(task: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    scores = {name: quality(task["metric"], task[name]) for name in task["ci95"] if task.get(name) is not None}
    shares = of_teacher(scores)
    floor, why = floor_of(task)
    kept = {}
    for model in models:
        above = None
        if model in scores and floor is not None and why is None:
            above = (scores[model] - scores[floor]) / (scores["teacher"] - scores[floor])
        kept[model] = {"of_teacher": shares.get(model), "kept_above_floor": above}
    return {"floor": floor, "models": kept, "why": why}


def floor_of(task: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Which floor is the better one, and why the task does not count; None where there is none, and where it does."""
    found = [(quality(task["metric"], task[name]), name) for name in FLOORS if task.get(name) is not None]
    if not found:
        return None, "there is no floor"
    floor = max(found)[1]
    if task.get("teacher") is None:
        return floor, "there is no teacher"
    if wide_interval(task, "teacher")[0] <= wide_interval(task, floor)[1]:
        return floor, f"the teacher's interval reaches down to that of {floor}"
    return floor, None


def kept_intervals(document: Mapping[str, Any], draws: Draws) -> dict[str, Any]:
    """95 % intervals of what was kept, by a bootstrap that is paired: each draw has the same clips for all models.

    A task whose draws are not known enters each of them with its value, and is named.

    Returns:
        {"tasks" (those of the mean), "models": {model: [low, high]}, "minus_student": {other: {"difference", "ci95"}},
        "without_draws"}; empty where no task counts.
    """
    found = retention(document)
    counted = [name for name in found["tasks"] if name not in found["left_out"]]
    if not counted:
        return {}
    # Different lengths: of some tasks a draw may have had no value.
    count = min((len(values) for name in counted for values in draws.get(name, {}).values() if len(values)), default=0)
    known = [name for name in counted if count and _all_drawn(draws.get(name, {}), document, name)]
    means = {
        model: np.mean([_shares(document["tasks"][n], found, draws, n, model, known, count) for n in counted], axis=0)
        for model in models_of(document)
        if all(found["tasks"][name]["models"][model]["kept_above_floor"] is not None for name in counted)
    }
    points = {model: found["mean"][model]["kept_above_floor"] for model in means}
    return {
        "tasks": counted,
        "models": {model: list(middle_of(values)) for model, values in means.items()},
        "minus_student": {
            model: {
                "difference": points[model] - points["student"],
                "ci95": list(middle_of(values - means["student"])),
            }
            for model, values in means.items()
            if model != "student" and "student" in means
        },
        "without_draws": [name for name in counted if name not in known],
    }


def _all_drawn(draws: Mapping[str, Sequence[float]], document: Mapping[str, Any], name: str) -> bool:
    needed = {*models_of(document), "teacher", floor_of(document["tasks"][name])[0]}
    return all(len(draws.get(str(model), ())) for model in needed)


def _shares(
    task: Mapping[str, Any],
    found: Mapping[str, Any],
    draws: Draws,
    name: str,
    model: str,
    known: Sequence[str],
    count: int,
) -> np.ndarray:
    """What a model kept of a task in each draw; the same in all of them where there are none."""
    kept = found["tasks"][name]
    if name not in known:
        return np.full(max(1, count), kept["models"][model]["kept_above_floor"])
    student, teacher, floor = (
        np.array([quality(task["metric"], value) for value in draws[name][who][:count]])
        for who in (model, "teacher", kept["floor"])
    )
    return (student - floor) / np.maximum(teacher - floor, 1e-6)


def interval(task: Mapping[str, Any], name: str) -> tuple[float, float]:
    """The 95 % interval of a model's score on the scale of quality, low first."""
    low, high = sorted(quality(task["metric"], value) for value in task["ci95"][name])
    return low, high


def wide_interval(task: Mapping[str, Any], who: str) -> tuple[float, float]:
    """Of the quality, over clips and seeds; the two are independent, so their squares add up."""
    low, high = interval(task, who)
    middle, seeds = quality(task["metric"], task[who]), _seed_margin((task.get("seeds") or {}).get(who) or ())
    return middle - math.hypot(middle - low, seeds), middle + math.hypot(high - middle, seeds)


def _seed_margin(scores: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean, by Student's t; 0 of a task that has no seeds."""
    if len(scores) < 2:
        return 0.0
    # For more seeds than the table has the last quantile is a little too wide.
    quantile = T_QUANTILES[min(len(scores) - 2, len(T_QUANTILES) - 1)]
    return quantile * statistics.stdev(scores) / math.sqrt(len(scores))


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
