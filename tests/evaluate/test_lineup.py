"""Who stands beside whom, what cannot be compared and why, and how near the student is to its teacher."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundled import CHUNK_MS, SMALL, speech_like

from speechpress.compressor.distill.objectives import LayerPairs, save_heads
from speechpress.compressor.evaluate.lineup import _given, comparison_fidelity, open_comparison
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.runtime.bundle import Bundle
from speechpress.runtime.errors import SpeechpressError

WAVES = [torch.from_numpy(speech_like(9000, seed))[None] for seed in range(4)]


def test_a_checkpoint_stands_beside_its_teacher_and_the_floors(tiny_pair, small_checkpoint):
    comparison = open_comparison(tiny_pair / "student", [str(small_checkpoint), str(tiny_pair / "student")])
    assert set(comparison.upstreams) == {"student", "teacher", "random", "logmel", "small", str(tiny_pair / "student")}
    assert comparison.notes == [] and comparison.latency is None
    assert {name: one.layers for name, one in comparison.shown("last").items()} == dict.fromkeys(
        comparison.upstreams, 1
    )
    assert comparison.shown("weighted")["teacher"].layers == 3
    measured = comparison_fidelity(comparison, WAVES)
    assert (
        set(measured["fidelity"]) == {"1", "2"}
        and measured["fidelity_by"] == "linear"
        and measured["fidelity"]["1"] > 0.99
    )


def test_heads_measure_where_there_are_some(tiny_pair, tmp_path):
    shutil.copytree(tiny_pair / "student", tmp_path / "student")
    save_heads(tmp_path / "student", LayerPairs([(1, 1)], 16, 16))
    measured = comparison_fidelity(open_comparison(tmp_path / "student"), WAVES)
    assert measured["fidelity_by"] == "heads" and measured["fidelity"] == pytest.approx({"1": 1.0}, abs=1e-5)


def test_a_bundle_gives_its_last_layer_and_streams(small_bundle):
    comparison = open_comparison(small_bundle)
    assert set(comparison.upstreams) == {"student", "logmel"} and comparison.latency["chunk_ms"] == CHUNK_MS
    assert any("a bundle gives its last layer only" in note for note in comparison.notes)
    assert any("'a teacher' is not available" in note for note in comparison.notes)
    assert comparison_fidelity(comparison, WAVES)["fidelity"] == {}


def test_a_teacher_may_stand_in_the_students_place(tiny_teacher, small_checkpoint):
    comparison = open_comparison(str(tiny_teacher), [str(small_checkpoint)])
    assert set(comparison.upstreams) == {"student", "random", "logmel", "small"}
    assert "is a teacher itself" in comparison.notes[0]
    with pytest.raises(SpeechpressError, match="--chunk-ms has no meaning"):
        open_comparison(str(tiny_teacher), chunk_ms=80.0)


def test_frames_of_another_rate_are_not_compared_and_that_is_said(small_checkpoint, tmp_path):
    shutil.copytree(small_checkpoint, tmp_path / "small")
    shutil.copytree(small_checkpoint, tmp_path / "teacher")
    save_encoder(tmp_path / "teacher", Encoder(replace(SMALL, conv_strides=(80, 8))).eval())
    write_json(tmp_path / "small" / "card.json", {"teacher": {"source": str(tmp_path / "teacher")}})
    comparison = open_comparison(tmp_path / "small")
    assert comparison_fidelity(comparison, WAVES)["fidelity"] == {}
    assert "the student's frames are 20 ms apart and its teacher's 40 ms" in comparison.notes[-1]


def test_what_is_nothing_is_an_error_and_a_teacher_that_is_gone_a_note(tiny_pair, tmp_path, caplog):
    with pytest.raises(SpeechpressError, match=r"is neither a checkpoint .* nor a bundle"):
        open_comparison(tmp_path)
    shutil.copytree(tiny_pair / "student", tmp_path / "orphan")
    write_json(tmp_path / "orphan" / "card.json", {"teacher": {"source": str(tmp_path / "gone" / "x")}})
    assert "not available" in open_comparison(tmp_path / "orphan").notes[0] and "not available" in caplog.text
    write_json(tmp_path / "orphan" / "card.json", {})
    assert "names no teacher" in open_comparison(tmp_path / "orphan").notes[0]
    given = open_comparison(tmp_path / "orphan", teacher=str(tiny_pair / "teacher"))
    assert "teacher" in given.upstreams and given.notes == []


@pytest.mark.parametrize(
    ("outputs", "said"),
    [([4], "its last layer"), ([2], "layer 2"), ([0, 2, 4], "layers 0, 2, 4"), (None, "its last layer")],
)
def test_what_comes_out_of_a_bundle_is_told(outputs, said):
    features = {"layer": 4, "layers": 4} | ({} if outputs is None else {"outputs": outputs})
    assert _given(Bundle(Path("b"), {"features": features})) == said


def test_others_hear_the_same_chunks_where_they_stream_and_it_is_said_where_they_do_not(tiny_pair, small_checkpoint):
    others = [str(small_checkpoint), "pocket-words", str(tiny_pair / "student")]
    opened = open_comparison(small_checkpoint, others, None, CHUNK_MS)
    whole = open_comparison(small_checkpoint).upstreams["student"]
    student, same = opened.upstreams["student"], opened.upstreams[small_checkpoint.name]
    assert same.key == student.key != whole.key
    for ours, theirs in zip(student.states(WAVES[0]), same.states(WAVES[0]), strict=True):
        assert torch.equal(ours, theirs)
    assert len([note for note in opened.notes if "does not stream" in note]) == 1
    assert opened.notes[-1] == (
        f"{tiny_pair / 'student'} does not stream: it hears whole recordings, not chunks of {CHUNK_MS:g} ms"
    )
