"""Solving: the sweep on val, seeds, folds, and that every upstream gets the same budget."""

from dataclasses import replace

import numpy as np
import pytest
from known import HOP, SPLITS, item, one_hot, store_of, texts

from speechpress.compressor.evaluate import solve as solving
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.solve import class_parts, solve
from speechpress.compressor.tasks.task import Task, checked

TINY = Budget(steps=8, batch=4, lrs=(1e-3, 1e-2), seeds=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.STEPS", 50)
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))


def classes(seed=0, splits=SPLITS):
    return {
        item(f"{seed}{split}{n}", split, "abc"[n % 3], f"{split}{n}"): one_hot([n % 3] * 5, seed=seed + n)
        for split in splits
        for n in range(12)
    }


def test_classes_are_solved_from_means(tmp_path):
    frames = classes()
    task = checked(Task("ks", "classify", tuple(frames)))
    score = solve(task, store_of(tmp_path, frames), HOP, TINY)
    assert score.test == 1 and len(score.seeds) == 2 and score.layer_weights == (1.0,)
    parts, count = class_parts(task, store_of(tmp_path, frames))
    assert count == 3 and parts["train"].x.shape == (12, 1, 6) and parts["val"].y.tolist() == [0, 1, 2] * 4


def test_folds_are_solved_one_by_one_and_averaged(tmp_path):
    good = classes()
    bad = {one: one_hot([0] * 5, noise=0.0) for one in classes(seed=100)}
    folds = tuple(checked(Task("er", "classify", tuple(part))) for part in (good, bad))
    task = Task("er", "classify", tuple({**good, **bad}), folds=folds)
    score = solve(task, store_of(tmp_path, {**good, **bad}), HOP, TINY)
    assert score.test == pytest.approx((1 + 1 / 3) / 2)
    assert score.ci95[0] < score.test < score.ci95[1] and len(score.seeds) == 2


def letters():
    return {
        item(f"{split}{n}", split, text): one_hot([k for letter in text for k in ("abc".index(letter), -1)])
        for split in SPLITS
        for n, text in enumerate(texts(6, seed=SPLITS.index(split)))
    }


def test_the_learning_rate_is_chosen_on_val_and_every_seed_is_tested(tmp_path):
    frames = letters()
    score = solve(Task("pr", "ctc", tuple(frames)), store_of(tmp_path, frames), HOP, TINY)
    assert score.lr in TINY.lrs and len(score.seeds) == 2
    assert score.test == pytest.approx(np.mean(score.seeds))
    assert score.std == pytest.approx(np.std(score.seeds, ddof=1), abs=1e-6)
    assert replace(score, seeds=(0.5,)).std == 0.0
    assert score == solve(Task("pr", "ctc", tuple(frames)), store_of(tmp_path, frames), HOP, TINY)


def test_a_rate_is_tried_for_a_third_of_the_steps(tmp_path, monkeypatch):
    frames, asked, train = letters(), [], solving.train
    budget = Budget(steps=8, batch=4, lrs=(1e-3, 1e-2, 3e-2), seeds=2)
    monkeypatch.setattr(
        solving, "train", lambda head, own, *rest: (asked.append(own.steps), train(head, own, *rest))[1]
    )
    solve(Task("pr", "ctc", tuple(frames)), store_of(tmp_path, frames), HOP, budget)
    assert asked == [3] * 3 + [8] * 2


def test_a_search_is_no_matter_of_training(tmp_path):
    frames = {}
    for split in ("val", "test"):
        for n in range(8):
            word = ("x", "y")[n % 2]
            shape = [0, 0, 1, 1, 2, 2] if word == "x" else [3, 3, 4, 4, 0, 0]
            frames[item(f"{split}{n}", split, word, query=n < 2)] = one_hot([-1] * 4 + shape + [-1] * 4, seed=n)
    task = checked(Task("qbe", "search", tuple(frames)))
    score = solve(task, store_of(tmp_path, frames), HOP, TINY)
    assert score.test == score.val == pytest.approx(1) and score.layer_weights == (1.0,)
