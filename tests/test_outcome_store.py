"""What was solved once is known by everything that it depends on."""

from dataclasses import replace

import numpy as np
import pytest
from known import item

from speechpress.compressor.downstream import Budget
from speechpress.compressor.outcome_store import OutcomeStore, outcome_key
from speechpress.compressor.problems import Problem
from speechpress.compressor.solve import Outcome

OUTCOME = Outcome(0.5, 0.6, (0.4, 0.7), (0.4, 0.6), (0.1, 0.9), 1e-3, {"CER": 0.25})
PROBLEM = Problem("asv", "verify", (item("a", "train", "x"), item("b", "test", "y")), pairs=((0, 1, True),))


def test_an_outcome_comes_back_as_it_was(tmp_path):
    store = OutcomeStore(tmp_path)
    assert store.get("key") is None
    store.put("key", OUTCOME)
    assert OutcomeStore(tmp_path).get("key") == OUTCOME
    (tmp_path / "outcomes" / "key.json").write_text("{")
    assert store.get("key") is None
    (tmp_path / "outcomes" / "key.json").write_text('{"test": 1}')
    assert store.get("key") is None


def test_without_a_cache_nothing_is_kept():
    store = OutcomeStore(None)
    store.put("key", OUTCOME)
    assert store.get("key") is None


@pytest.mark.parametrize(
    "other",
    [
        replace(PROBLEM, pairs=((0, 1, False),)),
        replace(PROBLEM, items=PROBLEM.items[:1]),
        replace(PROBLEM, items=(item("a", "train", "z"), PROBLEM.items[1])),
        replace(PROBLEM, items=(item("a", "val", "x"), PROBLEM.items[1])),
        replace(PROBLEM, items=(item("c", "train", "x"), PROBLEM.items[1])),
        replace(PROBLEM),
        replace(PROBLEM, folds=(PROBLEM,)),
    ],
)
def test_another_problem_has_another_key(other):
    assert outcome_key(other, "up", Budget()) != outcome_key(PROBLEM, "up", Budget())


def test_another_budget_or_upstream_too_but_not_another_name():
    key = outcome_key(PROBLEM, "up", Budget())
    assert key == outcome_key(replace(PROBLEM, name="another", notes=("said",)), "up", Budget())
    assert len({key, outcome_key(PROBLEM, "down", Budget()), outcome_key(PROBLEM, "up", Budget(steps=9))}) == 3


def test_answers_of_any_kind_are_told_apart():
    keys = set()
    for target in ("x", ("x", "y"), frozenset(["x", "y"]), np.ones((2, 2), bool), np.zeros((2, 2), bool)):
        keys.add(outcome_key(Problem("t", "search", (item("a", "val", target),)), "up", Budget()))
    assert len(keys) >= 4
