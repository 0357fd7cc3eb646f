"""What `compress prune` is asked for."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .prune_target import Target


@dataclass(frozen=True)
class Order:
    """What is asked for.

    `recover` is the number of steps of distillation, see `prune.settled`; `chunk_ms` and `quantize` are those of the
    program that is timed; `layers` is how many Transformer layers stay, and `width` how many dimensions a frame has
    between them; None is all.
    """

    checkpoint: Path
    target: Target
    method: str = "taylor"
    recover: int | None = 0
    layers: int | None = None
    width: int | None = None
    teacher: str | None = None
    sets: tuple[str, ...] = ()
    chunk_ms: float | None = None
    quantize: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What the cut depends on besides the checkpoint, as a card tells it."""
        return {"target": asdict(self.target), "method": self.method, "layers": self.layers, "width": self.width}
