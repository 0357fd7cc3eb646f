"""The front end: what trains faster on a CPU computes the same as what runs elsewhere."""

import pytest
import torch
from torch import Tensor

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.front_end import FeatureExtractor, StridedConv


def with_gradients(module: torch.nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    module.zero_grad()
    y = module(x)
    (y * torch.linspace(-1, 1, y.shape[-1])).sum().backward()
    return y.detach(), [part.grad.clone() for part in module.parameters()]


@pytest.mark.parametrize(("inputs", "kernel", "stride"), [(1, 10, 5), (3, 3, 2), (8, 2, 2), (4, 400, 320)])
@pytest.mark.parametrize("bias", [True, False])
def test_in_training_a_convolution_is_nn_conv1d(inputs, kernel, stride, bias):
    torch.manual_seed(0)
    conv = StridedConv(inputs, 6, kernel, stride=stride, bias=bias)
    plain = torch.nn.Conv1d(inputs, 6, kernel, stride=stride, bias=bias)
    plain.load_state_dict(conv.state_dict())
    for samples in (kernel, 1999, 2000):
        x = torch.randn(2, inputs, samples)
        ours, theirs = with_gradients(conv.train(), x), with_gradients(plain, x)
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
        for one, other in zip(ours[1], theirs[1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    assert torch.equal(conv.eval()(x), plain(x)), "in inference it is the very same"


@pytest.mark.parametrize("norm", ["group", "layer", "frame", "static"])
def test_a_front_end_trains_as_it_runs(norm):
    torch.manual_seed(0)
    config = EncoderConfig(conv_channels=[6, 6, 8], conv_kernels=[10, 3, 2], conv_strides=[5, 2, 2], conv_norm=norm)
    front, x = FeatureExtractor(config), torch.randn(2, 1234)
    trained, inference = with_gradients(front.train(), x), with_gradients(front.eval(), x)
    torch.testing.assert_close(trained[0], inference[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(trained[1], inference[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("norm", ["layer", "frame", "static"])
def test_frames_stay_side_by_side_up_to_the_end(norm):
    config = EncoderConfig(conv_channels=[6, 6, 8], conv_kernels=[10, 3, 2], conv_strides=[5, 2, 2], conv_norm=norm)
    assert FeatureExtractor(config).train()(torch.randn(2, 1234)).is_contiguous()


@pytest.mark.parametrize("training", [True, False])
def test_in_half_precision_a_waveform_keeps_what_is_quiet(training):
    conv = StridedConv(1, 1, 2, stride=1, bias=False).train(training)
    conv.weight.data[:] = torch.tensor([1.0, -1.0])  # of the loud and slow, nothing is left
    quiet = 1e-4 * torch.tensor([1.0, -1.0]).repeat(50)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv((0.5 + quiet)[None, None])
    assert y.dtype == torch.bfloat16, "what follows computes in the precision of training"
    torch.testing.assert_close(y.float()[0, 0], quiet[:-1] - quiet[1:], rtol=0.01, atol=1e-6)
