"""The streaming step rewritten for a compiler, see `prepare`: one call of the backend per chunk.

Shapes: C frames of a chunk, hop samples of a frame, N frames of left context, T = N + C.

What a backend does not take ends one call of it and starts another, and each call costs as much as a small layer. So
integers (how many frames there were, where the stream ends) are worked on before everything else, and what comes out of
them is one row of numbers, 1 where there is audio and 0 where not.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.spec import StreamSpec

from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.input_norm import EPS, MEMORY_S
from ..models.streaming import HIDDEN, State, StreamingEncoder
from .prepare import prepared


def prepared_step(
    encoder: Encoder, chunk_frames: int, layers: Sequence[int] = (), own_norms: bool = False
) -> StreamingEncoder:
    """The streaming step over prepared parts: takes a chunk (1, C x hop) and the state, flat.

    `own_norms`: see `prepared`. Raises SpeechpressError for an encoder that does not stream.
    """
    step = WrittenStep(encoder, chunk_frames, layers)
    step.encoder = prepared(encoder, own_norms)
    return step.eval()


class WrittenStep(StreamingEncoder):
    """A streaming step of one stream, whose integers are worked on first."""

    def __init__(self, encoder: Encoder, chunk_frames: int, layers: Sequence[int] = ()) -> None:
        super().__init__(encoder, chunk_frames, layers)
        left, rate, late = self.config.left_context or 0, self.config.time_reduction, self.spec.lookahead_frames
        # Of frames at the rate of the layers, from the oldest in sight on; those of the front end are the last of them.
        self.register_buffer("places", torch.arange(-late - left, chunk_frames), persistent=False)
        self.register_buffer("front_places", torch.arange(chunk_frames * rate), persistent=False)
        for name, value in (("hidden", HIDDEN), ("shown", -HIDDEN)):
            # A tensor, because a number in a sum is made anew in every call, outside of the backend.
            self.register_buffer(name, torch.full((1,), value), persistent=False)
        if self.config.input_norm == "running":
            self.running = RunningScale(self.spec)

    def presence(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """As `StreamingEncoder.presence`; what is added to scores has the shape (1, 1, T)."""
        rate, chunk, left = self.config.time_reduction, self.spec.chunk_frames, self.config.left_context or 0
        inside = self._inside(state, "places", 1)
        numbers = inside.float()
        late = numbers.shape[0] - chunk
        heard = numbers[late:] if rate == 1 else self._inside(state, "front_places", rate).float()
        seen = numbers[: left + chunk] if numbers.shape[0] > left + chunk else numbers
        mask = seen * self.get_buffer("shown") + self.get_buffer("hidden")
        return heard.view(1, -1, 1), inside[: left + chunk].view(1, -1), mask.view(1, 1, -1)

    def _inside(self, state: State, places: str, rate: int) -> Tensor:
        """Whether there is audio for the frames at these places from `rate * count` on."""
        count, end = (state[name] * rate if rate > 1 else state[name] for name in ("count", "end"))
        position = self.get_buffer(places) + count
        return (position >= 0) & (position < end)

    def _scale(self, chunk: Tensor, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        return self.running(chunk, sums, count)


class RunningScale(nn.Module):
    """`input_norm.running_blocks` of the blocks of one chunk, one hop each, whose sums are products."""

    def __init__(self, spec: StreamSpec) -> None:
        super().__init__()
        self.spec = spec
        hop, index = spec.hop_samples, torch.arange(spec.chunk_frames)
        fade = hop / (MEMORY_S * SAMPLE_RATE)
        ages = index[:, None] - index
        constants = {
            "ones": torch.ones(1, hop),
            # What every block (column) still counts at every later one (row), and what the past does.
            "fading": torch.where(ages >= 0, torch.exp(-fade * ages), 0.0),
            "past": torch.exp(-fade * (index + 1.0))[:, None],
            "eps": torch.full((1,), EPS),
            # Samples of the stream at the end of each block, if it began with the first of them.
            "ends": (index[:, None] + 1 + spec.lead_frames) * hop - spec.silence_samples,
        }
        for name, tensor in constants.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, chunk: Tensor, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Chunk (1, C x hop), sums (1, 3) and count (1,) -> the scaled chunk and the sums after it."""
        hop, ones = self.spec.hop_samples, self.get_buffer("ones")
        real = (self.get_buffer("ends") + count * hop).clamp(0, hop).float()
        blocks = chunk.view(-1, hop)
        new = torch.cat([real, F.linear(blocks, ones), F.linear(blocks * blocks, ones)], 1)
        kept = F.linear(new.transpose(0, 1), self.get_buffer("fading")).transpose(0, 1)
        heard = kept + self.get_buffer("past") * sums
        samples, total, squares = heard[:, :1], heard[:, 1:2], heard[:, 2:]
        mean = total / samples
        # Rounding can make the difference negative, and rsqrt of that is NaN.
        deviation = (squares / samples - mean * mean).clamp_min(0) + self.get_buffer("eps")
        return ((blocks - mean) * deviation.rsqrt()).view(1, -1), heard[-1:]
