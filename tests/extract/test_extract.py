"""A whole corpus: the frames of `hidden_states` in every form, by any number of workers, in one go or in several."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import astuple, replace

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from bundled import SMALL, make
from extracted import corpus, read_back, read_index, waves
from lhotse import CutSet, RecordingSet
from tiny_models import save, tiny, tiny_whisper

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.index import Index
from speechpress.compressor.extract.makers import Features
from speechpress.compressor.extract.options import ExtractOptions, Shard
from speechpress.compressor.extract.plan import batches, item_of
from speechpress.compressor.extract.source import open_listener
from speechpress.compressor.extract.work import Work
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder, write_json
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

FORMS = ("npy", "safetensors", "parquet", "lhotse")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """A checkpoint whose frames do not depend on padding, and one with a GroupNorm, whose do."""
    root, found = tmp_path_factory.mktemp("students"), {}
    for norm in ("static", "group"):
        folder = found[norm] = root / norm
        config = replace(SMALL, conv_norm=norm, num_heads=(2, 2), ffn_widths=(64, 64))
        if norm == "group":
            config = replace(config, pos_conv_future=None, left_context=None)
        save_encoder(folder, make(config))
        write_json(folder / "card.json", {})
    return found


def expected(model, speech, layers):
    """(K, T, D) by id, one recording at a time through `hidden_states`."""
    with torch.inference_mode():
        states = {name: model.hidden_states(torch.from_numpy(wave)[None]) for name, wave in waves(speech).items()}
    return {name: np.stack([found[n][0].numpy() for n in layers]) for name, found in states.items()}


def same(found, wanted, tolerance=1e-5):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=tolerance, rtol=0)


def late_nan(path):
    """A recording whose header and beginning are whole, so that only who decodes all of it notices."""
    samples = np.full(8000, 0.1)
    samples[5000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def run(model, speech, out, **given):
    return extract(str(model), [speech], ExtractOptions(out, device="cpu", **given))


@pytest.mark.parametrize("norm", ["static", "group"])
@pytest.mark.parametrize("batch_s", [0, 30], ids=["single", "batched"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_frames_of_hidden_states(students, speech, tmp_path, form, batch_s, norm):
    document = run(students[norm], speech, tmp_path / "out", form=form, batch_s=batch_s, layers="0,2", workers=2)
    found = read_back(tmp_path / "out", form, (0, 2))
    same(found, expected(load_encoder(students[norm]), speech, (0, 2)))
    assert document["recordings"] == 6 and document["frames"] == sum(array.shape[1] for array in found.values())
    assert document["skipped"] == [] and document["finished"] and document["layers"] == [0, 2]


def test_padding_would_change_frames_behind_a_group_norm_and_is_therefore_not_used(students, speech):
    """What the test above would not notice if the lengths were too far apart to be padded."""
    items = [item_of(cut, cut.id) for cut in open_corpus(speech).cuts]
    padded, equal = batches(items, 30, True), batches(items, 30, False)
    assert any(len({item.samples for item in batch}) > 1 for batch in padded)
    assert all(len({item.samples for item in batch}) == 1 for batch in equal) and max(map(len, equal)) == 2
    assert sorted(item.name for batch in padded for item in batch) == sorted(item.name for item in items)


def test_chunks_are_those_of_the_streaming_student(students, speech, tmp_path):
    run(students["static"], speech, tmp_path / "out", chunk_ms=80, batch_s=30)
    encoder = load_encoder(students["static"])
    frames = round(80 * 16 / encoder.config.hop_samples)
    with torch.inference_mode():
        wanted = {
            name: encoder.hidden_states(torch.from_numpy(wave)[None], chunk_frames=frames)[2].numpy()
            for name, wave in waves(speech).items()
        }
    same(read_back(tmp_path / "out", "npy", (2,)), wanted)


@pytest.mark.parametrize(("family", "style"), [("hubert", "base"), ("wavlm", "large")])
def test_a_teacher_of_somebody_else_is_heard_alike(speech, tmp_path, family, style):
    folder = save(tiny(family, style), tmp_path / "teacher", do_normalize=style == "large")
    run(folder, speech, tmp_path / "out", layers="1,3", batch_s=30, workers=2)
    same(read_back(tmp_path / "out", "npy", (1, 3)), expected(load_teacher(folder), speech, (1, 3)))


def test_half_precision_is_the_rounded_single_one(students, speech, tmp_path):
    for dtype in ("float32", "float16"):
        run(students["static"], speech, tmp_path / dtype, dtype=dtype)
    for name, row in read_index(tmp_path / "float32").items():
        single, half = np.load(tmp_path / "float32" / row["path"]), np.load(tmp_path / "float16" / row["path"])
        assert half.dtype == np.float16 and np.array_equal(half, single.astype(np.float16)), name


def test_what_float16_cannot_hold_ends_the_run_instead_of_infinite_numbers(tmp_path, speech):
    encoder = make(SMALL)
    encoder.encoder.layers[-1].final_layer_norm.weight.data.mul_(1e6)
    save_encoder(tmp_path / "loud", encoder)
    write_json(tmp_path / "loud/card.json", {})
    with pytest.raises(SpeechpressError, match=r"beyond what float16 holds; use --dtype float32"):
        run(tmp_path / "loud", speech, tmp_path / "out", dtype="float16")


@pytest.mark.parametrize("form", ["npy", "parquet", "lhotse"])
def test_shards_are_parts_of_the_whole_and_share_a_folder(students, speech, tmp_path, form):
    seen = []
    for number in (2, 3, 1):
        document = run(students["static"], speech, tmp_path / "out", shard=Shard(number, 3), form=form)
        seen += read_index(tmp_path / "out", f"index-{number}-of-3.jsonl")
        assert document["recordings"] == 2
    assert sorted(seen) == sorted(waves(speech))  # each once
    run(students["static"], speech, tmp_path / "whole", form=form)
    whole = read_back(tmp_path / "whole", form, (2,))
    if form == "npy":
        paths = {name: row["path"] for name, row in read_index(tmp_path / "whole").items()}
        same({name: np.load(tmp_path / "out" / path)[None] for name, path in paths.items()}, whole, 0)
    elif form == "parquet":
        rows = pyarrow.parquet.read_table(tmp_path / "out/features").to_pylist()
        same({row["id"]: np.array([row["layer_2"]], np.float32) for row in rows}, whole, 0)
    with pytest.raises(SpeechpressError, match="shards 3, not 2"):
        run(students["static"], speech, tmp_path / "out", shard=Shard(1, 2), form=form)
    with pytest.raises(SpeechpressError, match="has nothing to do"):
        run(students["static"], speech, tmp_path / "more", shard=Shard(7, 7), form=form)


def test_what_cannot_be_read_is_left_out_counted_and_listed(students, tmp_path):
    speech = corpus(tmp_path / "speech")
    (speech / "text.wav").write_text("no sound")
    late_nan(speech / "nan.wav")
    corpus(speech / "long", (3.0,))
    document = run(students["static"], speech, tmp_path / "out", longest_s=2.5)
    reasons = {item["path"].rpartition("speech/")[2]: item["reason"] for item in document["skipped"]}
    assert set(reasons) == {"text.wav", "nan.wav", "long/b/c/0.wav"} and document["recordings"] == 6
    assert "NaN" in reasons["nan.wav"] and "longer than 2.5 s" in reasons["long/b/c/0.wav"]
    listed = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    assert listed == document["skipped"] == json.loads((tmp_path / "out/summary.json").read_text())["skipped"]


def test_a_recording_that_the_model_refuses_does_not_take_its_batch_with_it(tmp_path):
    """Whisper hears 30 s; both would be in one batch."""
    folder, speech = tmp_path / "whisper", corpus(tmp_path / "speech", (29.9, 30.1))
    tiny_whisper().save_pretrained(folder)
    work = Work(Features(open_listener(str(folder)), (1,), "float32"), True, Kept(), Index(tmp_path / "index.jsonl"))
    work.do([item_of(cut, cut.id) for cut in open_corpus(speech).cuts])
    assert [path.rpartition("/")[2] for path, _ in map(astuple, work.skipped)] == ["1.wav"]
    assert "sees at most 30 s" in work.skipped[0].reason and list(work.writer.found) == ["b/c/0.wav"]


def test_a_manifest_s_ids_stay_inside_of_the_folder(students, tmp_path):
    recording = RecordingSet.from_dir(corpus(tmp_path / "speech", (1.0,)), "*.wav")[0]
    cuts = [recording.to_cut().truncate(offset=start, duration=0.4) for start in (0.0, 0.2, 0.5)]
    names = ["../../escaped", "Twice", "twice"]
    for cut, name in zip(cuts, names, strict=True):
        cut.id = name
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl")
    document = run(students["static"], tmp_path / "cuts.jsonl", tmp_path / "a/b/out", form="lhotse")
    assert document["renamed"] == 3 and len(list((tmp_path / "a/b/out/features").rglob("*.npy"))) == 3
    assert not list(tmp_path.glob("escaped*")) + list((tmp_path / "a").glob("escaped*"))
    wanted = expected(load_encoder(students["static"]), tmp_path / "cuts.jsonl", (2,))
    same(read_back(tmp_path / "a/b/out", "lhotse", (2,)), wanted)
    cut = CutSet.from_file(tmp_path / "a/b/out/cuts.jsonl.gz").to_eager()["twice"]
    assert cut.start == 0.5 and cut.has_features and len(cut.load_features()) - len(wanted["twice"][0]) in (0, 1)


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.found = {}

    def put(self, item, result):
        self.found[item.name] = result


def test_a_corpus_of_which_nothing_can_be_read_is_an_error(students, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechpressError, match="no audio in it"):
        run(students["static"], tmp_path / "empty", tmp_path / "out")
    for name in ("a.wav", "b.flac"):
        (tmp_path / "empty" / name).write_text("no sound")
    with pytest.raises(SpeechpressError, match="none of its 2 recordings can be used"):
        run(students["static"], tmp_path / "empty", tmp_path / "out")
    late_nan(tmp_path / "empty/a.wav")
    with pytest.raises(SpeechpressError, match=r"none of its 2 recordings can be used.*NaN"):
        run(students["static"], tmp_path / "empty", tmp_path / "out")
    assert len((tmp_path / "out/skipped.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("form", ["npy", "parquet", "lhotse"])
def test_a_run_goes_on_where_it_was_stopped_and_mends_what_is_damaged(students, speech, tmp_path, form):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(students["group"], speech, whole, form=form, batch_s=30)
    run(students["group"], speech, out, form=form, batch_s=30)
    index = out / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    # As after a kill: some lines are not there, one is cut short, and one file has lost its end.
    index.write_text("".join(lines[:4]) + lines[4][:30])
    damaged = out / json.loads(lines[0])["path"]
    damaged.write_bytes(damaged.read_bytes()[:-5] + b"\0" * 5)
    with pytest.raises(SpeechpressError, match="Use --resume"):
        run(students["group"], speech, out, form=form, batch_s=30)
    document = run(students["group"], speech, out, form=form, batch_s=30, resume=True)
    kept = 0 if form == "parquet" else 3  # one file of the table holds all rows
    assert (document["kept"], document["written"], document["recordings"]) == (kept, 6 - kept, 6)
    same(read_back(out, form, (2,)), read_back(whole, form, (2,)), 0)
    if form != "parquet":
        assert read_index(out) == read_index(whole)  # to the last bit
    again = run(students["group"], speech, out, form=form, batch_s=30, resume=True)
    assert (again["kept"], again["written"]) == (6, 0)


def test_a_folder_of_another_model_corpus_or_options_is_refused(students, speech, tmp_path):
    out = tmp_path / "out"
    run(students["static"], speech, out)
    for given, said in (
        ({"layers": "1"}, r"layers \[2\], not \[1\]"),
        ({"dtype": "float16"}, "dtype"),
        ({"form": "safetensors"}, "format"),
        ({"chunk_ms": 80}, "another model or other weights; chunk_ms|another model"),
    ):
        with pytest.raises(SpeechpressError, match=said):
            run(students["static"], speech, out, resume=True, **given)
    with pytest.raises(SpeechpressError, match="another model or other weights"):
        run(students["group"], speech, out, resume=True)
    with pytest.raises(SpeechpressError, match="another corpus"):
        run(students["static"], corpus(tmp_path / "other", (0.7, 0.8)), out, resume=True)
    document = run(students["group"], speech, out, overwrite=True)
    assert document["written"] == 6
    same(read_back(out, "npy", (2,)), expected(load_encoder(students["group"]), speech, (2,)))


def test_what_is_not_ours_is_left_alone(students, speech, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    for more in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(SpeechpressError, match="something other"):
            run(students["static"], speech, tmp_path / "out", **more)
    with pytest.raises(SpeechpressError, match="is not a folder"):
        run(students["static"], speech, tmp_path / "out/thesis.tex")
    with pytest.raises(SpeechpressError, match="no run to resume"):
        run(students["static"], speech, tmp_path / "new", resume=True)
    assert (tmp_path / "out/thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_told(students, speech, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechpressError, match="could not be written"):
        run(students["static"], speech, tmp_path / "file/out")


def test_a_full_disk_ends_the_run_with_words(students, speech, tmp_path):
    """In a process whose files may not grow beyond some KiB, as on a disk that fills up."""
    script = (
        "import resource, signal, sys, pathlib\n"
        "from speechpress.compressor.extract.extract import extract\n"
        "from speechpress.compressor.extract.options import ExtractOptions\n"
        "from speechpress.runtime.errors import SpeechpressError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "try: extract(sys.argv[1], [pathlib.Path(sys.argv[2])], ExtractOptions(pathlib.Path(sys.argv[3])))\n"
        "except SpeechpressError as error: print(error)\n"
    )
    words = [sys.executable, "-c", script, students["static"], speech, tmp_path / "out"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert "could not be written" in done.stdout and "--out" in done.stdout
    assert not list((tmp_path / "out").rglob(".work*")) and not (tmp_path / "out/summary.json").exists()


def test_a_killed_run_goes_on_to_the_same_files(students, tmp_path):
    """SIGKILL in the middle; then --resume, by the command line."""
    speech = corpus(tmp_path / "speech", tuple(0.5 + 0.01 * number for number in range(60)))
    words = [sys.executable, "-m", "speechpress.compressor.cli.main", "extract", students["static"], speech]
    words += ["--out", tmp_path / "out", "--workers", "1", "--json"]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    index = tmp_path / "out/index.jsonl"
    while process.poll() is None and not (index.exists() and index.read_text().count("\n") > 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = index.read_text().count("\n")
    # A machine so quick that all was done before the signal would make this no test.
    assert 3 < done < 60
    document = run(students["static"], speech, tmp_path / "out", resume=True, workers=1)
    assert document["kept"] >= done - 1 and document["recordings"] == 60 and document["finished"]
    run(students["static"], speech, tmp_path / "whole", workers=1)
    assert read_index(tmp_path / "out") == read_index(tmp_path / "whole")
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_an_interrupted_run_says_so_and_keeps_what_is_done(students, speech, tmp_path):
    def listen(event):
        if event["event"] == "done" and event["recordings"] == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # until the main thread has looked

    options = ExtractOptions(tmp_path / "out", workers=1, device="cpu")
    document = extract(str(students["static"]), [speech], options, listen)
    assert not document["finished"] and 2 <= document["recordings"] < 6
    assert not (tmp_path / "out/summary.json").exists()
    assert run(students["static"], speech, tmp_path / "out", resume=True)["recordings"] == 6


def test_links_in_the_folder_lead_nowhere_else(students, speech, tmp_path):
    run(students["static"], speech, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/features/a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/features/a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpeechpressError, match="leads out of"):
        run(students["static"], speech, tmp_path / "out", resume=True)
    assert not list((tmp_path / "elsewhere").iterdir())
