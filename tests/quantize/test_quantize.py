import hashlib
import shutil

import pytest
import torch
from bundled import BASE, CHUNK_MS, SMALL, make

from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import (
    load_checkpoint,
    load_encoder,
    parameters,
    save_encoder,
    write_json,
)
from speechpress.compressor.quantize.fake_quant import kinds, operators
from speechpress.compressor.quantize.ptq import open_unquantized, prepare, quantize, settle, size_bytes
from speechpress.compressor.quantize.scheme import (
    CALIBRATED,
    FIRST_CONV,
    Operator,
    Quantization,
    load_quantization,
    save_quantization,
)
from speechpress.compressor.targets import SCHEMES, target_of
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


def told(opened):
    """What the card of a checkpoint says of its quantisation."""
    return opened.card["quantize"]


def test_all_that_makes_a_checkpoint_comes_along(small_checkpoint, tmp_path):
    """Byte for byte, with the parent's parents before it."""
    source = shutil.copytree(small_checkpoint, tmp_path / "source")
    before = {"path": "before", "sha256": "0" * 64, "by": "prune"}
    card = {**load_checkpoint(source).card, "parents": [before]}
    write_json(source / "card.json", card)
    (source / "recipe.yaml").write_text("name: small\n")
    (source / "preprocessor_config.json").write_text('{"do_normalize": false}')
    (source / "resume.safetensors").write_text("of another run")
    document = quantize(prepare(source, None, False), "int8", tmp_path / "out", quiet)
    copied = {"config.json", "model.safetensors", "recipe.yaml", "preprocessor_config.json"}
    for name in copied:
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes(), name
    made = {path.name for path in (tmp_path / "out").iterdir()} - {path.name for path in source.iterdir()}
    assert made == {"quantize.json"} and not (tmp_path / "out" / "resume.safetensors").exists()
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    opened = load_checkpoint(tmp_path / "out")
    assert opened.card["parents"] == [before, {"path": str(source), "sha256": digest, "by": "quantize"}]
    assert told(opened)["parent"] == {"path": str(source), "sha256": digest} and told(opened)["scheme"] == "int8"
    assert document["calibration"] is None and "calibration" not in told(opened)
    assert "sensitivity" not in told(opened) and "reached_db" not in document


def test_the_size_to_expect_by_hand(small_checkpoint):
    """Of 8 bits a float32 per output channel comes with them, of 4 bits a bfloat16 for 32 inputs."""
    encoder = load_encoder(small_checkpoint)
    shapes = {name: tuple(part.weight.shape) for name, part in operators(encoder).items()}
    first, *convolutions = [shape for shape in shapes.values() if len(shape) == 3]
    linears = [shape for shape in shapes.values() if len(shape) == 2]
    assert first == (16, 1, 400) and convolutions == [(16, 16, 3), (32, 8, 16)]
    assert sorted(linears) == sorted([(32, 16), *[(16, 32)] * 3, (32, 16), (512, 32), (32, 512)])
    in_convolutions, in_linears = 16 * 16 * 3 + 32 * 8 * 16, 2 * 16 * 32 + 3 * 16 * 32 + 2 * 512 * 32
    whole = 4 * sum(parameter.numel() for parameter in encoder.parameters())
    assert parameters(encoder) * 4 == whole
    conv_rows, linear_rows = 16 + 32, 2 * 32 + 3 * 16 + 512 + 32
    in_8_bits = whole - 3 * (in_convolutions + in_linears) + 4 * (conv_rows + linear_rows)
    in_4_bits = in_8_bits - in_linears // 2 - 4 * linear_rows + in_linears // 32 * 2
    halves = whole // 2 + 2 * (in_convolutions + 16 * 400)
    linear_only = whole - 3 * in_linears + 4 * linear_rows
    found = {scheme: size_bytes(encoder, Quantization(scheme)) for scheme in SCHEMES if scheme not in CALIBRATED}
    assert found == {
        "none": whole, "int8": in_8_bits, "int8-linear": linear_only, "int4": in_4_bits, "fp16": halves
    }  # fmt: skip
    fixed = {name: Operator("static", (-1.0, 1.0), (-1.0, 1.0)) for name in shapes if name != FIRST_CONV}
    static = Quantization("int8-static", {FIRST_CONV: Operator("float"), **fixed})
    assert size_bytes(encoder, static) == in_8_bits


def test_a_checkpoint_that_streams_nowhere_has_no_chunks(tmp_path):
    save_encoder(tmp_path, make(BASE))
    write_json(tmp_path / "card.json", {})
    assert prepare(tmp_path, None, False).chunks == ()


def test_the_recordings_that_the_distillation_held_out_are_held_out_again(small_checkpoint, few_clips, tmp_path):
    folder = shutil.copytree(small_checkpoint, tmp_path / "folder")
    heard = {}
    for seed in (None, 0, 1, 2):
        recipe = {"recipe": {"name": "small", **({} if seed is None else {"train": {"seed": seed}})}}
        write_json(folder / "card.json", recipe)
        heard[seed] = prepare(folder, few_clips, True).speech.about["seconds"]
    write_json(folder / "card.json", {})
    assert heard[None] == heard[0] == prepare(folder, few_clips, True).speech.about["seconds"]
    assert len({heard[seed] for seed in (0, 1, 2)}) == 3
    assert prepare(folder, few_clips, False).speech is None


def test_the_budget_is_30_db_when_nothing_is_said(small_checkpoint, few_clips):
    prepared, said = prepare(small_checkpoint, few_clips, True), []
    found, costs = settle(prepared, "mixed", said.append)
    assert found.about["budget_db"] == 30 and found.about["reached_db"] >= 30 and found.scheme == "mixed"
    assert len(costs) == len(kinds(prepared.encoder)) and said
    plain, none = settle(prepared, "int4", quiet)
    assert none is None and {item.how for item in plain.operators.values()} == {"float", "dynamic", "int4"}
    assert set(plain.operators) == set(kinds(prepared.encoder))


def test_export_takes_its_ranges_without_speech(static, tmp_path):
    source = open_source(static[0])
    order = plan(source, target_of("android"), None, (CHUNK_MS,), offline_s=0)
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
    with pytest.raises(SpeechpressError, match="already exists"):
        quantize(prepared, "int8", tmp_path, quiet, overwrite=True)
    out = tmp_path / "out"
    quantize(prepared, "int8", out, quiet)
    with pytest.raises(SpeechpressError, match="--overwrite"):
        quantize(prepared, "int8-linear", out, quiet)
    quantize(prepared, "int8-linear", out, quiet, overwrite=True)
    assert load_quantization(out).scheme == "int8-linear"
