"""Query by example: the demo's own search, scored as SUPERB scores it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from known import item, one_hot, store_of

from speechpress.compressor import qbe
from speechpress.compressor.problems import Task
from speechpress.runtime import search

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


def test_scores_are_those_of_the_demos_search(tmp_path, monkeypatch):
    frames = recordings()
    task, store = Task("qbe", "search", tuple(frames)), store_of(tmp_path, frames)
    calls = []
    monkeypatch.setattr(qbe, "search", lambda *given: calls.append(1) or search.search(*given))
    qbe.scored(task, store, "test", 0)
    assert len(calls) == 9


@pytest.mark.parametrize("module", ["compressor/qbe.py", "runtime/spotting.py"])
def test_there_is_one_search_for_the_demo_and_the_evaluation(module):
    tree = ast.parse((Path(__file__).parent.parent / module).read_text())
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("search")
        for alias in node.names
    }
    assert "Space" in taken and taken & {"search", "Search"}
