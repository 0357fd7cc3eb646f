"""eval.json: beside its weights, added to by further tasks, never mixed with what was measured otherwise."""

import json
import shutil

import pytest
import torch
from bundled import copied

from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.models.scores import scores_of, stamped, write_back
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.errors import SpeechpressError


def task(value, metric="accuracy"):
    quality = 1 - value if metric == "EER" else value
    return {
        "metric": metric,
        "student": value,
        "teacher": None,
        "quality": {"student": quality},
        "ci95": {"student": [value - 0.1, value + 0.1]},
    }


def result(**tasks):
    return {"tasks": tasks, "layers": "weighted", "latency": None, "budget": {"steps": 1}, "against": []}


@pytest.fixture
def folder(small_checkpoint, tmp_path):
    return copied(small_checkpoint, tmp_path)


def read(folder):
    return json.loads((folder / "eval.json").read_text())


def test_further_tasks_add_to_it_and_the_same_task_takes_its_place(folder):
    assert write_back(stamped(result(ks=task(0.5), sid=task(0.4)), "mini", folder), folder) == [folder / "eval.json"]
    write_back(stamped(result(ks=task(0.6)), "mini", folder), folder)
    found = read(folder)
    assert found["suite"] == "mini" and found["created"] and len(found["of"]["weights_sha256"]) == 64
    assert {name: one["student"] for name, one in found["tasks"].items()} == {"ks": 0.6, "sid": 0.4}


@pytest.mark.parametrize(
    ("changes", "suite"),
    [({}, "superb"), ({"layers": "last"}, "mini"), ({"latency": {"chunk_ms": 80.0}}, "mini"), ({"budget": {}}, "mini")],
)
def test_what_was_measured_otherwise_is_kept_beside_it(folder, changes, suite):
    write_back(stamped(result(ks=task(0.5)), "mini", folder), folder)
    written = write_back(stamped({**result(sid=task(0.4)), **changes}, suite, folder), folder)
    assert written == [folder / "eval.json", folder / "eval-mini-weighted.json"]
    assert list(read(folder)["tasks"]) == ["sid"]
    assert list(json.loads(written[1].read_text())["tasks"]) == ["ks"]


def test_other_weights_begin_anew(folder):
    write_back(stamped(result(ks=task(0.5)), "mini", folder), folder)
    assert scores_of(folder)["tasks"]["ks"]["value"] == 0.5
    encoder = load_encoder(folder)
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    save_encoder(folder, encoder)
    assert scores_of(folder) is None
    assert write_back(stamped(result(sid=task(0.4)), "mini", folder), folder) == [folder / "eval.json"]
    assert list(read(folder)["tasks"]) == ["sid"]


def test_a_bundle_keeps_its_own_and_a_teacher_none(small_bundle, tiny_teacher, tmp_path):
    folder = copied(small_bundle, tmp_path)
    document = stamped(result(ks=task(0.5)), "mini", folder)
    assert document["of"] == {"digest": read_bundle(folder).document["digest"]}
    assert write_back(document, folder) == [folder / "eval.json"] and read_bundle(folder)
    shutil.copytree(tiny_teacher, tmp_path / "teacher")
    assert write_back(stamped(result(), "mini", tmp_path / "teacher"), tmp_path / "teacher") == []
    assert write_back(stamped(result(), "mini", "hubert-mini"), "hubert-mini") == []


def test_a_file_of_something_else_is_replaced_and_a_folder_that_cannot_be_written_to_is_said(folder):
    (folder / "eval.json").write_text("[]")
    assert scores_of(folder) is None
    write_back(stamped(result(ks=task(0.5)), "mini", folder), folder)
    document = stamped(result(ks=task(0.7)), "mini", folder)
    (folder / "eval.json").unlink()
    (folder / "eval.json").mkdir()
    with pytest.raises(SpeechpressError, match=r"eval\.json: could not be written"):
        write_back(document, folder)


def test_the_scores_go_into_the_lineage_of_a_bundle(folder):
    assert open_source(folder).lineage["scores"] is None
    write_back(stamped(result(ks=task(0.5), asv=task(0.2, "EER")), "mini", folder), folder)
    scores = open_source(folder).lineage["scores"]
    assert scores["suite"] == "mini" and scores["chunk_ms"] is None
    assert scores["tasks"]["asv"] == {
        "metric": "EER",
        "value": 0.2,
        "quality": 0.8,
        "ci95": [0.1, pytest.approx(0.3)],
        "teacher": None,
    }
