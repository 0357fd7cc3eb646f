"""Heads in a bundle: exported, checked, answered as the checkpoint does, and every wrong wish refused."""

import copy
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import CHUNK_MS, SMALL, make, speech_like
from carried import kept_heads, save_heads
from labelled import make_labelled
from safetensors.numpy import save_file

from speechpress.compressor.export.answers import choose_heads, judge
from speechpress.compressor.export.card import card
from speechpress.compressor.export.document import facts
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.head_loss import judge_losses
from speechpress.compressor.export.source import Source, open_source
from speechpress.compressor.heads.classify import Classify
from speechpress.compressor.heads.data import data_line, open_task
from speechpress.compressor.heads.files import KeptHead, head_path, read_heads, save_head
from speechpress.compressor.heads.judge import held_out
from speechpress.compressor.models.checkpoint import WEIGHTS, load_checkpoint, save_encoder, sha256, write_json
from speechpress.compressor.models.streaming import TorchEngine
from speechpress.compressor.targets import target_of
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.program_checks import checks, constants, heard
from speechpress.runtime.verify import verify

NAMES = ("phones", "units", "voice")
HOST = target_of("host")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return make_labelled(tmp_path_factory.mktemp("labelled") / "voices")


@pytest.fixture(scope="module")
def student(tmp_path_factory, labelled):
    """With heads whose cards name no speech, and one that tells voices apart whose card does."""
    folder = tmp_path_factory.mktemp("student") / "answering"
    save_encoder(folder, make(SMALL))
    write_json(folder / "card.json", {"recipe": {"name": "answering"}})
    save_heads(folder, NAMES)
    task = open_task("sid", labelled)
    torch.manual_seed(0)
    module = Classify(SMALL.num_layers + 1, SMALL.width, 3).eval()
    torch.nn.init.normal_(module.classify.weight)
    line = {"task": "sid", "data": data_line(labelled, task.items, task.counts())}
    save_head(
        folder, KeptHead("who", "classify", module, task.classes, student_sha256=sha256(folder / WEIGHTS), card=line)
    )
    return folder


@pytest.fixture(scope="module")
def bundle(student, tmp_path_factory):
    order = plan(open_source(student), HOST, "int8", (CHUNK_MS,), heads="units,features,phones,who")
    out = tmp_path_factory.mktemp("b") / "b"
    # Random weights answer by chance, which 8 bits may well change.
    export(order, out, allow_fallback=True, head_tolerance=10.0)
    return read_bundle(out)


def test_the_bundle_says_what_its_program_gives(bundle):
    document = bundle.document
    assert document["schema"] == 2 and [head.name for head in bundle.heads] == ["units", "phones", "who"]
    assert [output["dtype"] for output in document["heads"][0]["outputs"]] == ["float32", "int64"]
    assert document["heads"][1]["labels"] == ["", "p", "t", "k", "s"]
    assert [entry["name"] for entry in document["state"]][-1] == "phones/past"
    assert constants(document)["head_outputs"] == 4
    assert set(document["heads"][1]["parity"]) == {"step_4", "offline"}
    assert "its card names no speech" in document["heads"][1]["metrics"]["note"]
    assert "phones_logits_4" in bundle.golden and len(bundle.golden["units_ids_offline"]) == 99


def test_its_int8_answers_are_close_and_verified(bundle):
    for head in bundle.document["heads"]:
        for outputs in head["parity"].values():
            assert all(figures["agreement"] >= 0.8 for figures in outputs.values())
            # It is really quantised.
            assert all(figures["max_abs"] > 1e-4 for name, figures in outputs.items() if name != "ids")
    found = verify(bundle.path)
    assert found["ok"], json.dumps(found)
    assert {"golden answers, step_4", "golden answers, offline"} <= {check["name"] for check in found["checks"]}


def test_a_words_head_goes_along_in_int8(student, tmp_path):
    """Its convolution hears each channel by itself: XNNPACK has none in 8 bits that finds its range in each call."""
    folder = save_heads(copied(student, tmp_path), ("words",))
    order = plan(open_source(folder), HOST, "int8", (CHUNK_MS,), offline_s=0, heads="words")
    export(order, tmp_path / "b", allow_fallback=True)
    made = PteEngine(read_bundle(tmp_path / "b"), threads=1)
    (spec,) = made.heads
    said = made.step(np.zeros((1, made.spec.chunk_samples), np.float32), made.initial_state()).answers["words"]
    assert spec.kind == "words" and said["vectors"].shape == (1, made.spec.chunk_frames, sum(spec.widths))


def test_both_engines_give_the_same_answers_in_the_same_form(bundle, student):
    kept = choose_heads(open_source(student), "units,phones,who")
    engines = PteEngine(bundle, CHUNK_MS), TorchEngine(load_checkpoint(student).encoder, 4, heads=kept)
    assert engines[0].heads == engines[1].heads and list(engines[0].initial_state()) == list(engines[1].initial_state())
    ours, theirs = (heard(engine, speech_like(9_000)).answers for engine in engines)
    for head, outputs in theirs.items():
        for name, rows in outputs.items():
            assert ours[head][name].shape == rows.shape and ours[head][name].dtype == rows.dtype
    assert np.mean(ours["units"]["ids"] == theirs["units"]["ids"]) > 0.8


def test_the_card_shows_how_to_read_events(bundle):
    text = card(bundle.document, "b")
    assert "head phones: ctc, 4 labels; against the checkpoint: " in text and "for event in events:" in text


def test_without_heads_a_bundle_is_as_it_was(student):
    found = facts(plan(open_source(student), HOST, "none", (CHUNK_MS,)))
    assert found["schema"] == 1 and "heads" not in found and "head_outputs" not in constants(found)


def test_all_is_every_head_of_the_checkpoint_and_features_come_anyway(student):
    source = open_source(student)
    assert set(choose_heads(source, "all")) == {*NAMES, "who"} and choose_heads(source, "none") == {}
    assert choose_heads(source, "features") == {} and list(choose_heads(source, "voice, phones")) == ["voice", "phones"]


@pytest.mark.parametrize(
    "words, said",
    [
        ("ghost", "has no head 'ghost'; it has phones, units, voice, who"),
        ("phones,phones", "lists a head twice"),
        ("phones,", "has no head ''"),
        ("", "has no head ''"),
    ],
)
def test_heads_that_there_are_not(student, words, said):
    with pytest.raises(SpeechpressError, match=said):
        plan(open_source(student), HOST, "none", (CHUNK_MS,), heads=words)


def test_a_teacher_and_a_student_without_heads_have_none(tmp_path):
    with pytest.raises(SpeechpressError, match="is a teacher, and only checkpoints of students have heads"):
        choose_heads(Source("hubert", make(SMALL), {}), "phones")
    save_encoder(tmp_path / "bare", make(SMALL))
    write_json(tmp_path / "bare" / "card.json", {})
    with pytest.raises(SpeechpressError, match="has no heads; `compress head` trains one"):
        choose_heads(open_source(tmp_path / "bare"), "all")


def copied(student, tmp_path):
    return shutil.copytree(student, tmp_path / "copy")


def test_a_head_of_another_students_width_is_refused(student, tmp_path):
    folder = copied(student, tmp_path)
    save_head(folder, kept_heads(replace(SMALL, width=16), ("phones",), sha256(folder / WEIGHTS))["phones"])
    with pytest.raises(SpeechpressError, match="is the head of another student: it hears 2 layers of width 16"):
        plan(open_source(folder), HOST, "none", heads="phones")


def test_a_stale_head_is_refused(student, tmp_path):
    folder = copied(student, tmp_path)
    encoder = make(SMALL)
    with torch.no_grad():
        encoder.masked_spec_embed.add_(1)
    save_encoder(folder, encoder)
    with pytest.raises(SpeechpressError, match="is stale"):
        plan(open_source(folder), HOST, "none", heads="all")


def test_an_empty_alphabet_is_refused(student, tmp_path):
    folder = copied(student, tmp_path)
    path = head_path(folder, "phones")
    data = path.read_bytes()
    # As long as it was: the header of the file says how long its metadata are.
    wrong = data.replace(rb"\"labels\":[\"\",\"p\",\"t\",\"k\",\"s\"]", rb"\"labels\":[\"\"]                    ")
    old, new = (
        rb"\"labels\": [\"\", \"p\", \"t\", \"k\", \"s\"]",
        rb"\"labels\": [\"\"]" + b" " * len(rb", \"p\", \"t\", \"k\", \"s\""),
    )
    wrong = wrong if wrong != data else data.replace(old, new)
    assert wrong != data
    path.write_bytes(wrong)
    with pytest.raises(SpeechpressError, match="alphabet of at least one label"):
        choose_heads(open_source(folder), "phones")


def test_heads_go_to_a_target_that_does_not_run_here_unmeasured(student):
    order = plan(open_source(student), target_of("android-gpu"), "none", heads="phones")
    document = facts(order) | {"files": {"encoder.pte": {"size_bytes": 1}}}
    assert document["heads"][0]["parity"] == {} and document["heads"][0]["metrics"] is None
    assert "head phones: ctc, 4 labels; not run here" in card(document, "b")


def test_answers_too_far_from_the_checkpoint_are_refused(bundle):
    document = copy.deepcopy(bundle.document)
    judge(document)
    document["heads"][1]["parity"]["step_4"]["logits"]["agreement"] = 0.5
    with pytest.raises(CheckFailed, match=r"head 'phones': its logits out of the exported step_4 .* 50\.0% the same"):
        judge(document)


@pytest.mark.parametrize(
    "metric, before, after, refused",
    [
        ("PER", 0.20, 0.209, False),
        ("PER", 0.20, 0.22, True),
        ("PER", 0.20, 0.10, False),
        ("EER", 0.01, 0.014, False),
        ("accuracy", 0.9, 0.8, True),
    ],
)
def test_a_head_that_loses_too_much_is_refused(metric, before, after, refused):
    lower = metric != "accuracy"
    lost = (after - before if lower else before - after) / before
    told = {"metric": metric, "before": before, "after": after, "lost": lost, "tolerance": 0.05}
    document = {"heads": [{"name": "phones", "metrics": told | {"clips": 9, "method": "step_4"}}]}
    if refused:
        with pytest.raises(CheckFailed, match=rf"{metric} is .* at most 5\.0% is allowed"):
            judge_losses(document)
    else:
        judge_losses(document)


def test_the_loss_is_measured_where_the_held_out_speech_is_found(bundle):
    metrics = bundle.document["heads"][2]["metrics"]
    assert (metrics["metric"], metrics["better"], metrics["method"]) == ("accuracy", "higher", "step_4")
    assert 0 <= metrics["before"] <= 1 and 0 <= metrics["after"] <= 1 and metrics["clips"] >= 3
    assert metrics["lost"] == pytest.approx((metrics["before"] - metrics["after"]) / max(metrics["before"], 1e-9))
    assert f"accuracy {metrics['before']:.3f} by the checkpoint" in card(bundle.document, "b")


def test_speech_that_has_changed_is_not_measured_on(student, labelled):
    head = read_heads(student, ["who"])["who"]
    assert held_out(head, 880).metric == "accuracy"
    for data, said in (
        ({"source": str(labelled), "fingerprint": "0" * 64}, "its speech has changed"),
        ({"source": str(labelled / "gone")}, "is not available"),
        (None, "names no speech"),
    ):
        with pytest.raises(SpeechpressError, match=said):
            held_out(replace(head, card={**head.card, "data": data}), 880)


def with_golden(bundle, folder, change):
    """A copy of a bundle whose golden clip was changed and signed anew."""
    shutil.copytree(bundle.path, folder)
    tensors = dict(bundle.golden)
    change(tensors)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "golden.safetensors")
    data = (folder / "golden.safetensors").read_bytes()
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    document = {**bundle.document, "files": {**bundle.document["files"], "golden.safetensors": facts}}
    write_json(folder / "bundle.json", document | {"digest": digest(document)})
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("phones_logits_4"),
        lambda tensors: tensors.update(phones_logits_4=tensors["phones_logits_4"][:-1]),
        lambda tensors: tensors.update(phones_logits_4=tensors["phones_logits_4"].astype(np.float64)),
    ],
)
def test_a_golden_clip_without_its_answers_is_damaged(bundle, tmp_path, change):
    folder = with_golden(bundle, tmp_path / "b", change)
    with pytest.raises(SpeechpressError, match=r"has no phones_logits_4 in float32 of \(99, 5\)"):
        _ = read_bundle(folder).golden


def test_answers_that_are_not_the_checkpoints_fail_the_check(bundle, tmp_path):
    """Frames and the other heads are right; a fifth of one head's units are not."""

    def wrong(tensors):
        tensors["units_ids_4"] = (tensors["units_ids_4"] + (np.arange(99) % 4 == 0)[:, None]) % 7

    found = {check["name"]: check for check in checks(read_bundle(with_golden(bundle, tmp_path / "b", wrong)), 1)}
    assert found["golden clip, step_4"]["ok"] and found["golden answers, offline"]["ok"]
    assert not found["golden answers, step_4"]["ok"] and "units, ids" in found["golden answers, step_4"]["detail"]
