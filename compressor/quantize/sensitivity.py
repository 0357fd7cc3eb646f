"""What quantising costs, operator by operator, and which operators to leave in float for a wanted closeness.

Shapes: S samples, T frames, D width.

Measured on a simulation (see `fake_quant`): an export for every operator would take hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechpress.runtime.parity import compare

from ..models.answering import hear
from ..models.encoder import Encoder
from ..models.events import OnText
from .fake_quant import simulated
from .scheme import FIRST_CONV, FLOAT, Operator, Quantization

HARMLESS_DB = 15.0  # so far above the budget, the first convolution's error drowns in that of the others


@dataclass(frozen=True)
class Cost:
    """An operator, and how close the last layer, or the head that it belongs to, stays when it alone is quantised."""

    name: str
    how: str
    snr_db: float


class Yardstick:
    """An encoder's features on clips of (1, S), against which quantised ones are held; heard in chunks, if given."""

    def __init__(self, encoder: Encoder, waves: Sequence[Tensor], chunk_frames: int | None = None) -> None:
        self.encoder, self.waves, self.chunk_frames = encoder, waves, chunk_frames
        self.wanted = self._features(encoder)

    @torch.inference_mode()
    def _features(self, encoder: Encoder) -> dict[str, Tensor]:
        """The last layer as "", and what heads answer in numbers by the name of the head."""
        found: dict[str, list[Tensor]] = {}
        for wave in self.waves:
            frames, answers = hear(encoder, wave, self.chunk_frames)
            found.setdefault("", []).append(frames[0])
            for name, outputs in answers.items():
                found.setdefault(name, []).extend(x[0] for x in outputs.values() if x.is_floating_point())
        return {name: torch.cat(parts) for name, parts in found.items()}

    def snr_db(self, quantization: Quantization, of: str = "") -> float:
        """Signal to error of the last layer, or of a head, under a quantisation, which names every operator."""
        found = self._features(simulated(self.encoder, quantization))
        return compare(found[of].numpy(), self.wanted[of].numpy())["snr_db"]

    def costs(self, quantization: Quantization, say: OnText) -> list[Cost]:
        """Every quantised operator alone, the costliest first."""
        nothing, found = dict.fromkeys(quantization.operators, FLOAT), []
        quantised = {name: item for name, item in quantization.operators.items() if item.how != "float"}
        for number, (name, operator) in enumerate(quantised.items(), 1):
            say(f"{quantization.scheme}: operator {number} of {len(quantised)} alone")
            alone = self.snr_db(replace(quantization, operators=nothing | {name: operator}), head_of(name))
            found.append(Cost(name, operator.how, alone))
        return sorted(found, key=lambda cost: cost.snr_db)


def mixed(
    yardstick: Yardstick, quantised: Quantization, first: Operator, budget_db: float, say: OnText
) -> tuple[Quantization, list[Cost], float]:
    """Leave the costliest operators in float, as few as are needed for a closeness of `budget_db`.

    The first convolution is quantised, as `first`, only where that is far below what the budget allows.

    Returns:
        The quantisation, what each operator costs, and the closeness that was reached.
    """
    # With the first convolution quantised, although it stays float in the scheme: it is yet to be decided here.
    costs = yardstick.costs(replace(quantised, operators={**quantised.operators, FIRST_CONV: first}), say)
    operators = dict(quantised.operators)
    # What a head does never reaches the features, so its operators are judged one by one, by its own answers.
    operators |= {cost.name: FLOAT for cost in costs if head_of(cost.name) and cost.snr_db < budget_db}
    if next(cost.snr_db for cost in costs if cost.name == FIRST_CONV) >= budget_db + HARMLESS_DB:
        operators[FIRST_CONV] = first
    order = [cost.name for cost in costs if operators[cost.name].how != "float" and not head_of(cost.name)]
    # 200 dB stands for no difference, which is what is reached with everything in float.
    low, high, reached = 0, len(order), 200.0
    while low < high:  # the fewest; leaving more in float brings the rest closer
        middle = (low + high) // 2
        say(f"mixed: {middle} of {len(order)} operators in float")
        snr_db = yardstick.snr_db(_kept(operators, order[:middle]))
        low, high, reached = (low, middle, snr_db) if snr_db >= budget_db else (middle + 1, high, reached)
    return _kept(operators, order[:low]), costs, reached


def head_of(operator: str) -> str:
    """The head that an operator belongs to; "" for one of the encoder."""
    return operator.split(".")[1] if operator.startswith("heads.") else ""


def _kept(operators: dict[str, Operator], names: Sequence[str]) -> Quantization:
    return Quantization("mixed", operators | dict.fromkeys(names, FLOAT))
