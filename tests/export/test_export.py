import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import BASE, SMALL, copied, make, speech_like

from speechpress.compressor.export import export as exporting
from speechpress.compressor.export.answers import remedies
from speechpress.compressor.export.document import min_samples
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.targets import target_of
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.verify import verify

HOST = target_of("host")


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Checkpoint folder of an encoder that does not stream."""
    folder = tmp_path_factory.mktemp("still") / "still"
    save_encoder(folder, make(BASE))
    write_json(folder / "card.json", {"recipe": {"name": "still"}})
    return folder


@pytest.fixture(scope="module")
def order(still):
    return plan(open_source(still), HOST, "none")


@pytest.fixture(scope="module")
def lowered(order):
    return exporting.lower(*exporting._program(order), "xnnpack")


@pytest.fixture
def lowered_once(lowered, monkeypatch):
    """Several exports of the same order need not lower it anew."""
    monkeypatch.setattr(exporting, "lower", lambda *_: lowered)


def test_without_streaming_there_are_recordings_and_windows(order, lowered_once, tmp_path):
    out = tmp_path / "still"
    document = export(order, out, allow_fallback=True)
    bundle = read_bundle(out)
    assert document["chunk_ms"] == [] and bundle.document["window"]["samples"] == 16_000
    assert set(document["parity_per_method"]) == {"offline", "window"} and verify(out)["ok"]
    wave = speech_like(16_000)
    model = PteModel(bundle)
    assert np.abs(model.window(wave) - model.offline(wave)).max() < 1e-4
    with pytest.raises(SpeechpressError, match="does not stream"):
        PteEngine(bundle)
    with pytest.raises(SpeechpressError, match=r"shape \(16000,\)"):
        model.window(wave[:100])
    assert "does not stream" in (out / "README.md").read_text()


def test_what_the_peers_have_is_exported_whole_and_in_chunks(tmp_path):
    """Time reduction, reused attention and shared layers, in one encoder; parity is measured by the export itself."""
    config = replace(
        SMALL,
        num_heads=(2,) * 4,
        ffn_widths=(64, 48) * 2,
        distinct_layers=2,
        reuse_attention=(False, True) * 2,
        time_reduction=2,
    )
    folder = tmp_path / "peers"
    save_encoder(folder, make(config))
    write_json(folder / "card.json", {"recipe": {"name": "peers"}})
    order = plan(open_source(folder), HOST, "none", (80.0,))
    document = export(order, tmp_path / "bundle", allow_fallback=True)
    assert set(document["parity_per_method"]) == {"step_2", "offline"} and verify(tmp_path / "bundle")["ok"]
    assert read_bundle(tmp_path / "bundle").document["audio"]["hop_samples"] == 640


MEL = replace(
    SMALL, front_end="mel", conv_channels=(32, 32), conv_kernels=(3, 3), conv_strides=(1, 2), conv_norm="layer"
)


@pytest.mark.parametrize(("scheme", "least_db"), [("none", 100), ("int8", 30), ("fp16", 35)])
def test_a_spectrogram_is_exported_as_precise_as_it_is(scheme, least_db, tmp_path):
    """In 8 bits too: in 8 or 16 bits of a spectrum's powers, what is 50 dB below the loudest would be gone."""
    folder = tmp_path / "mel"
    save_encoder(folder, make(MEL))
    write_json(folder / "card.json", {"recipe": {"name": "mel"}})
    order = plan(open_source(folder), HOST, scheme, (80.0,))
    document = export(order, tmp_path / "bundle", allow_fallback=True)
    assert set(document["parity_per_method"]) == {"step_4", "offline"} and verify(tmp_path / "bundle")["ok"]
    assert min(one["snr_db"] for one in document["parity_per_method"].values()) > least_db


def test_too_far_from_the_checkpoint_is_not_written(order, lowered_once, tmp_path):
    strict = replace(order, target=replace(HOST, tolerances={"none": {"max_abs": 1e-12}}))
    with pytest.raises(CheckFailed, match=r"too far from the checkpoint.*must keep error 1e-12.*please report it"):
        export(strict, tmp_path / "out", allow_fallback=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("scheme", "closer"), [("int8", "scheme mixed"), ("int8-linear", "Try --quantize none")])
def test_what_is_advised_is_closer_to_the_checkpoint(scheme, closer):
    advice = remedies(scheme)
    assert closer in advice and f"--quantize {scheme}," not in advice


@pytest.mark.parametrize("which", ["shortest", "longest"])
def test_a_program_that_is_wrong_at_the_limits_is_not_written(which, order, lowered_once, tmp_path, monkeypatch):
    """Right for the golden clip and for a second of noise, but not for the shortest or longest recording it allows."""
    wrong = {"shortest": min_samples(order), "longest": order.max_samples}[which]
    right = PteModel.hear_offline

    def heard(self, wave):
        frames, answers = right(self, wave)
        return frames + float(len(wave) == wrong), answers

    monkeypatch.setattr(PteModel, "hear_offline", heard)
    with pytest.raises(CheckFailed, match="the exported offline is too far from the checkpoint"):
        export(order, tmp_path / "out", allow_fallback=True)
    assert not list(tmp_path.iterdir())


def test_too_much_beside_the_backend_is_not_written(order, lowered_once, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MIN_DELEGATED", 1.1)
    with pytest.raises(CheckFailed, match=r"of the time is on the backend.*--allow-fallback") as caught:
        export(order, tmp_path / "out")
    assert "the costliest outside it is" in str(caught.value) and not list(tmp_path.iterdir())


def test_a_failed_export_keeps_the_previous_bundle(order, lowered_once, small_bundle, tmp_path):
    out = copied(small_bundle, tmp_path)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SpeechpressError, match=r"already exists.*--overwrite"):
        export(order, out)
    strict = replace(order, target=replace(HOST, tolerances={"none": {"max_abs": 1e-12}}))
    with pytest.raises(CheckFailed):
        export(strict, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    export(order, out, overwrite=True, allow_fallback=True)
    assert read_bundle(out).name == "still" and [path.name for path in tmp_path.iterdir()] == [out.name]


def test_another_folder_is_never_replaced(order, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpeechpressError, match="is not a bundle"):
        export(order, tmp_path, overwrite=True)


def test_the_delegation_report_names_layers(small_bundle):
    document = read_bundle(small_bundle).document
    for share in document["delegation"].values():
        assert 0 < share["time_share"] <= 1 and share["delegated"] < share["operators"]
        assert all(row["layer"] for row in share["fallback"])


def test_what_falls_off_the_backend_is_named_by_layer():
    step = StreamingEncoder(make(SMALL), 4)  # as it is trained: with norms that the backend lacks
    method = Method(step, (torch.zeros(1, step.spec.chunk_samples), *step.initial_state().values()))
    norms = lower({"step": method}, {}, "xnnpack").fallback["step"]["aten::native_layer_norm.out"]
    assert {"encoder.layers.0.layer_norm", "encoder.layers.0.final_layer_norm"} <= set(norms)


def test_chunks_of_what_does_not_stream(still):
    with pytest.raises(SpeechpressError, match=r"does not stream, so --chunk-ms has no meaning.*streaming student"):
        plan(open_source(still), HOST, chunks_ms=(320,))


def test_chunks_of_no_whole_frames(small_checkpoint):
    with pytest.raises(SpeechpressError, match="not made of whole frames of 20 ms"):
        plan(open_source(small_checkpoint), HOST, chunks_ms=(330,))


@pytest.mark.parametrize(
    ("text", "layers"), [("last", (4,)), ("all", (0, 1, 2, 3, 4)), ("2,0", (0, 2)), ("4", (4,)), (" 1, 3", (1, 3))]
)
def test_layers_that_come_out(text, layers):
    assert exporting.choose_layers(text, 4) == layers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first", "must be last, all, or numbers such as 0,2,4"),
        ("", "must be last, all"),
        ("2,", "must be last, all"),
        ("5", "no layer 5; the encoder has layers 0 to 4"),
        ("-1", "no layer -1"),
        ("2,2", "lists a layer twice"),
    ],
)
def test_layers_that_there_are_not(text, said):
    with pytest.raises(SpeechpressError, match=said):
        exporting.choose_layers(text, 4)


def test_what_the_target_settles(small_checkpoint):
    source = open_source(small_checkpoint)
    order = plan(source, target_of("android"))
    assert (order.scheme, order.chunks, order.max_samples) == ("int8", (16, 8, 4), 160_000)
    assert plan(source, HOST, chunks_ms=(80, 80.0)).chunks == (4,)
    with pytest.raises(SpeechpressError, match="at least 2"):
        plan(source, HOST, offline_s=1)


def test_a_teacher_is_a_source():
    source = open_source("starter")
    assert source.name == "starter" and source.encoder.config.num_layers == 6
    assert plan(source, HOST).window_samples == 16_000


def test_what_is_no_source(tmp_path):
    with pytest.raises(SpeechpressError, match="neither a checkpoint nor a teacher"):
        open_source(tmp_path.name + "-nothing")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--target", "andriod"), 1, "Did you mean 'android'"),
        (("--target", "ios-coreml", "--quantize", "int8"), 1, "cannot be run by the backend coreml"),
        (("--target", "host"), 1, "no checkpoint given"),
        ((), 2, "--target"),
    ],
)
def test_what_cannot_be_exported(cli, words, code, said):
    done = cli("export", *words)
    assert done.returncode == code and said in done.stderr, done.stderr


def test_the_command_writes_a_bundle(cli, small_checkpoint, tmp_path):
    words = ("--target", "host", "--chunk-ms", 80, "--layers", "0,1", "--allow-fallback", "--json")
    done = cli("export", small_checkpoint, *words, timeout=600)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) >= {"out", "target", "quantize", "chunk_ms", "parity", "delegated_time", "size_bytes"}
    assert document["out"] == "bundles/small-host" and document["parity"]["max_abs"] <= 1e-4
    assert document["layers"] == [0, 1] and document["width"] == 64
    assert verify(tmp_path / document["out"])["ok"]
    assert "Warning" not in done.stderr and "torchao" not in done.stderr, done.stderr


def test_whole_recordings_can_be_left_out(small_checkpoint, tmp_path):
    order = plan(open_source(small_checkpoint), target_of("host"), "none", (80.0,), offline_s=0)
    document = export(order, tmp_path / "steps", allow_fallback=True)
    assert set(document["parity_per_method"]) == {"step_4"} and verify(tmp_path / "steps")["ok"]
    with pytest.raises(SpeechpressError, match="exported without whole recordings"):
        PteEngine(tmp_path / "steps").offline(np.zeros(16_000, np.float32))
    assert "no whole recordings" in (tmp_path / "steps" / "README.md").read_text()


def test_layers_of_every_call_are_told_for_traces(small_bundle):
    layers = read_bundle(small_bundle).document["delegation"]["step_4"]["layers"]
    products = [layer for partition in layers["partitions"] for layer in partition]
    assert products[0] == "feature_extractor.conv_layers.0.0.conv"
    # The means of a norm are products too, see `prepare.FrameNorm`.
    assert products[-3:] == ["encoder.layers.0.feed_forward.output_dense", *2 * ["encoder.layers.0.final_layer_norm"]]
    assert products.count("encoder.layers.0.attention") == 2  # queries times keys, and weights times values
    assert not any("attention" in layer for kernel in layers["kernels"].values() for layer in kernel)
