from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make, speech_like
from carried import kept_heads

from speechpress.compressor.export.export import offline_module, step_method
from speechpress.compressor.export.half import with_conversions, without_gelu
from speechpress.compressor.export.lower import lower
from speechpress.compressor.models.answering import with_heads
from speechpress.runtime.engine import Program
from speechpress.runtime.parity import compare

# Whether there is audio for a frame, which is counted in integers; XNNPACK has none.
INTEGERS = {"aten::add.out", "aten::ge.Scalar_out", "aten::lt.Tensor_out", "aten::bitwise_and.Tensor_out"}


def traced(module, example):
    return without_gelu(torch.export.export(module, example, strict=False).module())


def test_a_recording_in_halves_is_close_and_comes_out_in_floats():
    encoder, wave = make(BASE), torch.from_numpy(speech_like(8_000))[None]
    with torch.no_grad():
        frames = traced(offline_module(encoder, half=True), (wave,))(wave)
        assert frames.dtype == torch.float32
        assert compare(frames[0].numpy(), encoder(wave)[0].numpy())["snr_db"] > 40
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())


def test_a_step_in_halves_keeps_the_state_in_floats():
    encoder, chunk = make(SMALL), torch.from_numpy(speech_like(1_280))[None]
    method, plain = (step_method(encoder, 4, half) for half in (True, False))
    state = method.example[1:]
    with torch.no_grad():
        found, wanted = traced(method.module, method.example)(chunk, *state), plain.module(chunk, *state)
    assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in wanted]
    names = plain.module.state_names
    for name, half, whole in zip(("frames", *names), found, wanted, strict=True):
        if name in ("count", "end", "audio"):
            assert torch.equal(half, whole), name
        else:
            assert torch.allclose(half, whole, atol=0.02, rtol=0.02), name


def test_gelu_made_of_a_sigmoid_is_gelu():
    class Gelu(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.gelu(x)

    x = torch.cat([torch.linspace(-300, 300, 4001), torch.linspace(-5, 5, 4001)]).half()
    found, wanted = traced(Gelu(), (x,))(x).float(), torch.nn.functional.gelu(x.float())
    assert torch.isfinite(found).all() and ((found - wanted).abs() <= 1e-3 + 2e-3 * wanted.abs()).all()


def test_every_conversion_becomes_one_that_xnnpack_takes():
    class Turned(torch.nn.Module):
        def forward(self, x):
            half = x.to(torch.half)
            return (half * half).float() + half.type_as(x), (x > 0).float()

    x = torch.randn(1, 3, 4, 5)
    found = with_conversions(torch.export.export(Turned(), (x,), strict=False).module())
    targets = [str(node.target) for node in found.graph.nodes]
    assert targets.count("speechpress.convert.default") == 3
    assert [one.dtype for one in found(x)] == [torch.float32] * 2 and torch.equal(found(x)[0], Turned()(x)[0])


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    """A program in halves with a head, what is not on the backend, and the step in float32."""
    encoder = with_heads(make(replace(SMALL, ffn_widths=(32,))), kept_heads(SMALL, ("vad",)))
    half, plain = (step_method(encoder, 4, half) for half in (True, False))
    made = lower({"step": half}, {}, "xnnpack", "fp16")
    path = tmp_path_factory.mktemp("half") / "half.pte"
    path.write_bytes(made.program)
    return Program(path, threads=1), made, plain


def test_nothing_in_halves_is_left_to_portable_kernels(lowered):
    """Their LayerNorm is wrong by -40 dB in halves, and each conversion there would end a call of the backend."""
    fallback = lowered[1].fallback["step"]
    beside = {kernel.split("::")[-1].split(".")[0] for kernel in fallback}
    assert not beside & {"native_layer_norm", "gelu", "mm", "bmm", "linear", "convolution", "addmm", "convert"}
    assert set(fallback) >= INTEGERS
    # What the integers came to, made numbers.
    assert set(fallback["dim_order_ops::_to_dim_order_copy.out"]) == {"stream", "heads.vad"}


@torch.no_grad()
def test_a_stream_in_halves_says_what_float32_says(lowered):
    """Frames and heads, over a stream whose state is the program's own."""
    program, _, plain = lowered
    state, wanted_state = (list(plain.example[1:]) for _ in range(2))
    found, wanted = [], []
    for chunk in torch.from_numpy(speech_like(20 * 1_280)).view(20, 1, -1):
        outputs = [torch.from_numpy(out) for out in program.run("step", chunk.numpy(), *(s.numpy() for s in state))]
        expected = plain.module(chunk, *wanted_state)
        said = len(outputs) - len(state)
        state, wanted_state = outputs[said:], list(expected[said:])
        found.append(outputs[:said])
        wanted.append(expected[:said])
    assert len(found[0]) == 2  # frames, and what the head says
    for one, other in zip(zip(*found, strict=True), zip(*wanted, strict=True), strict=True):
        ours, theirs = (torch.cat(parts, 1)[0].numpy() for parts in (one, other))
        assert compare(ours, theirs)["snr_db"] > 35
