"""A program in the place of a student, so that its fidelity is measured as a student's in training is.

Shapes: B batch (always 1), S samples, T frames, D width.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.verify import stream

from .distill.objectives import Heads, PredictionHeads


class ProgramStudent(nn.Module):
    """The frames of a bundle's program under the heads that its checkpoint was trained with; see `validation.validate`.

    Args:
        bundle: folder of the bundle.
        heads: of the checkpoint.
        chunk_ms: the chunks in which it hears audio; None is whole recordings.

    Raises:
        SpeechpressError: the heads ask for hidden layers, of which a program gives none.
    """

    def __init__(self, bundle: Path, heads: Heads, chunk_ms: float | None) -> None:
        super().__init__()
        check_heads(heads)
        self.heads, self.chunk_ms = heads, chunk_ms
        self.engine = PteModel(bundle) if chunk_ms is None else PteEngine(bundle, chunk_ms)

    def forward(self, waves: Tensor, chunk_frames: int | None = None) -> dict[int, Tensor]:
        """(1, S) -> predictions {teacher layer: (1, T, teacher width)}."""
        audio = waves[0].numpy()
        frames = stream(self.engine, audio) if isinstance(self.engine, PteEngine) else self.engine.offline(audio)
        return self.heads([torch.from_numpy(frames)[None]])


def check_heads(heads: Heads) -> None:
    """Raises SpeechpressError for heads on layers that a program does not give."""
    if not isinstance(heads, PredictionHeads):
        raise SpeechpressError(
            "a program gives its last layer only, but this recipe matches hidden ones, so the fidelity of a quantised "
            "program cannot be measured. Search with a recipe of match.style heads"
        )
