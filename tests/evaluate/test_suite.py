"""The suite from end to end on tiny corpora: what it tells, that a second run computes nothing, and sanity."""

import json
from dataclasses import replace

import pytest

from speechpress.compressor.evaluate import extract as extraction
from speechpress.compressor.evaluate import solve as solve_jobs
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import evaluate_suite
from speechpress.compressor.tasks.mini import Sizes, mini_task
from speechpress.runtime.errors import SpeechpressError

QUICK = Budget(steps=6, batch=4, lrs=(1e-2,), seeds=1)
NAMES = ("ks", "ic", "sf", "sid", "asv", "sd", "pr", "asr", "qbe")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))


@pytest.fixture(scope="module")
def tasks(mini_data):
    sizes = Sizes(keywords=12, voices=24, per_speaker=3, mixtures=6, words=5, queries=2)
    return [mini_task(name, mini_data, sizes) for name in NAMES]


@pytest.fixture(scope="module")
def first(tasks, tiny_pair, tmp_path_factory):
    """A first run of everything, its cache, and what it said."""
    cache, heard = tmp_path_factory.mktemp("cache"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
        patch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))
        result = evaluate_suite(tiny_pair / "student", tasks, budget=QUICK, cache=cache, listen=heard.append)
    return result, cache, heard


def test_it_tells_every_task_of_every_upstream_as_plain_json(first):
    result, _, heard = first
    assert list(result["tasks"]) == list(NAMES) and json.loads(json.dumps(result)) == result
    for task in result["tasks"].values():
        for name in ("student", "teacher", "random", "logmel"):
            low, high = task["ci95"][name]
            assert low - 1e-9 <= task[name] <= high + 1e-9 and 0 <= task["quality"][name] <= 1
        assert task["better"] == ("lower" if task["metric"] in ("PER", "WER", "EER", "DER") else "higher")
        assert [len(task["layer_weights"][name]) for name in ("student", "teacher", "logmel")] == [2, 3, 1]
    assert set(result["fidelity"]) == {"1", "2"} and result["against"] == [] and result["sanity"] is None
    assert result["size_bytes"]["teacher"] > result["size_bytes"]["student"] > result["size_bytes"]["logmel"] == 0
    assert heard[-1].startswith("qbe logmel") or "[36 of 36]" in heard[-1]


def test_a_second_run_computes_nothing(first, tasks, tiny_pair, monkeypatch):
    result, cache, _ = first
    files = sorted(cache.rglob("*"))
    monkeypatch.setattr(extraction, "read_sound", lambda sound: pytest.fail("read again"))
    monkeypatch.setattr(solve_jobs, "solve", lambda *given: pytest.fail("solved again"))
    again = evaluate_suite(tiny_pair / "student", tasks, budget=QUICK, cache=cache)
    assert again["tasks"] == result["tasks"] and sorted(cache.rglob("*")) == files


def test_ten_tasks_cost_one_forward_pass(first, tasks, tiny_pair, monkeypatch):
    """Another budget solves anew, from the same features."""
    _, cache, _ = first
    monkeypatch.setattr(extraction, "read_sound", lambda sound: pytest.fail("read again"))
    evaluate_suite(tiny_pair / "student", tasks[:1], budget=replace(QUICK, seeds=2), cache=cache)


def test_other_weights_are_heard_anew_but_the_teacher_is_not(first, tasks, tiny_pair, small_checkpoint, monkeypatch):
    _, cache, _ = first
    heard = []
    hear = extraction._hear
    monkeypatch.setattr(
        extraction, "_hear", lambda upstream, *rest: (heard.append(upstream.key), hear(upstream, *rest))
    )
    solved = []
    solve = solve_jobs.solve
    monkeypatch.setattr(solve_jobs, "solve", lambda task, *rest: (solved.append(task.name), solve(task, *rest))[1])
    result = evaluate_suite(
        tiny_pair / "student", tasks[:1], against=[str(small_checkpoint)], budget=QUICK, cache=cache
    )
    assert result["against"] == ["small"] and result["tasks"]["ks"]["small"] is not None and solved == ["ks"]
    with_work = {store.name for store in cache.iterdir() if store.name in set(heard)}
    assert len(with_work) >= 1


def test_the_last_layer_alone(tasks, tiny_pair):
    result = evaluate_suite(tiny_pair / "student", tasks[:1], layers="last", budget=QUICK)
    weights = result["tasks"]["ks"]["layer_weights"]
    assert [len(one) for one in weights.values()] == [1, 1, 1, 1] and result["layers"] == "last"
    assert set(result["fidelity"]) == {"1", "2"}


def test_a_bundle_is_measured_as_it_runs(tasks, small_bundle):
    result = evaluate_suite(small_bundle, tasks[:1], budget=QUICK)
    task = result["tasks"]["ks"]
    assert result["latency"]["chunk_ms"] == 80 and task["student"] is not None and task["random"] is None
    assert any("a bundle gives its last layer only" in note for note in result["notes"])


def test_sanity_learns_from_shuffled_labels_and_complains(tasks, tiny_pair):
    result = evaluate_suite(tiny_pair / "student", tasks[:1], sanity=True, budget=QUICK)
    shuffled = result["tasks"]["ks"]["shuffled"]
    assert shuffled["of"] == "teacher" and shuffled["ci95"][0] <= shuffled["test"] <= shuffled["ci95"][1]
    assert set(result["sanity"]) == {"ok", "complaints"} and result["sanity"]["ok"] == (
        not result["sanity"]["complaints"]
    )


def test_clips_that_cannot_be_read_are_told(tasks, tiny_pair, tmp_path):
    from speechpress.compressor.data.sounds import clip

    (tmp_path / "bad.wav").write_bytes(b"RIFF no more")
    item = replace(tasks[0].part("train")[0], sound=clip(tmp_path / "bad.wav"))
    broken = replace(tasks[0], items=(*tasks[0].items, item))
    result = evaluate_suite(tiny_pair / "student", [broken], budget=QUICK)
    assert [one["path"] for one in result["skipped"]] == [str(tmp_path / "bad.wav")]
    assert result["tasks"]["ks"]["clips"]["train"] == tasks[0].counts()["train"]


def test_what_is_wrong_is_said_before_anything_is_heard(tasks, tiny_pair, monkeypatch):
    monkeypatch.setattr(extraction, "read_sound", lambda sound: pytest.fail("work began"))
    with pytest.raises(SpeechpressError, match="--layers is weighted or last, not 'first'"):
        evaluate_suite(tiny_pair / "student", tasks, layers="first")
    with pytest.raises(SpeechpressError, match="there is no task left"):
        evaluate_suite(tiny_pair / "student", [])
    with pytest.raises(SpeechpressError, match="does not stream, so it has no chunks"):
        evaluate_suite(tiny_pair / "student", tasks, chunk_ms=80.0)
    gone = replace(
        tasks[0],
        items=(
            *tasks[0].items,
            replace(tasks[0].items[0], sound=tasks[0].items[0].sound.__class__((("gone.wav", 0.0),))),
        ),
    )
    with pytest.raises(SpeechpressError, match=r"1 labelled files are not there, the first is gone\.wav"):
        evaluate_suite(tiny_pair / "student", [gone])
