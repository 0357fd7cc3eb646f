"""What is seen to be wrong before any work, and what is wrong with results."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sounds import write

from speechpress.compressor.data.sounds import clip
from speechpress.compressor.evaluate.checks import check_tasks, complaints, remarks
from speechpress.compressor.evaluate.features import LOG_MEL
from speechpress.compressor.evaluate.solve import TaskScore
from speechpress.compressor.tasks.kinds import Item
from speechpress.compressor.tasks.task import Task
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture
def task(tmp_path):
    items = [Item(clip(write(tmp_path / f"{s}.wav", 0.5)), s, tuple("abcdef"), s) for s in ("train", "val", "test")]
    return Task("pr", "ctc", tuple(items))


def test_seconds_are_added_up(task):
    assert check_tasks([task, task], [LOG_MEL]) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"receptive_samples": 16_000}, "3 clips are shorter than the 1000 ms"),
        (
            {"limit_s": 0.4},
            r"runs at most 0\.4 s at once, but the longest clip has 0\.5 s; export it with --offline-seconds",
        ),
        ({"hop_samples": 1600}, r"a frame every 100 ms has fewer frames than tokens in 1 of 1 clips"),
    ],
)
def test_an_upstream_that_cannot_hear_the_clips(task, changes, said):
    with pytest.raises(SpeechpressError, match=said):
        check_tasks([task], [LOG_MEL, replace(LOG_MEL, **changes)])


def test_an_upstream_that_is_too_slow_for_diarisation(task):
    items = tuple(replace(item, target=np.ones((5, 2), bool)) for item in task.items)
    with pytest.raises(SpeechpressError, match="decides every 100 ms, but an upstream has a frame every 200 ms only"):
        check_tasks([replace(task, kind="diarize", items=items)], [replace(LOG_MEL, hop_samples=3200)])
    check_tasks([replace(task, kind="diarize", items=items)], [LOG_MEL])


def test_a_file_that_is_gone(task):
    gone = replace(task, items=(*task.items, Item(clip("nowhere/x.wav"), "test", ("a",))))
    with pytest.raises(
        SpeechpressError, match=r"task 'pr': 1 labelled files are not there, the first is nowhere/x\.wav"
    ):
        check_tasks([gone], [LOG_MEL])


def score(test):
    return TaskScore(test, test, (test - 0.05, test + 0.05), (test,))


def test_what_is_unusual_is_remarked(task):
    scores = {"pr": {"student": score(0.3), "teacher": score(0.4), "random": score(0.2), "logmel": score(0.5)}}
    said = remarks([task], scores)
    assert said == [
        "pr: the student is above its teacher",
        "pr: random above the student: the student kept nothing of the teacher here",
    ]
    scores["pr"] |= {"teacher": score(0.1), "random": score(0.9)}
    assert remarks([task], scores) == []


def entry(metric="accuracy", chance=0.1, shuffled=None, spread=0.0, **values):
    names = ("student", "teacher", "random", "logmel")
    found = {name: values.get(name) for name in names}
    ci95 = {name: None if value is None else [value - 0.05, value + 0.05] for name, value in found.items()}
    told = None if shuffled is None else {"of": "teacher", "test": shuffled, "ci95": [shuffled - 0.05, shuffled + 0.05]}
    seeds = {name: None if value is None else [value - spread, value, value + spread] for name, value in found.items()}
    told = {} if told is None else {"shuffled": told}
    return {"metric": metric, "chance": chance, "ci95": ci95, "seeds": seeds, **found, **told}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (entry(student=0.5, teacher=0.9, random=0.3, logmel=0.4, shuffled=0.12), None),
        (entry(student=0.95, teacher=0.9, random=0.3, shuffled=0.1), None),  # within the intervals
        (entry(student=0.5, teacher=0.6, random=0.75), "random .* is above the teacher"),
        (entry(student=0.8, teacher=0.6), "student .* is above the teacher"),
        (entry(student=0.5, teacher=0.9, shuffled=0.3), "with shuffled labels teacher still gets accuracy 0.300"),
        (entry(student=0.5, teacher=0.9, random=0.1, chance=0.3), "random .* is below chance"),
        (entry("EER", 0.5, 0.45, student=0.2, teacher=0.1, random=0.4), None),
        (entry("EER", 0.5, 0.3, student=0.2, teacher=0.1), "shuffled"),
        (entry("EER", 0.5, student=0.2, teacher=0.4), "student .* is above the teacher"),
        (entry("PER", 1.0, 0.85, student=0.4, teacher=0.3), None),  # a blind transcriber spells what is frequent
        (entry("PER", 1.0, 0.5, student=0.4, teacher=0.3), "shuffled"),
        (entry(student=0.5, chance=None, shuffled=0.9), None),
        (entry(student=0.8, teacher=0.6, spread=0.01), "student .* is above the teacher"),
        (entry(student=0.8, teacher=0.6, spread=0.08), None),  # seeds differ by more
    ],
)
def test_what_must_not_be_is_said(task, said):
    kind = {"accuracy": "classify", "EER": "verify", "PER": "ctc"}[task["metric"]]
    found = complaints({"x": task}, {"x": kind})
    if said is None:
        assert found == []
    else:
        assert len(found) == 1 and re.search(said, found[0]), found
