"""Retention: what share of its teacher's quality a model has kept, on the one scale on which more is better.

`of_teacher` is that share; it stands at every task of a result, and its mean over tasks beside it. `retention` adds
what is left of it without that which nobody has to distil.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..tasks.kinds import quality
from ..tasks.task import FLOORS


def of_teacher(qualities: Mapping[str, float]) -> dict[str, float | None]:
    """Each model's quality over that of "teacher"; None where there is no teacher, or it can do nothing."""
    whole = qualities.get("teacher")
    return {name: value / whole if whole else None for name, value in qualities.items()}


def retention(document: Mapping[str, Any]) -> dict[str, Any]:
    """How much of the teacher's quality is kept, by task and model, on the scale of `kinds.quality`.

    "of_teacher" is student / teacher. "above_floor" is (student - floor) / (teacher - floor), where the floor is the
    better one of random weights and log-mel: what nobody has to distil counts for nothing, and below it the number is
    negative. It is None where the interval of the teacher itself reaches down to the floor: nothing was there to keep.

    Returns:
        {"tasks": {task: {"floor": name or None, "models": {model: {"of_teacher", "above_floor"}}}}, "mean": {model:
        {"of_teacher", "above_floor", "tasks" (in the second mean)}}}.
    """
    tasks = {name: _kept(task, models_of(document)) for name, task in document["tasks"].items()}
    means = {}
    for model in models_of(document):
        parts = [task["models"][model] for task in tasks.values()]
        whole = [part["of_teacher"] for part in parts if part["of_teacher"] is not None]
        # Tasks without room above the floor are left out; "tasks" says how many are in.
        above = [part["above_floor"] for part in parts if part["above_floor"] is not None]
        means[model] = {"of_teacher": mean(whole), "above_floor": mean(above), "tasks": len(above)}
    return {"tasks": tasks, "mean": means}


def models_of(document: Mapping[str, Any]) -> list[str]:
    """The student, and what was measured against it."""
    return ["student", *document.get("against", [])]


def _kept(task: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    scores = {name: quality(task["metric"], task[name]) for name in task["ci95"] if task.get(name) is not None}
    shares = of_teacher(scores)
    floors = [(value, name) for name in FLOORS if (value := scores.get(name)) is not None]
    floor, floor_name = max(floors, default=(None, None))
    teacher = scores.get("teacher")
    room = None if teacher is None or floor is None else teacher - floor
    if room is not None and min(interval(task, "teacher")) <= (floor or 0.0):
        room = None
    kept = {}
    for model in models:
        score = scores.get(model)
        kept[model] = {
            "of_teacher": shares.get(model),
            "above_floor": None if score is None or floor is None or room is None else (score - floor) / room,
        }
    return {"floor": floor_name, "models": kept}


def interval(task: Mapping[str, Any], name: str) -> tuple[float, float]:
    """The 95 % interval of a model's score on the scale of quality, low first."""
    low, high = sorted(quality(task["metric"], value) for value in task["ci95"][name])
    return low, high


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
