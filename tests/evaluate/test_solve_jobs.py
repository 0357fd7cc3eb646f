"""Many tasks at once: the same numbers whatever the number of workers, kept as they come, and stopped when asked."""

import threading

import pytest
from known import HOP, SPLITS, item, one_hot, store_of, texts

from speechpress.compressor.evaluate import solve as jobs_module
from speechpress.compressor.evaluate.features import LOG_MEL
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.solve import Job, ScoreStore, solve_jobs
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
    one, three = run(tmp_path, 1), run(tmp_path, 3)
    assert one == three and set(one) == {(f"pr{n}", "mel") for n in range(4)}


def test_outcomes_are_kept_and_not_solved_again(tmp_path, monkeypatch):
    heard = []
    first = run(tmp_path, 1, tmp_path / "cache", JOBS[:1], heard)
    assert "[1 of 1]" in heard[0] and "PER" in heard[0]
    monkeypatch.setattr(jobs_module, "solve", lambda *given: pytest.fail("solved again"))
    again = run(tmp_path, 2, tmp_path / "cache", JOBS[:1], heard)
    assert again == first and "kept from before" in heard[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_one_ends_all(tmp_path, monkeypatch, workers):
    before = threading.active_count()

    def fails(*given):
        raise SpeechpressError("the disk is full")

    monkeypatch.setattr(jobs_module, "solve", fails)
    with pytest.raises(SpeechpressError, match="the disk is full"):
        run(tmp_path, workers)
    assert threading.active_count() == before


def test_others_stop_at_their_next_step(tmp_path, monkeypatch):
    solve, turns = jobs_module.solve, []

    def first_fails(task, store, hop, budget, breathe, *keep):
        turns.append(1)
        if len(turns) == 1:
            raise KeyboardInterrupt
        return solve(task, store, hop, Budget(steps=100_000, batch=4, lrs=(1e-2,), seeds=1), breathe, *keep)

    monkeypatch.setattr(jobs_module, "solve", first_fails)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 2)
    assert len(turns) <= 2 and HOP == 320
