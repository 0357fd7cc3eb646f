"""Whisper's encoder as a teacher: waveform in, log-mel computed here, no padding to 30 seconds.

Shapes: B batch, S samples, N log-mel frames (10 ms), T frames (20 ms), M mel bins, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from ..models.config import MEL_HOP_SAMPLES as HOP_SAMPLES
from ..models.config import MEL_WINDOW_SAMPLES as FFT_SAMPLES
from ..models.config import SAMPLE_RATE
from ..models.fitting import check_module
from ..models.front_end import mel_filters
from .hub import hushed_transformers
from .hub_schema import own_values


class WhisperBackbone(nn.Module):
    """The encoder over the given samples only.

    OpenAI's own use pads every input to 30 s of silence, which the features depend on; here the unused positions are
    dropped, which costs a fraction and changes the upper layers somewhat. Padded rows of a batch give what they would
    give alone: what lies beyond a row's end is silence to the front end and masked in attention.
    """

    window: Tensor
    filters: Tensor
    can_mask = False
    hears_waves = True

    NOTES = (
        "Whisper's encoder: trained with supervision (transcripts), not self-supervised",
        "run on the samples at hand, without Whisper's padding to 30 s: upper layers differ from the padded mode",
    )

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.model = encoder
        self.layers = list(encoder.layers)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)
        self.register_buffer("filters", mel_filters(encoder.config.num_mel_bins), persistent=False)

    @classmethod
    def from_tensors(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> "WhisperBackbone":
        """Raises SpeechpressError when the tensors do not fit the config."""
        with hushed_transformers() as transformers:
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            def build() -> Any:
                return WhisperEncoder(transformers.WhisperConfig(**own_values(config)))

            check_module(build, tensors, "whisper")
            encoder = build()
        try:
            encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise SpeechpressError(f"whisper: tensors do not fit the config: {str(error)[:300]}") from error
        return cls(encoder)

    def frames(self, samples: Any) -> Any:
        # The encoder halves the rate of the spectrogram.
        counts = (samples // HOP_SAMPLES + 1) // 2
        if isinstance(samples, Tensor):
            return counts.masked_fill(samples < FFT_SAMPLES, 0)
        return counts if samples >= FFT_SAMPLES else 0

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> None:
        limit = self.model.config.max_source_positions
        if self.frames(waves.shape[1]) > limit:
            raise SpeechpressError(
                f"Whisper's encoder sees at most {limit * 2 * HOP_SAMPLES / SAMPLE_RATE:g} s, but was given "
                f"{waves.shape[1] / SAMPLE_RATE:.1f} s; set shorter crops"
            )
        mask = None
        # In float32 always: powers of a spectrum do not fit half precision.
        with torch.autocast(waves.device.type, enabled=False):
            mel = self.log_mel(waves, lengths)
        x = F.gelu(self.model.conv1(mel))
        if lengths is not None:
            # Alone, a row has zeros beyond its end here; in a batch conv1's biases stand there, and conv2 reads one
            # frame over.
            x = x * _within(x.shape[2], lengths // HOP_SAMPLES)[:, None]
        x = F.gelu(self.model.conv2(x)).transpose(1, 2)
        x = x + self.model.embed_positions.weight[: x.shape[1]]
        if lengths is not None:
            valid = _within(x.shape[1], self.frames(lengths))[:, None, None]
            mask = torch.zeros_like(valid, dtype=x.dtype).masked_fill(~valid, torch.finfo(x.dtype).min)
        # Layer by layer, because WhisperEncoder's own forward refuses anything but 30 s.
        for layer in self.layers:
            x = layer(x, mask)
            x = x[0] if isinstance(x, tuple) else x

    def log_mel(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Whisper's log-mel of the samples, (B, S) -> (B, M, N): scaled by each row's loudest bin; 0 beyond its end."""
        valid = None
        if lengths is not None:
            waves = waves * _within(waves.shape[1], lengths)
            valid = _within(waves.shape[1] // HOP_SAMPLES, lengths // HOP_SAMPLES)[:, None]
        half = FFT_SAMPLES // 2
        # The start is mirrored, as Whisper does; at the end stands silence, as in Whisper's padding to 30 s.
        padded = F.pad(F.pad(waves[:, None], (half, 0), mode="reflect")[:, 0], (0, half))
        spectrum = torch.stft(padded, FFT_SAMPLES, HOP_SAMPLES, window=self.window, center=False, return_complex=True)
        # Whisper drops the last frame, so that a second has 100 of them.
        power = spectrum[..., :-1].abs() ** 2
        mel = torch.clamp(self.filters @ power, min=1e-10).log10()
        # -10 is the logarithm of the floor above, so padding never is the loudest.
        loudest = mel if valid is None else mel.masked_fill(~valid, -10.0)
        # Whisper's scaling: at most 80 dB below the loudest bin, then to about -1 to 1.
        mel = (torch.maximum(mel, loudest.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0
        return mel if valid is None else mel * valid


def whisper_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors, whether the file holds an encoder, a whole model, or one with a head."""
    for prefix in ("model.encoder.", "encoder."):
        inner = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if inner:
            return inner
    return tensors


def _within(size: int, ends: Tensor) -> Tensor:
    """(B,) ends -> (B, size), True before each row's end."""
    return torch.arange(size, device=ends.device) < ends[:, None]
