import torch
from bundled import BASE, SMALL, make, speech_like

from speechpress.compressor.export.export import offline_module, step_method
from speechpress.compressor.export.half import without_gelu
from speechpress.runtime.parity import compare


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
