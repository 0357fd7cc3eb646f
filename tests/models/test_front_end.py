"""The front end: what trains faster on a CPU computes the same as what runs elsewhere."""

import pytest
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.encoder_checks import EncoderError
from speechpress.compressor.models.front_end import QUIETEST, FeatureExtractor, LogMel, StridedConv, mel_filters

MEL = {"front_end": "mel", "conv_channels": [16, 24], "conv_kernels": [3, 3], "conv_strides": [1, 2]}


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


@pytest.mark.parametrize("bins", [20, 80, 128])
def test_mel_filters_are_those_of_whisper(bins):
    bank = mel_filter_bank(201, bins, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    torch.testing.assert_close(mel_filters(bins).double(), torch.from_numpy(bank.T), rtol=1e-5, atol=1e-8)


def test_a_spectrogram_is_that_of_a_fourier_transform():
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(2, 4000)
    spectrum = torch.stft(waves, 400, 160, window=torch.hann_window(400), center=False, return_complex=True)
    wanted = (mel_filters(80) @ spectrum.abs().square() + QUIETEST).log()
    ours = LogMel(80)(waves)
    assert ours.shape == (2, 80, 23)
    torch.testing.assert_close(ours, wanted * (1 + 1e-5) ** -0.5, rtol=1e-4, atol=1e-4)


def test_each_mel_bin_is_scaled_by_what_was_measured():
    torch.manual_seed(0)
    encoder, waves = Encoder(EncoderConfig(**MEL)), 0.1 * torch.randn(2, 16_000)
    assert "feature_extractor.log_mel.mean" in encoder.measured
    encoder.measure_statistics(waves)
    bins = encoder.feature_extractor.log_mel(waves)
    assert bins.mean((0, 2)).abs().max() < 1e-4 and (bins.std((0, 2)) - 1).abs().max() < 0.01


def test_a_spectrogram_is_in_float32_in_half_precision_too():
    mel, waves = LogMel(80), 1e-3 * torch.randn(1, 4000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mel(waves), mel(waves.double()))
    assert mel(waves).dtype == torch.float32


def test_a_frame_of_a_spectrogram_hears_its_own_samples_and_no_others():
    encoder = Encoder(EncoderConfig(**MEL, conv_norm="layer")).eval()
    front, config = encoder.feature_extractor, encoder.config
    assert (config.hop_samples, config.receptive_samples) == (320, 1040)
    waves = torch.randn(1, 4000)
    assert front(waves).shape[1] == config.frames(4000) == 10
    changed = waves.clone()
    changed[:, 1000] += 1  # frame 0 ends at 1040, and frame 4 begins at 1280
    differ = (front(waves) - front(changed)).abs().amax((0, 2)) > 0
    assert differ.tolist() == [True] * 4 + [False] * 6


def test_convolutions_over_samples_are_no_convolutions_over_a_spectrogram():
    with pytest.raises(EncoderError, match=r"front_end is mel, of 100 frames a second: set conv_channels, .*\[1, 2\]"):
        EncoderConfig(front_end="mel")


def test_statistics_of_a_spectrogram_are_kept_and_its_tables_are_not():
    kept = Encoder(EncoderConfig(**MEL)).feature_extractor.log_mel.state_dict()
    assert sorted(kept) == ["mean", "variance"]
