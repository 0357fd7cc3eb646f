"""Scores on disk, beside the features: what was solved once, on the same clips, answers and budget, is not again.

So a run that is interrupted goes on where it was, and teacher and floors are solved once for any number of students.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_text import json_text

from .data.sounds import identity
from .downstream import Budget
from .models.checkpoint import read_json
from .solve import TaskScore
from .tasks.kinds import KINDS, Item
from .tasks.task import Task

SCHEMA = 5  # to be raised when a head, its training or a metric changes


class ScoreStore:
    """A folder of scores; without one, nothing is kept."""

    def __init__(self, cache: Path | None) -> None:
        self.folder = None if cache is None else cache / "outcomes"

    def get(self, key: str) -> TaskScore | None:
        """What was kept under `score_key`; None when there is nothing, or nothing that can be read."""
        if self.folder is None or not (self.folder / f"{key}.json").is_file():
            return None
        try:
            found = read_json(self.folder / f"{key}.json")
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
            return TaskScore(**values)
        except (SpeechpressError, TypeError):
            return None

    def put(self, key: str, score: TaskScore) -> None:
        if self.folder is not None:
            write_json(self.folder / f"{key}.json", asdict(score))


def score_key(task: Task, upstream_key: str, budget: Budget) -> str:
    """A hash of everything that a score depends on; `upstream_key` is `features.Upstream.key`."""
    facts = [SCHEMA, upstream_key, asdict(budget), _facts(task)]
    return hashlib.sha256(json_text(facts, ascii=True).encode()).hexdigest()[:32]


def _facts(task: Task) -> list[Any]:
    items = [[identity(item.sound), item.split, item.query, _answer(item)] for item in task.items]
    folds = [_facts(fold) for fold in task.folds]
    return [task.kind, task.metric, KINDS[task.kind].stack_samples > 0, task.pairs, items, folds]


def _answer(item: Item) -> Any:
    if isinstance(item.target, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(item.target).tobytes()).hexdigest()
    return sorted(item.target) if isinstance(item.target, frozenset) else item.target
