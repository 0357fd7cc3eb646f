import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.verify import verify


def test_int8_keeps_close_and_small(small_int8, small_bundle):
    document = read_bundle(small_int8).document
    assert document["quantize"] == "int8" and document["target"]["name"] == "android"
    for figures in document["parity"].values():
        assert figures["cosine"] >= 0.97 and figures["snr_db"] >= 12
    sizes = [read_bundle(f).document["files"]["encoder.pte"]["size_bytes"] for f in (small_int8, small_bundle)]
    assert sizes[0] < 0.7 * sizes[1]  # the rest of so small a program is its description


def test_it_is_really_quantised(small_int8):
    assert all(figures["max_abs"] > 1e-4 for figures in read_bundle(small_int8).document["parity"].values())


def test_a_quantised_bundle_verifies_itself(small_int8):
    result = verify(small_int8)
    assert result["ok"], json.dumps(result)


def test_silence_and_full_scale_stay_finite(small_int8):
    from speechpress.runtime.engine import PteModel

    model = PteModel(small_int8)
    for wave in (np.zeros(8_000, np.float32), np.ones(8_000, np.float32), np.tile([1.0, -1.0], 4_000)):
        assert np.isfinite(model.offline(wave.astype(np.float32))).all()


def test_recordings_of_any_length_of_an_encoder_of_full_size():
    """The compiler cannot prove that all lengths are valid; it must neither refuse nor fix them."""
    from speechpress.compressor.export.lower import Method, _exported
    from speechpress.compressor.export.prepare import Offline
    from speechpress.compressor.quantize.scheme import Quantization

    encoder = Encoder(EncoderConfig(num_heads=(12,), ffn_widths=(3072,))).eval()
    samples = torch.export.Dim("samples", min=720, max=160_000)
    method = Method(Offline(encoder), (torch.randn(1, 32_000),), ({1: samples},))
    (found,) = _exported(method, Quantization("int8")).range_constraints.values()
    assert (found.lower, found.upper) == (720, 160_000)


def test_static_ranges_are_those_of_the_prepared_encoders_own_numbers():
    """Each output of the checkpoint's layers, measured, is after `as_prepared` that of the layer that is exported."""
    from speechpress.compressor.export.prepare import Offline, checkpoint_name
    from speechpress.compressor.export.pt2e import as_prepared
    from speechpress.compressor.quantize.scheme import Operator, Quantization

    torch.manual_seed(0)
    config = EncoderConfig(
        conv_channels=(8,) * 7, width=32, head_dim=16, num_heads=(2, 2), ffn_widths=(48, 48), pos_conv_kernel=8
    )
    encoder, wave = Encoder(replace(config, pos_conv_groups=2)).eval(), torch.randn(1, 8_000)
    prepared = Offline(encoder)
    measured = ranges(encoder, lambda: encoder(wave))
    after = ranges(prepared.encoder, lambda: prepared(wave))
    exported = {checkpoint_name(name): value for name, value in after.items()}
    given = Quantization("int8-static", {name: Operator("static", (0, 1), value) for name, value in measured.items()})
    found = as_prepared(given, config).operators
    queries = [name for name in found if name.endswith("q_proj")]
    assert len(queries) == 2 and len(found) == 12
    for name, operator in found.items():
        assert operator.input == (0, 1) and operator.output == pytest.approx(exported[name], rel=1e-3, abs=1e-4), name


def ranges(encoder, run):
    """{name of a linear layer in the context network: lowest and highest value of what comes out of it}."""
    found = {}
    for name, part in encoder.named_modules():
        if isinstance(part, torch.nn.Linear) and "encoder.layers" in name:
            part.register_forward_hook(
                lambda _, __, out, name=name: found.update({name: (float(out.min()), float(out.max()))})
            )
    with torch.inference_mode():
        run()
    return found
