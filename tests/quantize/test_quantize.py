import pytest
import torch
from bundled import BASE, CHUNK_MS, SMALL, make

from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import load_checkpoint, save_encoder, write_json
from speechpress.compressor.quantize.ptq import open_unquantized, prepare, quantize
from speechpress.compressor.quantize.scheme import Quantization, load_quantization, save_quantization
from speechpress.compressor.targets import target_of
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.errors import SpeechpressError

HOST = target_of("host")


def quiet(stage):
    pass


@pytest.fixture(scope="module")
def static(small_checkpoint, few_clips, tmp_path_factory):
    """Folder and document of `small_checkpoint`, calibrated."""
    out = tmp_path_factory.mktemp("static") / "small-static"
    return out, quantize(prepare(small_checkpoint, few_clips, True), "int8-static", out, quiet)


def test_the_folder_is_a_checkpoint_that_knows_its_parent_and_its_speech(static, small_checkpoint, few_clips):
    folder, document = static
    opened, quantization = load_checkpoint(folder), load_quantization(folder)
    parent = load_checkpoint(small_checkpoint)
    for name, tensor in parent.encoder.state_dict().items():
        assert torch.equal(opened.encoder.state_dict()[name], tensor)
    assert (
        opened.card["parents"][-1]["path"] == str(small_checkpoint)
        and opened.card["quantize"]["scheme"] == "int8-static"
    )
    calibration = quantization.about["calibration"]
    assert calibration["source"] == str(few_clips) and len(calibration["fingerprint"]) == 64
    assert calibration["chunk_frames"] == [4, 8, 16]
    assert set(document) >= {"out", "parameters", "macs_per_s", "size_bytes"}
    assert document["float"] == ["feature_extractor.conv_layers.0.conv"]
    assert document["size_bytes"] < 2.5 * document["parameters"]


def test_export_takes_its_ranges_without_speech(static, tmp_path):
    source = open_source(static[0])
    order = plan(source, target_of("android"), None, (CHUNK_MS,))
    assert order.scheme == "int8-static" and order.quantization == source.quantization
    export(order, tmp_path / "bundle", allow_fallback=True)
    document = read_bundle(tmp_path / "bundle").document
    assert document["quantize"] == "int8-static" and document["lineage"]["quantization"]["calibration"]["seconds"] > 0
    for figures in document["parity"].values():
        assert figures["snr_db"] > 15 and figures["max_abs"] > 1e-4


def test_another_scheme_can_still_be_asked_for(static):
    source = open_source(static[0])
    assert plan(source, HOST, "none").scheme == "none" and plan(source, HOST, "int8").scheme == "int8"
    with pytest.raises(SpeechpressError, match=r"needs calibration data.*--scheme mixed"):
        plan(source, HOST, "mixed")
    with pytest.raises(SpeechpressError, match=r"cannot be run by the backend coreml.*can run: none"):
        plan(source, target_of("ios-coreml"))


def test_without_calibration_there_is_no_static_export(small_checkpoint):
    with pytest.raises(
        SpeechpressError, match=r"needs calibration data.*compress quantize CHECKPOINT --scheme int8-static"
    ):
        plan(open_source(small_checkpoint), HOST, "int8-static")


def test_mixed_says_what_it_left_in_float_and_why(small_checkpoint, few_clips, tmp_path):
    document = quantize(prepare(small_checkpoint, few_clips, True), "mixed", tmp_path / "mixed", quiet, budget_db=45.0)
    about = load_quantization(tmp_path / "mixed").about
    assert document["reached_db"] >= 45 and len(document["float"]) > 1
    assert about["sensitivity"][0]["name"] in document["float"]


def test_quantising_twice_is_refused_and_names_the_parent(static, small_checkpoint):
    with pytest.raises(SpeechpressError, match=rf"is quantised already \(int8-static\).*{small_checkpoint}"):
        open_unquantized(static[0])


def test_what_was_trained_for_a_scheme_is_not_quantised_again(tmp_path):
    save_encoder(tmp_path, make(SMALL))
    save_quantization(tmp_path, Quantization("int8", about={"made_by": "distillation"}))
    with pytest.raises(SpeechpressError, match=r"was trained for int8.*compress export"):
        open_unquantized(tmp_path)


def test_a_bundle_is_refused(small_bundle):
    with pytest.raises(SpeechpressError, match=r"is a bundle.*Quantise the checkpoint"):
        open_unquantized(small_bundle)


def test_widths_that_no_group_divides(tmp_path):
    from dataclasses import replace

    odd = replace(BASE, width=48, pos_conv_groups=4, ffn_widths=(100,))
    save_encoder(tmp_path / "odd", make(odd))
    write_json(tmp_path / "odd" / "card.json", {})
    with pytest.raises(SpeechpressError, match=r"int4 gives each 32 inputs.*no multiple of"):
        quantize(prepare(tmp_path / "odd", None, False), "int4", tmp_path / "out", quiet)
    with pytest.raises(SpeechpressError, match=r"int4 gives each 32 inputs"):
        plan(open_source(tmp_path / "odd"), HOST, "int4")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scheme", "same", "said"),
    [("none", False, "quantises nothing"), ("int8", True, "is the checkpoint itself")],
)
def test_what_makes_no_checkpoint(small_checkpoint, tmp_path, scheme, same, said):
    out = small_checkpoint if same else tmp_path / "out"
    with pytest.raises(SpeechpressError, match=said):
        quantize(prepare(small_checkpoint, None, False), scheme, out, quiet)


def test_only_a_quantised_checkpoint_is_replaced(static, small_checkpoint, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    prepared = prepare(small_checkpoint, None, False)
    with pytest.raises(SpeechpressError, match="exists already"):
        quantize(prepared, "int8", tmp_path, quiet, overwrite=True)
    out = tmp_path / "out"
    quantize(prepared, "int8", out, quiet)
    with pytest.raises(SpeechpressError, match="--overwrite"):
        quantize(prepared, "int8-linear", out, quiet)
    quantize(prepared, "int8-linear", out, quiet, overwrite=True)
    assert load_quantization(out).scheme == "int8-linear"
