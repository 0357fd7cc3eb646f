"""How a streaming model cuts time, and how late its frames are."""

from dataclasses import asdict, dataclass
from typing import Any

NO_END = 2**31 - 1  # frames of a stream whose last one is not known yet


@dataclass(frozen=True)
class StreamSpec:
    """How a streaming model cuts time: all that there is to know of it without running it.

    Frame t is made from the samples [t x hop, t x hop + receptive) and from the past; beyond these it waits for
    `lookahead_frames` more. All models start with silence that fills up their first hop, so that every chunk, also the
    first, is of `chunk_samples`.
    """

    chunk_frames: int
    width: int
    sample_rate: int = 16_000
    # 20 ms and 25 ms: the convolutions of HuBERT, wav2vec 2.0 and WavLM.
    hop_samples: int = 320
    receptive_samples: int = 400
    lookahead_frames: int = 0
    # How long after its time a frame speaks of it: such a student was trained to answer late.
    lag_frames: int = 0

    @property
    def chunk_samples(self) -> int:
        return self.chunk_frames * self.hop_samples

    @property
    def tail_samples(self) -> int:
        """Audio that is carried from chunk to chunk."""
        return max(0, self.receptive_samples - self.hop_samples)

    @property
    def lead_frames(self) -> int:
        """Frames that the first chunk yields before there was audio for frame 0, besides the look-ahead."""
        # Rounded up: the first frame with audio has all of its tail.
        return -(-self.tail_samples // self.hop_samples)

    @property
    def first_frame(self) -> int:
        """Number of the frame with which the first chunk starts; there is audio from frame 0 on."""
        return -self.lead_frames - self.lookahead_frames

    @property
    def silence_samples(self) -> int:
        """Silence before the first sample."""
        return self.lead_frames * self.hop_samples - self.tail_samples

    @property
    def chunk_ms(self) -> float:
        return 1000 * self.chunk_samples / self.sample_rate

    @property
    def lookahead_ms(self) -> float:
        """Audio after a frame's own hop that it is made from."""
        return 1000 * (self.tail_samples + self.lookahead_frames * self.hop_samples) / self.sample_rate

    @property
    def lag_ms(self) -> float:
        return 1000 * self.lag_frames * self.hop_samples / self.sample_rate

    @property
    def worst_age_ms(self) -> float:
        """Age of the oldest sample of the hop that a frame speaks of when it comes out, without the time to compute."""
        return self.chunk_ms + self.lookahead_ms + self.lag_ms

    def frames(self, samples: int) -> int:
        """Frames that `samples` make in all."""
        return max(0, (samples - self.receptive_samples) // self.hop_samples + 1)

    def end_s(self, frame: Any) -> Any:
        """When the audio of which a frame (a number, or an array of them) speaks ends, in seconds of the stream.

        The first `lag_frames` speak of the time before it.
        """
        return ((frame - self.lag_frames) * self.hop_samples + self.receptive_samples) / self.sample_rate

    def latency(self) -> dict[str, float]:
        """What a user has to know, in milliseconds."""
        lag = {"lag_ms": self.lag_ms} if self.lag_frames else {}
        return {"chunk_ms": self.chunk_ms, "lookahead_ms": self.lookahead_ms, **lag, "worst_age_ms": self.worst_age_ms}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
