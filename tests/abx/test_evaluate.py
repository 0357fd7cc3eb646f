"""`compress eval --tasks abx` from words to document: every layer and chunk size, what is written, what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from corpora import ITEM_HEADER, make_phones
from typer.testing import CliRunner

from speechpress.compressor.abx.cells import make_cells
from speechpress.compressor.abx.dtw import Angular, distances
from speechpress.compressor.abx.evaluate import CHUNKS_MS, Request, evaluate_abx
from speechpress.compressor.abx.hear import heard
from speechpress.compressor.abx.items import read_items
from speechpress.compressor.abx.score import entry_errors, mean_error
from speechpress.compressor.cli.main import app
from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.evaluate.features import LOG_MEL, log_mel
from speechpress.compressor.evaluate.retention import retention
from speechpress.compressor.evaluate.upstreams import encoder_upstream
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.models.scores import scores_of
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.demo.worker import SHIPPED
from speechpress.runtime.errors import SpeechpressError

runner = CliRunner()


@pytest.fixture(scope="module")
def phones(tmp_path_factory):
    return make_phones(tmp_path_factory.mktemp("phones"))


def test_frames_of_a_token_are_those_of_its_whole_recording(phones):
    tokens = read_items(*phones)
    (layer,) = heard(LOG_MEL, tokens)
    for number in (0, 7, 17):
        start, end = tokens[number].frames(160, 16000)
        whole = log_mel(torch.from_numpy(read_audio(tokens[number].path))[None])[0]
        place = layer.starts[number]
        assert layer.lengths[number] == end - start == 16  # 160 ms
        torch.testing.assert_close(layer.frames[place : place + layer.lengths[number]], whole[start:end])


def test_layers_that_do_not_fit_into_the_memory_together_are_heard_in_passes(phones, tiny_pair, monkeypatch):
    tokens, upstream = read_items(*phones), encoder_upstream(load_checkpoint(tiny_pair / "student").encoder)
    together = list(heard(upstream, tokens))
    monkeypatch.setattr("speechpress.compressor.abx.hear.MOST_BYTES", 1)
    for one, other in zip(together, heard(upstream, tokens), strict=True):
        assert one.layer == other.layer and torch.equal(one.frames, other.frames)
    assert len(together) == 2


def test_tones_are_told_apart_and_noise_is_not(phones):
    """Log-mel hears which tone it is; frames that are noise do not."""
    tokens = read_items(*phones)
    (layer,) = heard(LOG_MEL, tokens)
    noise = torch.randn(layer.frames.shape, generator=torch.Generator().manual_seed(0))
    for mode in ("within", "across"):
        cells = make_cells(tokens, mode)
        found = [
            mean_error(cells, entry_errors(cells, distances(cells.pairs, layer.starts, layer.lengths, Angular(one))))
            for one in (layer.frames, noise)
        ]
        assert found[0] == 0.0 and found[1] > 0.1


def test_a_student_is_measured_whole_and_in_every_chunk_size(phones, small_checkpoint, tmp_path):
    student = shutil.copytree(small_checkpoint, tmp_path / "student")
    words = ("--tasks", "abx", "--items", phones[0], "--data", phones[1], "--abx-units", 3, "--json")
    done = runner.invoke(app, ["eval", *map(str, (student, *words))])
    assert done.exit_code == 0, (done.output, done.exception)
    document = json.loads(done.stdout)
    chunks = [f"student at {size:g} ms" for size in CHUNKS_MS]
    assert list(document["abx"]) == ["student", *chunks, "random", "logmel"] and document["against"] == chunks
    assert document["items"]["tokens"] == 18 and document["items"]["used"] <= 18
    for mode in ("within", "across"):
        task = document["tasks"][f"abx-{mode}"]
        for name, detail in document["abx"].items():
            assert len(detail[mode]) == detail["layers"] and task[name] == detail[mode][detail["best"]]
            assert task["ci95"][name][0] <= task[name] <= task["ci95"][name][1]
            assert len(detail["units"]["warped"][mode]) == len(detail["units"]["edited"][mode]) == detail["layers"]
        assert task["logmel"] == 0.0
    written = json.loads((student / "eval.json").read_text())
    assert written["suite"] == "abx of phones" and written["tasks"] == document["tasks"]
    assert scores_of(student)["tasks"]["abx-across"]["metric"] == "ABX"
    assert retention(document)["tasks"]["abx-within"]["floor"] in ("random", "logmel")


def test_a_chunk_hears_other_frames_than_the_whole(phones, small_checkpoint):
    tokens = read_items(*phones)
    encoder = load_checkpoint(small_checkpoint).encoder
    *_, whole = heard(encoder_upstream(encoder), tokens)
    *_, chunked = heard(encoder_upstream(encoder, 4), tokens)
    assert whole.frames.shape == chunked.frames.shape and not torch.allclose(whole.frames, chunked.frames)


def test_a_bundle_is_measured_as_it_runs(phones):
    """The one that ships: int8, run by ExecuTorch in chunks, each of its sizes."""
    document = evaluate_abx(SHIPPED, Request(*phones))
    own, *others = [name for name in document["abx"] if name.startswith("student")]
    sizes = {stream["chunk_ms"] for stream in read_bundle(SHIPPED).document["streams"]}
    assert own == "student" and {f"student at {size:g} ms" for size in sizes} == {
        *others,
        f"student at {document['latency']['chunk_ms']:g} ms",
    }
    assert document["abx"]["student"]["layers"] == 1 and "gives its last layer only" in " ".join(document["notes"])
    assert document["tasks"]["abx-within"]["student"] < 0.5


def test_the_table_and_the_report(phones, tiny_pair, tmp_path):
    student = shutil.copytree(tiny_pair / "student", tmp_path / "student")
    words = ("--tasks", "abx", "--items", phones[0], "--data", phones[1], "--report", tmp_path / "kept.html")
    done = runner.invoke(app, ["eval", *map(str, (student, *words))], env={"COLUMNS": "200"})
    assert done.exit_code == 0, (done.output, done.exception)
    for piece in ("ABX error in percent", "within speakers", "across speakers", "minus student", "by layer", "logmel"):
        assert piece in done.output, piece
    assert "abx-within" in (tmp_path / "kept.html").read_text() and "eval.json" in done.output


def refused(*words):
    done = runner.invoke(app, ["eval", *map(str, words)], env={"COLUMNS": "300"})
    assert done.exit_code == 1 and isinstance(done.exception, SpeechpressError), done.output
    return str(done.exception)


def test_what_is_asked_wrongly_is_said_at_once(phones, tiny_pair):
    student, items = tiny_pair / "student", ("--items", phones[0], "--data", phones[1])
    assert "stands alone" in refused(student, "--tasks", "abx,ks", *items)
    assert "--items: is for --tasks abx" in refused(student, "--tasks", "ks", *items)
    assert "needs --items FILE" in refused(student, "--tasks", "abx", "--data", phones[1])
    assert "needs --items FILE" in refused(student, "--tasks", "abx", "--items", phones[0])
    assert "--suite: has no meaning" in refused(student, "--tasks", "abx", "--suite", "mini", *items)
    assert "does not stream" in refused(student, "--tasks", "abx", "--chunk-ms", 80, *items)


def item_file(folder, rows):
    path = folder / "few.item"
    path.write_text("\n".join([ITEM_HEADER, *rows]) + "\n")
    return path


def test_a_phone_of_one_speaker_leaves_nothing_across_and_that_is_noted(phones, tiny_pair, tmp_path):
    rows = [row for row in phones[0].read_text().splitlines()[1:] if row.endswith("s0")]
    document = evaluate_abx(tiny_pair / "student", Request(item_file(tmp_path, rows), phones[1]))
    assert list(document["tasks"]) == ["abx-within"]
    notes = " ".join(document["notes"])
    assert "across speakers nothing can be compared" in notes and "3 phones are said by one speaker only" in notes


def test_nothing_to_compare_is_an_error_with_why(phones, tiny_pair, tmp_path):
    rows = phones[0].read_text().splitlines()[1:3]
    with pytest.raises(SpeechpressError, match="within speakers nothing can be compared: no speaker says two tokens"):
        evaluate_abx(tiny_pair / "student", Request(item_file(tmp_path, rows), phones[1]))


def test_tokens_without_a_frame_are_left_out_of_everything_and_counted(phones, tiny_pair, tmp_path):
    rows = phones[0].read_text().splitlines()[1:]
    name, onset, _, *rest = rows[0].split()
    rows[0] = " ".join([name, onset, f"{float(onset) + 0.004:.3f}", *rest])
    document = evaluate_abx(tiny_pair / "student", Request(item_file(tmp_path, rows), phones[1]))
    assert "1 of 18 tokens hold the middle of no frame" in " ".join(document["notes"])


def test_a_recording_that_cannot_be_read_is_an_error(phones, tiny_pair, tmp_path):
    audio = shutil.copytree(phones[1], tmp_path / "audio")
    (audio / "s0/s0-0.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(SpeechpressError, match=r"recordings of the item file cannot be read.*s0-0"):
        evaluate_abx(tiny_pair / "student", Request(phones[0], audio))


def test_numbers_that_are_none_are_refused(phones):
    tokens = read_items(*phones)
    broken = LOG_MEL.__class__(lambda waves: [log_mel(waves) * np.nan], layers=1, width=80, hop_samples=160)
    with pytest.raises(SpeechpressError, match="NaN or infinity"):
        list(heard(broken, tokens))
