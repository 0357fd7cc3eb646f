"""Query by example: the demo's own search, scored as SUPERB scores it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from known import item, one_hot, store_of

from speechpress.compressor.evaluate import qbe
from speechpress.compressor.tasks.metrics import interval
from speechpress.compressor.tasks.task import Task
from speechpress.runtime.demo import dtw as search

X, Y = [0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]


def recordings(targets=("x", "y")):
    """In val and test: a query for each word, and recordings that hold one of them or nothing."""
    frames = {}
    for split in ("val", "test"):
        for word, shape in zip(targets, (X, Y), strict=True):
            frames[item(f"{split}-q{word}", split, word, query=True)] = one_hot(shape, seed=1)
            for n in range(3):
                rows = one_hot([-1] * 3 + shape + [-1] * 5, seed=n + 2)
                frames[item(f"{split}-{word}{n}", split, frozenset([word]))] = rows
        for n in range(3):
            frames[item(f"{split}-{n}", split, frozenset())] = one_hot([-1, 5, 1, -1, 3, -1, 2, 0, -1], seed=n)
    return frames


def test_words_are_found_in_recordings_that_may_hold_none(tmp_path):
    frames = recordings()
    task = Task("qbe", "search", tuple(frames))
    scores, targets = qbe.scored(task, store_of(tmp_path, frames), "test", 0)
    assert scores.shape == targets.shape == (2, 9) and targets.sum() == 6
    assert np.allclose(scores.mean(1), 0, atol=1e-5) and np.allclose(scores.std(1), 1, atol=1e-3)
    assert scores[targets].min() > scores[~targets].max()
    solved = qbe.solve_search(task, store_of(tmp_path, frames))
    assert solved["test"] == pytest.approx(1) and solved["ci95"] == pytest.approx((1, 1))


def test_the_layer_is_chosen_on_val(tmp_path):
    frames = {one: torch.cat([torch.randn_like(rows), rows], 1) for one, rows in recordings().items()}
    solved = qbe.solve_search(Task("qbe", "search", tuple(frames)), store_of(tmp_path, frames))
    assert solved["layer_weights"] == (0.0, 1.0) and solved["val"] == pytest.approx(1)


def test_the_layer_is_chosen_on_val_even_where_another_is_better_on_test(tmp_path):
    """Layer 0 hears the words of val only, layer 1 those of test only."""
    frames = {}
    for one, rows in recordings().items():
        deaf = torch.randn(rows.shape, generator=torch.Generator().manual_seed(len(frames)))
        frames[one] = torch.cat([rows, deaf] if one.split == "val" else [deaf, rows], 1)
    task, store = Task("qbe", "search", tuple(frames)), store_of(tmp_path, frames)
    solved = qbe.solve_search(task, store)
    assert solved["layer_weights"] == (1.0, 0.0) and solved["val"] == pytest.approx(1)
    assert solved["test"] == qbe.max_twv(*qbe.scored(task, store, "test", 0)) < 0.9
    assert qbe.max_twv(*qbe.scored(task, store, "test", 1)) == pytest.approx(1)


def test_the_interval_is_the_normal_one_of_95_percent_over_queries():
    """Each query is found or not, so the value is a share: 1.96 standard errors to either side."""
    found = np.arange(400) < 260
    scores = np.stack([found.astype(float), np.zeros(400), np.zeros(400)], 1)
    targets = np.stack([np.ones(400, bool), np.zeros(400, bool), np.zeros(400, bool)], 1)
    assert qbe.max_twv(scores, targets) == pytest.approx(0.65)
    low, high = interval(qbe._draws(scores, targets))
    assert (high - low) / 2 == pytest.approx(1.96 * (0.65 * 0.35 / 400) ** 0.5, rel=0.08)


def test_scores_are_those_of_the_demos_search(tmp_path, monkeypatch):
    frames = recordings()
    task, store = Task("qbe", "search", tuple(frames)), store_of(tmp_path, frames)
    calls = []
    monkeypatch.setattr(qbe, "search", lambda *given: calls.append(1) or search.search(*given))
    qbe.scored(task, store, "test", 0)
    assert len(calls) == 9


@pytest.mark.parametrize("module", ["compressor/evaluate/qbe.py", "runtime/demo/spotting.py"])
def test_there_is_one_search_for_the_demo_and_the_evaluation(module):
    tree = ast.parse((Path(__file__).parents[2] / module).read_text())
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("dtw")
        for alias in node.names
    }
    # Of a space, `search` is the one of the same file.
    assert "Space" in taken
