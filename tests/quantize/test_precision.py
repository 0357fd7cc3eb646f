from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.quantize.precision import check_precision
from speechpress.runtime.errors import SpeechpressError

CONFIG = EncoderConfig(
    conv_channels=(16,) * 7, width=32, head_dim=8, num_heads=(4,) * 2, ffn_widths=(64,) * 2, pos_conv_kernel=16
)
WAVE = 0.1 * torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))


def halves():
    return torch.autocast("cpu", torch.bfloat16)


def student():
    torch.manual_seed(0)
    return Encoder(CONFIG).train()


@pytest.mark.parametrize("conv_norm", ["static", "layer"])
def test_bfloat16_is_close_enough_and_nothing_is_left_behind(conv_norm):
    torch.manual_seed(0)
    encoder = Encoder(replace(CONFIG, conv_norm=conv_norm)).train()
    before = torch.random.get_rng_state()
    check_precision(encoder, WAVE, halves(), "here")
    assert torch.equal(torch.random.get_rng_state(), before), "the run draws the same dropout as without"
    assert encoder.training and not any(part._forward_hooks for part in encoder.modules())


@pytest.mark.parametrize(
    "name",
    ["feature_extractor.conv_layers.3.conv", "encoder.layers.1.attention.v_proj", "feature_projection.projection"],
)
def test_an_operator_that_is_wrong_in_bfloat16_is_found_before_the_first_step(name, monkeypatch):
    """As oneDNN's grouped convolutions were on processors with AMX (torch 2.13)."""
    encoder = student()
    wrong = encoder.get_submodule(name)
    right = wrong.forward

    def forward(x):
        return right(x).flip(1) if torch.is_autocast_enabled("cpu") else right(x)

    monkeypatch.setattr(wrong, "forward", forward)
    with pytest.raises(
        SpeechpressError, match=rf"mine.yaml:7: in this precision {name} is -?\d+ dB from float32 on cpu"
    ):
        check_precision(encoder, WAVE, halves(), "mine.yaml:7")
    check_precision(encoder, WAVE, nullcontext(), "mine.yaml:7")
