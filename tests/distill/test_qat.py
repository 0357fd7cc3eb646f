from dataclasses import replace

import pytest
import torch
from bundled import SMALL, make, speech_like
from safetensors.torch import load_file

from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.qat import QuantizedTraining
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.quantize.fake_quant import simulated
from speechpress.compressor.quantize.scheme import FIRST_CONV, Quantization, load_quantization
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.schema import Quantize
from speechpress.compressor.study.schemes import lowered_alone
from speechpress.runtime.engine import Program
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parity import compare

WIDE = replace(SMALL, conv_channels=(16, 32), head_dim=16)  # so that groups of 32 inputs divide it
STILL = replace(WIDE, conv_norm="group", pos_conv_future=None, left_context=None, dropout=0.0)
QUICK = ["train.steps=6", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=6"]


def recipe(teacher, *settings):
    return load_recipe("distilhubert-streaming", [f"teacher={teacher}", *QUICK, *settings])


def run(loaded, clips, out, listen=lambda event: None, **options):
    return distill(loaded, RunOptions((clips,), out, "cpu", **options), listen)


def trained(scheme, config=WIDE, steps=4, freeze=1.0):
    """A student that has heard noise in training mode, and what watches it."""
    encoder = make(config).train()
    watch = QuantizedTraining(encoder, Quantize(scheme, freeze=freeze), steps).train()
    for step in range(steps):
        watch.at(step)
        encoder(torch.from_numpy(speech_like(16_000, step))[None])
    return encoder.eval(), watch.eval()


@pytest.mark.parametrize("scheme", ["int8", "int8-static", "int4"])
def test_a_student_in_training_computes_as_a_simulation_of_what_it_learned(scheme):
    encoder, watch = trained(scheme)
    wave, floats = torch.from_numpy(speech_like(16_000, 9))[None], make(WIDE)
    with torch.inference_mode():
        training, wanted = encoder(wave)[0].numpy(), simulated(floats, watch.learned())(wave)[0].numpy()
        assert compare(training, wanted)["snr_db"] > 60 > compare(training, floats(wave)[0].numpy())["snr_db"]


def test_a_student_in_training_computes_as_its_program_will(tmp_path):
    """Much closer than its program is to the weights in float: it is trained for its program's own rounding."""
    encoder, watch = trained("int8-static", STILL)
    wave, learned = torch.from_numpy(speech_like(16_000, 9))[None], watch.learned()
    path = tmp_path / "program.pte"
    path.write_bytes(lowered_alone(make(STILL), learned)[0].program)
    exported = Program(path, threads=1).run("window", wave.numpy())[0][0]
    with torch.inference_mode():
        training, floats = encoder(wave)[0].numpy(), make(STILL)(wave)[0].numpy()
    error = compare(exported, floats)["snr_db"]
    assert 8 < error < 50 and compare(exported, training)["snr_db"] > error + 10


def test_ranges_follow_until_they_are_frozen():
    encoder, watch = trained("int8-static", steps=4, freeze=0.5)
    name = list(watch.settled).index("encoder.layers.0.feed_forward.output_dense")
    before = watch.low.clone(), watch.high.clone()
    assert watch.high[name, 0] > 0 > watch.low[name, 0]
    encoder.train(), watch.train()
    watch.at(3)
    encoder(torch.ones(1, 8000))
    assert torch.equal(watch.low, before[0]) and torch.equal(watch.high, before[1])
    watch.at(1)
    encoder(torch.from_numpy(5 * speech_like(8_000))[None])
    assert not torch.equal(watch.high, before[1])


def test_before_its_start_nothing_is_rounded_but_ranges_are_watched():
    encoder = make(WIDE).train()
    wave, wanted = torch.from_numpy(speech_like(8_000))[None], make(WIDE)
    watch = QuantizedTraining(encoder, Quantize("int8-static", start=0.5), 10).train()
    watch.at(0)
    encoder.eval()
    assert torch.equal(encoder(wave), wanted(wave))
    encoder.train()
    encoder(wave)
    assert bool(watch.heard.any())
    watch.at(5)
    encoder.eval()
    assert not torch.equal(encoder(wave), wanted(wave))


def test_gradients_reach_every_weight():
    encoder, watch = trained("int8-static")
    encoder.train().requires_grad_(True)
    watch.at(1)
    encoder.hidden_states(torch.from_numpy(speech_like(8_000))[None])[-1].sum().backward()
    missing = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert [name for name in missing if "masked_spec_embed" not in name] == []


def test_a_run_leaves_an_ordinary_checkpoint_and_what_it_was_trained_for(tiny_teacher, few_clips, tmp_path):
    outcome = run(recipe(tiny_teacher, "quantize.scheme=int8-static"), few_clips, tmp_path / "run")
    quantization = load_quantization(tmp_path / "run")
    assert outcome.finished and quantization is not None and quantization.scheme == "int8-static"
    assert quantization.operators[FIRST_CONV].how == "float"
    ranges = [item for item in quantization.operators.values() if item.how == "static"]
    assert ranges and all(item.output is not None and item.output[0] < item.output[1] for item in ranges)
    load_encoder(tmp_path / "run")  # strictly: no other tensors than the encoder's
    assert load_recipe(str(tmp_path / "run" / "recipe.yaml")).quantize == Quantize("int8-static")


def test_a_resumed_run_ends_with_the_very_same_ranges(tiny_teacher, few_clips, tmp_path):
    loaded = recipe(tiny_teacher, "quantize.scheme=int8-static", "train.checkpoint_every=3", "quantize.start=0.2")
    run(loaded, few_clips, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(event):
        if event["event"] == "train" and event["step"] == 5:
            raise Killed

    with pytest.raises(Killed):
        run(loaded, few_clips, tmp_path / "parts", kill)
    run(loaded, few_clips, tmp_path / "parts", resume=True)
    assert load_quantization(tmp_path / "parts") == load_quantization(tmp_path / "whole")
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("quantize.scheme=int3", "quantize.scheme is 'int3'"),
        ("quantize.start=1", "quantize.start"),
        ("quantize.shceme=int8", "Did you mean 'scheme'"),
    ],
)
def test_a_wrong_section_is_named(setting, said):
    with pytest.raises(SpeechpressError, match=said):
        load_recipe("distilhubert", ["quantize.scheme=int8", setting])


def test_widths_that_no_group_divides_are_refused_at_once(tiny_teacher, few_clips, tmp_path):
    with pytest.raises(SpeechpressError, match=r"--set quantize.scheme=int4: int4 gives each 32 inputs"):
        run(recipe(tiny_teacher, "quantize.scheme=int4"), few_clips, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_int8_and_int4_have_no_ranges():
    for scheme in ("int8", "int4"):
        assert trained(scheme, steps=1)[1].learned().settled({}) == Quantization(
            scheme, {}, {"made_by": "distillation"}
        )
