"""What was solved once is known by everything that it depends on."""

from dataclasses import replace

import numpy as np
import pytest
from known import item

from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.solve import ScoreStore, TaskScore, score_key
from speechpress.compressor.tasks.task import Task

SCORE = TaskScore(0.5, 0.6, (0.4, 0.7), (0.4, 0.6), (0.1, 0.9), 1e-3, {"CER": 0.25})
TASK = Task("asv", "verify", (item("a", "train", "x"), item("b", "test", "y")), pairs=((0, 1, True),))


def test_an_outcome_comes_back_as_it_was(tmp_path):
    store = ScoreStore(tmp_path)
    assert store.get("key") is None
    store.put("key", SCORE)
    assert ScoreStore(tmp_path).get("key") == SCORE
    (tmp_path / "outcomes" / "key.json").write_text("{")
    assert store.get("key") is None
    (tmp_path / "outcomes" / "key.json").write_text('{"test": 1}')
    assert store.get("key") is None


def test_without_a_cache_nothing_is_kept():
    store = ScoreStore(None)
    store.put("key", SCORE)
    assert store.get("key") is None


@pytest.mark.parametrize(
    "other",
    [
        replace(TASK, pairs=((0, 1, False),)),
        replace(TASK, items=TASK.items[:1]),
        replace(TASK, items=(item("a", "train", "z"), TASK.items[1])),
        replace(TASK, items=(item("a", "val", "x"), TASK.items[1])),
        replace(TASK, items=(item("c", "train", "x"), TASK.items[1])),
        replace(TASK, kind="search"),
        replace(TASK, folds=(TASK,)),
    ],
)
def test_another_task_has_another_key(other):
    assert score_key(other, "up", Budget()) != score_key(TASK, "up", Budget())


def test_another_budget_or_upstream_too_but_not_another_name():
    key = score_key(TASK, "up", Budget())
    assert key == score_key(replace(TASK, name="another", notes=("said",)), "up", Budget())
    assert len({key, score_key(TASK, "down", Budget()), score_key(TASK, "up", Budget(steps=9))}) == 3


def test_answers_of_any_kind_are_told_apart():
    keys = set()
    for target in ("x", ("x", "y"), frozenset(["x", "y"]), np.ones((2, 2), bool), np.zeros((2, 2), bool)):
        keys.add(score_key(Task("t", "search", (item("a", "val", target),)), "up", Budget()))
    assert len(keys) >= 4
