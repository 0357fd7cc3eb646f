"""An ABX measure's entry in the JSON, of the form that a suite's tasks have."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluate.lineup import OWN_NAMES
from ..evaluate.retention import of_teacher
from ..tasks.kinds import quality
from ..tasks.metrics import interval

METRIC = "ABX"


def task_entry(
    scores: Mapping[str, float], draws: Mapping[str, np.ndarray], method: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Errors with 95 % intervals, and how far each lies above the student's.

    Args:
        scores: the error of each upstream.
        draws: errors of each upstream on the same resamples, so that what is hard for everybody cancels out.
        method: how these were drawn.
        facts: of the measure itself, such as how many speakers it has.
    """
    names = [*OWN_NAMES, *(name for name in scores if name not in OWN_NAMES)]
    others = [name for name in scores if name != "student"]
    apart = {name: list(interval(draws[name] - draws["student"])) for name in others}
    return {
        "metric": METRIC,
        "better": "lower",
        **{name: scores.get(name) for name in names},
        "ci95": {name: list(interval(draws[name])) if name in draws else None for name in names},
        "ci95_method": method,
        "minus_student": {
            name: {"difference": scores[name] - scores["student"], "ci95": ends} for name, ends in apart.items()
        },
        "quality": {name: quality(METRIC, scores[name]) if name in scores else None for name in names},
        "retention": of_teacher({name: quality(METRIC, value) for name, value in scores.items()}),
        "chance": 0.5,
        "also": {},
        "seeds": {name: [] for name in names},
        "speaker_disjoint": None,
        **facts,
    }
