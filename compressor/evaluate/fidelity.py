"""How much of a teacher is left in a student, layer by layer, on speech that both hear.

Shapes: T frames, D width of the student, E width of the teacher.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.program_checks import stream

from ..distill.objectives import Heads, PredictionHeads, l1_and_cosine
from .similarity import cka_matrix, shuffled

# In shares of the mean variance of a dimension.
RIDGE = 1e-3


class HasStates(Protocol):
    """An `Encoder`, or what answers like one: layers 0..L of waves (1, S), each (1, T, D)."""

    def hidden_states(self, wave: Tensor, /) -> list[Tensor]: ...


@torch.inference_mode()
def fidelity(
    student: HasStates, teacher: Any, heads: Heads | None, waves: Sequence[Tensor], factor: int = 1
) -> dict[str, dict[str, Any]]:
    """Per teacher layer 1..depth, on clips of (1, S) each.

    A frame of a student with a time reduction stands for the `factor` frames of its teacher that it lasts.

    Returns:
        {layer: {"heads": {"cosine", "l1"} or None, "linear": {"cosine", "r2"}, "cka"}}. "heads" is what the student was
        trained for, from its own prediction heads. "linear" predicts the teacher's layer from the student's last by a
        linear map, fitted on half of the clips and measured on the others, which works for every student. "cka" is how
        alike the two are on the same half; see `similarity.cka_matrix`.

    Raises:
        SpeechpressError: there are fewer than two clips, or hardly any frames in them.
    """
    if len(waves) < 2:
        raise SpeechpressError(f"fidelity needs at least two clips, and there are {len(waves)}")
    halves: list[tuple[list[Tensor], dict[int, list[Tensor]]]] = [([], {}), ([], {})]
    predicted: dict[int, list[Tensor]] = {}
    for number, wave in enumerate(waves):
        states = student.hidden_states(wave)
        # Layer 0 is what goes into the first layer, the front end's; nobody distils it.
        targets = {k: v[0].float() for k, v in teacher.hidden_states(wave).items() if k > 0}
        last = states[-1].repeat_interleave(factor, 1) if factor > 1 else states[-1]
        frames = min(last.shape[1], *(target.shape[0] for target in targets.values()))
        # Halves by clip: neighbouring frames are alike, so a map fitted on some frames of a clip knows the others.
        students, teachers = halves[number % 2]
        students.append(last[0, :frames].float())
        for layer, target in targets.items():
            teachers.setdefault(layer, []).append(target[:frames])
        for layer, guess in (heads(states) if heads is not None else {}).items():
            if layer == 0:
                continue
            l1, cosine = l1_and_cosine(guess[:, :frames], targets[layer][None, :frames])
            predicted.setdefault(layer, []).append(torch.stack([cosine[0], l1[0]]))
    (fit_x, fit_y), (test_x, test_y) = halves
    x, z = torch.cat(fit_x), torch.cat(test_x)
    tested = {layer: torch.cat(parts) for layer, parts in sorted(test_y.items())}
    # In random order: CKA goes in batches, which must not be of one clip each.
    alike = cka_matrix(shuffled([part.cpu() for part in (z, *tested.values())]))[0, 1:].tolist()
    result: dict[str, dict[str, Any]] = {}
    for (layer, y), cka in zip(tested.items(), alike, strict=True):
        linear = linear_fit(x, torch.cat(fit_y[layer]), z, y)
        by_heads = _means(predicted[layer]) if layer in predicted else None
        result[str(layer)] = {"heads": by_heads, "linear": linear, "cka": cka}
    return result


def _means(parts: list[Tensor]) -> dict[str, float]:
    cosine, l1 = torch.cat(parts, dim=1).mean(1).tolist()
    return {"cosine": cosine, "l1": l1}


def linear_fit(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor) -> dict[str, float]:
    """Ridge regression from x (T, D) to y (T, E), measured on other frames: mean cosine and R2 over all dimensions."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    # In shares of the variance, so that the scale of a layer does not matter; dead dimensions would be singular.
    gram += RIDGE * gram.diagonal().mean().clamp_min(1e-8) * torch.eye(len(gram), device=x.device)
    guess = (test_x - mean_x) @ torch.linalg.solve(gram, x.T @ y) + mean_y
    rest = (guess - test_y).square().sum() / (test_y - test_y.mean(0)).square().sum().clamp_min(1e-12)
    return {"cosine": float(F.cosine_similarity(guess, test_y, dim=-1).mean()), "r2": float(1 - rest)}


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
        # Prediction heads look at the last state only, which check_heads has made sure of.
        return self.heads([torch.from_numpy(frames)[None]])


def check_heads(heads: Heads) -> None:
    """Raises SpeechpressError for heads on layers that a program does not give."""
    if not isinstance(heads, PredictionHeads):
        raise SpeechpressError(
            "a program gives its last layer only, but this recipe matches hidden ones, so the fidelity of a quantised "
            "program cannot be measured. Search with a recipe of match.style heads"
        )
