"""What bundle.json says of a head: its outputs, its labels, and how they are decoded.

Shapes: n frames that come out (those of a chunk that exist, or of a whole recording), W columns of an output.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Kinds of head, and the outputs of each that a program gives, in order. "frame": one row (W) for each frame;
# "chunk": one row for each chunk, about everything that was heard so far.
KINDS: dict[str, dict[str, str]] = {
    "classify": {"logits": "frame"},
    "ctc": {"logits": "frame"},
    "units": {"distances": "frame", "ids": "frame"},
    "speaker": {"vector": "chunk"},
    "vad": {"logits": "frame"},
    "segment": {"logits": "frame"},
    "words": {"vectors": "frame"},
}
# Types of outputs that are not float32.
OUTPUT_DTYPES = {"ids": "int64"}


@dataclass(frozen=True)
class HeadSpec:
    """A head of a bundle.

    Attributes:
        name: unique within the bundle.
        kind: a key of `KINDS`.
        labels: of the columns of its logits; ctc: label 0 is the blank, "". Units are numbered, and have none.
        widths: columns of each of its outputs, in the order of `KINDS`.
        hop_samples, receptive_samples, sample_rate: of the frames, as in `StreamSpec`.
        decoder: parameters of the decoder, such as {"window_s": 1.0}; each kind's are described in its file.
        threshold: the score from which on it answers; None where it always does.
        delay_ms: how much later than its frame an answer of it is certain, beside the latency of the stream.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    hop_samples: int = 320
    receptive_samples: int = 400
    sample_rate: int = 16_000
    decoder: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    delay_ms: float = 0.0

    @property
    def outputs(self) -> dict[str, str]:
        """Names of its outputs in the program's order, and what a row of each is about: "frame" or "chunk"."""
        return KINDS[self.kind]

    @property
    def hop_s(self) -> float:
        return self.hop_samples / self.sample_rate

    def start_s(self, frame: Any) -> Any:
        """When the hop of a frame (a number, or an array of them) begins, in seconds since the stream began."""
        return frame * self.hop_samples / self.sample_rate

    def end_s(self, frame: Any) -> Any:
        """When the hop of a frame ends: the start of the next one, so that events of neighbours meet."""
        return (frame + 1) * self.hop_samples / self.sample_rate

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
