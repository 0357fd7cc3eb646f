import numpy as np
import torch

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.input_norm import EPS, MEMORY_S, PRIOR_RMS, normalize, running_normalize

SPEC = EncoderConfig().stream_spec(1)


def noise(seconds, rms=0.1, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, round(16_000 * seconds)))).float() * rms


def test_padding_does_not_change_the_utterances_statistics():
    wave = noise(0.5)
    padded = torch.nn.functional.pad(wave, (0, 500))
    scaled = normalize(padded, torch.tensor([8_000]))
    assert torch.allclose(scaled[:, :8_000], normalize(wave), atol=1e-5)
    assert not scaled[:, 8_000:].any()


def test_running_statistics_reach_those_of_the_utterance():
    for rms in (0.01, 0.1, 0.9):
        scaled = running_normalize(noise(20, rms) + 0.02, SPEC)[:, -16_000:]
        wanted = rms / (rms**2 + EPS) ** 0.5
        assert abs(float(scaled.std()) - wanted) < 0.05 and abs(float(scaled.mean())) < 0.05


def test_running_statistics_never_look_ahead():
    wave = noise(12)  # longer than one segment
    scaled = running_normalize(wave, SPEC)
    for hop in (10, 300, 500):
        heard = hop * 320 + 80
        changed = wave.clone()
        changed[:, heard:] *= 50
        assert torch.equal(running_normalize(changed, SPEC)[:, :heard], scaled[:, :heard])


def test_running_statistics_by_their_definition():
    """Against a plain loop in double precision: every block ends a window that fades with MEMORY_S."""
    wave = noise(7)[0].double()
    got = running_normalize(wave.float()[None], SPEC)[0].double()
    count, total, squares = 8_000.0, 0.0, 8_000 * PRIOR_RMS**2
    fade = float(np.exp(-320 / (MEMORY_S * 16_000)))
    for start in range(80 - 320, len(wave) - 320, 320):
        block = wave[max(0, start) : start + 320]
        count, total, squares = count * fade + len(block), total * fade + block.sum(), squares * fade + (block**2).sum()
        mean = total / count
        wanted = (block - mean) / (squares / count - mean**2 + 1e-5).sqrt()
        assert (got[max(0, start) : start + 320] - wanted).abs().max() < 1e-4


def test_a_loud_start_fades_from_memory():
    wave = torch.cat([noise(2, 1.0), noise(24, 0.1)], 1)
    scaled = running_normalize(wave, SPEC)
    assert float(scaled[:, 48_000:64_000].std()) < 0.25
    assert float(scaled[:, -16_000:].std()) > 0.85
