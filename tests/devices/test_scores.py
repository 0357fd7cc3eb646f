"""Scores of bundles on the way to the report: whose they are, what can be compared, and the picture."""

import json
import re

import pytest
from bundled import copied
from profiled import made

from speechpress.compressor.export.card import score_lines
from speechpress.devices.report import build, write_html
from speechpress.devices.scores import common_tasks, mean_quality, scores_of, words
from speechpress.runtime.bundle import digest, read_bundle

TOLD = {
    "suite": "mini",
    "layers": "weighted",
    "chunk_ms": None,
    "tasks": {
        "ks": {"metric": "accuracy", "value": 0.9, "quality": 0.9, "ci95": [0.8, 0.95], "teacher": 0.95},
        "asv": {"metric": "EER", "value": 0.2, "quality": 0.8, "ci95": [0.1, 0.3], "teacher": None},
    },
}


@pytest.fixture
def bundle(small_bundle, tmp_path):
    """A bundle whose checkpoint was measured."""
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / "bundle.json").read_text())
    document["lineage"]["scores"] = TOLD
    document["digest"] = digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))
    return read_bundle(folder)


def own(bundle, **changes):
    result = {
        "of": {"digest": bundle.document["digest"]},
        "suite": "mini",
        "layers": "last",
        "latency": {"chunk_ms": 80.0},
        "tasks": {"ks": {"quality": {"student": 0.7}}},
        **changes,
    }
    (bundle.path / "eval.json").write_text(json.dumps(result))


def test_scores_of_the_checkpoint_and_of_the_bundle_itself(bundle, small_bundle):
    assert scores_of(read_bundle(small_bundle)) is None
    found = scores_of(bundle)
    assert found["of"] == "checkpoint" and found["qualities"] == {"ks": 0.9, "asv": 0.8}
    own(bundle)
    found = scores_of(bundle)
    assert found == {"of": "bundle", "suite": "mini", "layers": "last", "chunk_ms": 80.0, "qualities": {"ks": 0.7}}
    assert words(found) == "mini suite, measured on the bundle, its last layer, in chunks of 80 ms"
    own(bundle, of={"digest": "another"})
    assert scores_of(bundle)["of"] == "checkpoint"
    (bundle.path / "eval.json").write_text("[1]")
    assert scores_of(bundle)["of"] == "checkpoint"


def record(seed, suite="mini", **qualities):
    found = made(5.0 + seed, seed=seed)
    scores = {"of": "checkpoint", "suite": suite, "layers": "weighted", "chunk_ms": None, "qualities": qualities}
    found["accuracy"]["scores"] = scores if qualities else None
    return found


def test_only_tasks_that_all_have_and_of_one_suite_are_compared():
    records = [record(1, ks=0.5, sid=0.7), record(2, ks=0.6), record(3), made(9.0, seed=4)]
    assert common_tasks(records) == ("ks",)
    assert [mean_quality(one, ("ks",)) for one in records] == [0.5, 0.6, None, None]
    assert common_tasks([record(1, ks=0.5), record(2, "superb", ks=0.6)]) == ()
    assert mean_quality(records[0], ()) is None and common_tasks([]) == ()


def test_the_report_draws_scores_against_latency(tmp_path):
    view = build([record(1, ks=0.5, sid=0.75), record(2, ks=0.6, sid=0.75)], [])
    assert [row["score"] for row in view.document()["results"]] == [0.625, pytest.approx(0.675)]
    write_html(tmp_path / "report.html", view)
    page = (tmp_path / "report.html").read_text()
    assert "Tasks: ks, sid" in page and "mean score, 1 is perfect" in page
    assert "A: mini suite, measured on the checkpoint, a learned sum of layers" in page
    assert len(re.findall(r'<circle class="fill\d"', page)) >= 4
    write_html(tmp_path / "plain.html", build([made(5.0, seed=1)], []))
    assert "Tasks:" not in (tmp_path / "plain.html").read_text()


def test_the_card_tells_scores_with_their_intervals():
    assert score_lines(None) == []
    (line,) = score_lines(TOLD)
    assert line == (
        "the checkpoint on the mini suite, learned sum of layers: ks accuracy 0.900 (0.800 to 0.950, its teacher "
        "0.950); asv EER 0.200 (0.100 to 0.300)"
    )
