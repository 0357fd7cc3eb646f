from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import BASE, SMALL, make, speech_like
from carried import OUTPUTS, kept_heads

from speechpress.compressor.export.export import offline_module, step_method
from speechpress.compressor.export.half import without_gelu
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare import Offline, checkpoint_name
from speechpress.compressor.export.prepare_heads import FoldedSum
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.heads.module import LayerSum
from speechpress.compressor.models.answering import flat, hear, with_heads
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.quantize.fake_quant import kinds
from speechpress.runtime.engine import Program

CLOSE = 2e-5
CONFIGS = {
    "post norm": SMALL,
    "pre norm, two layers": replace(SMALL, pre_norm=True, num_heads=(2, 2), ffn_widths=(64, 64)),
    "time reduction": replace(SMALL, time_reduction=2),
    "does not stream": BASE,
}


def carrying(config):
    return with_heads(make(config), kept_heads(config))


def wave(samples, seed=0):
    return torch.from_numpy(speech_like(samples, seed))[None]


def is_close(ours, wanted, within=CLOSE):
    assert ours.shape == wanted.shape and ours.dtype == wanted.dtype
    if wanted.dtype != torch.int64:  # which of two centres is the nearest may be a matter of the last bit
        assert (ours - wanted).abs().max() <= within * wanted.abs().max().clamp_min(1)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "does not stream"])
@torch.no_grad()
def test_prepared_heads_answer_as_they_did_chunk_by_chunk(name):
    encoder = carrying(CONFIGS[name])
    ours, wanted = prepared_step(encoder, 4), StreamingEncoder(encoder, 4)
    mine = theirs = tuple(wanted.initial_state().values())
    for number in range(5):
        chunk = wave(wanted.spec.chunk_samples, number)
        found, expected = ours(chunk, *mine), wanted(chunk, *theirs)
        assert len(found) == 1 + OUTPUTS + len(wanted.state_names)
        for one, other in zip(found, expected, strict=True):
            is_close(one, other)
        mine, theirs = found[1 + OUTPUTS :], expected[1 + OUTPUTS :]


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_prepared_heads_answer_as_they_did_of_a_recording(name):
    encoder = carrying(CONFIGS[name])
    frames, answers = hear(encoder, wave(9_000))
    for one, other in zip(Offline(encoder)(wave(9_000)), (frames, *flat(answers)), strict=True):
        is_close(one, other)


@torch.no_grad()
def test_a_sum_leaves_out_layers_of_no_weight():
    of = LayerSum(4, 8)
    of.logits.copy_(torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0]))
    of.scale.uniform_(0.5, 2), of.shift.normal_()
    layers = torch.randn(1, 5, 4, 8)
    folded = FoldedSum(of)
    normed = torch.nn.functional.layer_norm(layers, (8,)).unbind(2)
    assert folded.places == (1, 3) and torch.allclose(folded([None, normed[1], None, normed[3]]), of(layers), atol=1e-5)


def test_prepared_products_have_the_names_of_the_heads_own():
    encoder = carrying(SMALL)
    step = prepared_step(encoder, 4)
    found = {checkpoint_name(name) for name, part in step.encoder.named_modules() if hasattr(part, "weight")}
    wanted = {name for name in kinds(encoder) if name.startswith("heads.")}
    assert "heads.turns.stack.convs.0.conv" in wanted and wanted <= found


@pytest.fixture(scope="module")
def lowered():
    encoder = carrying(SMALL)
    samples = torch.export.Dim("samples", min=880, max=16_000)
    methods = {
        "step": step_method(encoder, 4, half=False),
        "offline": Method(offline_module(encoder, half=False), (wave(8_000),), ({1: samples},), unproven=True),
    }
    return lower(methods, {}, "xnnpack"), encoder


def test_no_product_and_no_norm_of_a_head_lies_beside_the_backend(lowered):
    beside = {kernel.split("::")[-1] for kernel in lowered[0].fallback["step"]}
    assert not beside & {"linear.out", "convolution.out", "native_layer_norm.out", "addmm.out", "mm.out"}


def test_the_lowered_program_answers_the_same_at_every_length(lowered, tmp_path):
    made, encoder = lowered
    (tmp_path / "p.pte").write_bytes(made.program)
    program = Program(tmp_path / "p.pte", threads=1)
    for length in (880, 5_000, 16_000):
        frames, answers = hear(encoder, wave(length))
        for one, other in zip(program.run("offline", wave(length).numpy()), (frames, *flat(answers)), strict=True):
            assert one.shape == tuple(other.shape)
            if one.dtype != np.int64:
                assert np.abs(one - other.numpy()).max() < 1e-3


@torch.no_grad()
def test_heads_in_halves_keep_their_state_in_floats():
    encoder, chunk = carrying(SMALL), wave(1_280)
    method, plain = (step_method(encoder, 4, half) for half in (True, False))
    state = method.example[1:]
    traced = without_gelu(torch.export.export(method.module, method.example, strict=False).module())
    for one, other in zip(traced(chunk, *state), plain.module(chunk, *state), strict=True):
        is_close(one, other, within=0.02)
