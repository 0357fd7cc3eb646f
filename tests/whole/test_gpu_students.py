"""Which learning rate benchmarks/gpu_students.py goes on with."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu_students(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_students")


def test_all_seeds_go_on_at_the_best_rate_of_the_first(gpu_students):
    jobs = [gpu_students.Job(name, "pocket", ("train.lr=1e-3", "train.lr=2e-3")) for name in ("a-b-0", "a-b-1", "c-0")]
    assert [gpu_students.rate_of(job) for job in jobs] == [2e-3] * 3
    chosen = gpu_students.at_best(jobs, {"a-b": {1e-3: 0.7, 4e-3: 0.9, 8e-3: 0.8}})
    assert [gpu_students.rate_of(job) for job in chosen] == [4e-3, 4e-3, 2e-3]
    tried = gpu_students.at_rate(jobs[0], 8e-3)
    assert (tried.name, gpu_students.rate_of(tried), gpu_students.kind_of(tried)) == ("a-b-0@0.008", 8e-3, "a-b")


def test_a_student_that_streams_is_judged_in_chunks(gpu_students):
    whole, chunked = {"2": 0.9, "4": 0.7}, {"2": 0.5, "4": 0.3}
    assert gpu_students.mean_cosine({"whole": whole}) == pytest.approx(0.8)
    assert gpu_students.mean_cosine({"whole": whole, "chunked": chunked}) == pytest.approx(0.4)
