"""Many tasks at once: the same numbers whatever the number of workers, kept as they come, and stopped when asked."""

import pytest
from known import HOP, SPLITS, item, one_hot, store_of, texts

from speechpress.compressor.evaluate import solve as jobs_module
from speechpress.compressor.evaluate.features import LOG_MEL
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.solve import Job, ScoreStore, solve_jobs, solve_there
from speechpress.compressor.tasks.task import Task
from speechpress.runtime.errors import SpeechpressError

BUDGET = Budget(steps=6, batch=4, lrs=(1e-2,), seeds=1)
FRAMES = {
    item(f"{split}{n}", split, text): one_hot([k for letter in text for k in ("abc".index(letter), -1)])
    for split in SPLITS
    for n, text in enumerate(texts(6, seed=SPLITS.index(split)))
}
TASK = Task("pr", "ctc", tuple(FRAMES))
JOBS = [Job(f"pr{n}", TASK, "mel") for n in range(4)]


def run(tmp_path, workers, scores=None, jobs=JOBS, heard=None):
    lines = [] if heard is None else heard
    kept = {"mel": store_of(tmp_path, FRAMES)}
    return solve_jobs(jobs, {"mel": LOG_MEL}, kept, BUDGET, ScoreStore(scores), workers, lines.append)


def test_workers_change_nothing_but_the_time(tmp_path):
    one, two = run(tmp_path, 1), run(tmp_path, 2)
    assert one == two and set(one) == {(f"pr{n}", "mel") for n in range(4)}


def test_outcomes_are_kept_and_not_solved_again(tmp_path, monkeypatch):
    heard = []
    first = run(tmp_path, 1, tmp_path / "cache", JOBS[:1], heard)
    assert "[1 of 1]" in heard[0] and "PER" in heard[0]
    monkeypatch.setattr(jobs_module, "solve", lambda *given: pytest.fail("solved again"))
    again = run(tmp_path, 2, tmp_path / "cache", JOBS[:1], heard)
    assert again == first and "kept from before" in heard[1]


def test_features_that_a_node_does_not_see_are_said(tmp_path):
    with pytest.raises(SpeechpressError, match=r"does not see the features; give a --cache on a disk that all nodes"):
        solve_there(None, TASK, tmp_path / "elsewhere", HOP, BUDGET, None)
