"""What a head says of a stretch of audio."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One answer of one head.

    Attributes:
        head: the head's name, as in bundle.json.
        kind: of head, see `head_spec.KINDS`.
        number: of the event within its head, from 0 on; a partial event and all that later replace it share one.
        label: a phone, a letter, a class, a unit, a taught word; "speech" of voice activity; "" of a vector.
        start_s, end_s: of the audio that it is about, in seconds since the stream began.
        score: what it means depends on the kind: a probability, a cosine, standard deviations.
        final: whether it can still change.
        vector: of a speaker head; empty elsewhere.
    """

    head: str
    kind: str
    number: int
    label: str
    start_s: float
    end_s: float
    score: float
    final: bool = True
    vector: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """One line of JSON; times in milliseconds' precision, as all runtimes print them."""
        told = {
            "head": self.head,
            "kind": self.kind,
            "number": self.number,
            "label": self.label,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 4),
            "final": self.final,
        }
        return told | ({"vector": [round(value, 4) for value in self.vector]} if self.vector else {})
