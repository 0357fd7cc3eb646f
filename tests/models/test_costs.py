from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads
from speechpress.compressor.models import costs
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder

SMALL = EncoderConfig(
    conv_channels=(8, 16, 16),
    conv_kernels=(10, 3, 2),
    conv_strides=(5, 2, 2),
    width=32,
    head_dim=8,
    num_heads=(4, 2, 1),
    ffn_widths=(64, 16, 40),
    pos_conv_kernel=16,
    pos_conv_groups=4,
)
VARIANTS = {
    "base": SMALL,
    "layer norm": replace(SMALL, conv_norm="layer", conv_bias=True, pre_norm=True, input_norm="utterance"),
    "layer norm without bias": replace(SMALL, conv_norm="layer"),
    "no projection norm": replace(SMALL, projection_norm=False),
    "odd kernel": replace(SMALL, pos_conv_kernel=15),
    "no layers": replace(SMALL, num_heads=(), ffn_widths=()),
    "no projection": replace(SMALL, conv_channels=(8, 16, 32), projection=False),
    "time reduction": replace(SMALL, time_reduction=2),
    "reused attention": replace(SMALL, num_heads=(4, 4, 2), reuse_attention=(False, True, False)),
    "shared layers": replace(SMALL, num_heads=(4, 1) * 2, ffn_widths=(64, 16) * 2, distinct_layers=2),
    "rms": replace(SMALL, norm="rms"),
    "dyt": replace(SMALL, norm="dyt"),
    "patches": replace(
        SMALL, front_end="patch", conv_norm="frame", conv_kernels=(30, 1, 1), conv_strides=(20, 1, 1), conv_bias=True
    ),
    "log-mel": replace(SMALL, front_end="mel", conv_kernels=(3, 3, 1), conv_strides=(1, 2, 1), conv_norm="layer"),
    "all of it": replace(
        SMALL,
        num_heads=(4, 4) * 2,
        ffn_widths=(64, 16) * 2,
        distinct_layers=2,
        reuse_attention=(False, True) * 2,
        time_reduction=3,
    ),
}
HUBERT = EncoderConfig()
DISTILHUBERT = replace(HUBERT.with_layers(2), projection_norm=False)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_parameters_are_those_of_the_encoder(config: EncoderConfig) -> None:
    encoder, parts = Encoder(config), costs.parts(config)
    assert costs.parameters(config) == count(encoder) == sum(part.parameters for part in parts.values())
    assert parts["front_end"].parameters == count(encoder.feature_extractor)
    assert parts["projection"].parameters == count(encoder.feature_projection)
    assert parts["layers"].parameters == count(encoder.encoder.layers)


@pytest.mark.parametrize("config", [HUBERT, DISTILHUBERT], ids=["HuBERT base", "DistilHuBERT"])
def test_full_size_parameters(config: EncoderConfig) -> None:
    with torch.device("meta"):
        assert costs.parameters(config) == count(Encoder(config))


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_macs_are_those_that_torch_counts(config: EncoderConfig) -> None:
    """Within the few frames that kernels cost at the ends of a recording; attention's own products are taken off."""
    seconds = 4
    encoder = Encoder(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        encoder(torch.randn(1, 16_000 * seconds))
    attention = costs.attention_macs_per_s(config, seconds)
    assert counter.get_total_flops() / 2 / seconds == pytest.approx(costs.macs_per_s(config) + attention, rel=0.01)


def test_weights_and_channels_are_those_of_the_kernels() -> None:
    kernels = [m for m in Encoder(SMALL).modules() if isinstance(m, nn.Linear | nn.Conv1d)]
    whole = costs.total(SMALL)
    assert whole.weights == sum(kernel.weight.numel() for kernel in kernels)
    assert whole.channels == sum(kernel.weight.shape[0] for kernel in kernels)
    rest = whole.parameters - whole.weights + whole.channels
    assert costs.size_bytes(SMALL)["int8"] == whole.weights + 4 * rest


def test_published_figures() -> None:
    assert round(costs.parameters(DISTILHUBERT) / 1e6, 2) == 23.49
    assert round(costs.macs_per_s(DISTILHUBERT) / 1e9, 2) == 3.42
    assert round(costs.macs_per_s(HUBERT) / 1e9, 2) == 6.96
    assert costs.parts(HUBERT)["front_end"].macs_per_s == pytest.approx(2.454e9, rel=1e-3)
    assert costs.parts(HUBERT)["position_conv"].macs_per_s == pytest.approx(0.236e9, rel=1e-3)
    assert costs.parts(HUBERT)["layers"].macs_per_s == pytest.approx(4.247e9, rel=1e-3)
    sizes = {name: round(size / 1e6, 1) for name, size in costs.size_bytes(DISTILHUBERT).items()}
    assert sizes == {"fp32": 94.0, "fp16": 47.0, "int8": 23.6}
    assert costs.head_parameters(768, 768, 3) == 3_543_552


@pytest.mark.parametrize(("student", "teacher", "heads"), [(16, 16, 3), (16, 24, 2), (8, 8, 1)])
def test_head_parameters(student: int, teacher: int, heads: int) -> None:
    assert costs.head_parameters(student, teacher, heads) == count(PredictionHeads(range(heads), student, teacher))


def reach(config: EncoderConfig, module: nn.Module, samples: int) -> tuple[int, int]:
    """First and last sample that the middle frame depends on, and that frame's number, by the gradient."""
    wave = torch.randn(1, samples, requires_grad=True)
    features = module(wave)
    middle = features.shape[1] // 2
    (features[0, middle] * torch.randn(features.shape[-1])).sum().backward()
    assert wave.grad is not None
    touched = wave.grad[0].nonzero()[:, 0]
    start = middle * config.hop_samples
    return int(touched[-1] - touched[0]) + 1, int(touched[-1]) - (start + config.hop_samples - 1)


@pytest.mark.parametrize("kernel", [16, 15])
def test_sight_is_what_gradients_reach(kernel: int) -> None:
    config = replace(SMALL, conv_norm="layer", pos_conv_kernel=kernel, num_heads=(), ffn_widths=())
    encoder = Encoder(config).eval()
    front, ahead = reach(config, encoder.feature_extractor, 4000)
    sight = costs.sight_ms(config)
    assert set(sight) == {"front_end", "position_conv"}
    assert (front / 16, ahead / 16) == tuple(sight["front_end"].values())
    whole, ahead = reach(config, encoder, 4000)
    assert (whole / 16, ahead / 16) == tuple(sight["position_conv"].values())


def test_sight_through_a_time_reduction() -> None:
    config = replace(SMALL, conv_norm="layer", time_reduction=2, num_heads=(), ffn_widths=())
    whole, ahead = reach(config, Encoder(config).eval(), 4000)
    assert (whole / 16, ahead / 16) == tuple(costs.sight_ms(config)["position_conv"].values())
    plain = costs.sight_ms(replace(config, time_reduction=1))
    assert costs.sight_ms(config)["front_end"] == plain["front_end"]


@pytest.mark.parametrize("projections", [None, (0, 1, 1)])
@pytest.mark.parametrize("upsample", ["repeat", "conv"])
def test_projections_and_upsampling(projections: tuple[int, ...] | None, upsample: str) -> None:
    config = replace(SMALL, time_reduction=2)
    pairs = [(1, 1), (2, 2), (3, 3)]
    heads = LayerPairs(pairs, config.width, 24, projections, factor=2, upsample=upsample)
    part = costs.projection_part(config, 24, 2)
    part += costs.upsample_part(config, 2) if upsample == "conv" else costs.Part()
    assert part.parameters * (2 if projections else 3) == count(heads)
    frames = 80
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        heads([torch.randn(1, frames, config.width)] * 4)
    used_s = frames / costs.frames_per_s(config)
    assert counter.get_total_flops() / 2 / used_s == pytest.approx(3 * part.macs_per_s)


def test_huberts_sight() -> None:
    sight = costs.sight_ms(HUBERT)
    assert sight["front_end"] == {"receptive_field_ms": 25.0, "lookahead_ms": 5.0}
    assert sight["position_conv"]["lookahead_ms"] == 63 * 20 + 5
    assert sight["attention"] == sight["group_norm"] == {"receptive_field_ms": None, "lookahead_ms": None}
    assert "input_scaling" in costs.sight_ms(replace(HUBERT, input_norm="utterance"))


STREAMING = replace(SMALL, conv_norm="static", pos_conv_future=3, left_context=7)


def test_sight_of_a_streaming_encoder_is_bounded() -> None:
    hop_ms, field_ms = STREAMING.hop_samples / 16, STREAMING.receptive_samples / 16
    sight = costs.sight_ms(STREAMING)
    assert "group_norm" not in sight
    position = sight["position_conv"]
    assert (
        position["lookahead_ms"] == sight["attention"]["lookahead_ms"] == pytest.approx(field_ms - hop_ms + 3 * hop_ms)
    )
    past_ms = STREAMING.num_layers * 7 * hop_ms
    assert sight["attention"]["receptive_field_ms"] == position["receptive_field_ms"] + past_ms


@pytest.mark.parametrize("chunk_frames", (1, 4, 16))
@pytest.mark.parametrize("name", ("plain", "all of it", "log-mel"))
def test_stream_costs_are_what_a_step_does(name: str, chunk_frames: int) -> None:
    """MACs of one step as PyTorch's own counter sees them, and the bytes of its state."""
    streams = {"conv_norm": "static", "pos_conv_future": 3, "left_context": 7}
    config = STREAMING if name == "plain" else replace(VARIANTS[name], **streams)
    model = StreamingEncoder(Encoder(config), chunk_frames)
    state, chunk = model.initial_state(), torch.zeros(1, model.spec.chunk_samples)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.step(chunk, state)
    found = costs.stream_costs(config, chunk_frames)
    assert found["macs_per_s"] * chunk_frames * config.hop_samples / 16_000 == pytest.approx(
        counter.get_total_flops() / 2
    )
    assert found["state_bytes"] == sum(tensor.nbytes for tensor in state.values())
