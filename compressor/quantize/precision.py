"""Whether a student's operators compute in the precision of training what they compute in float32.

Shapes: S samples.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parity import compare

from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from .fake_quant import operators

LEAST_DB = 15.0  # of one operator; rounding to bfloat16 leaves about 50 dB, one that is wrong leaves none
HEARD_S = 2.0


@torch.no_grad()
def check_precision(student: Encoder, wave: Tensor, autocast: AbstractContextManager[Any], where: str) -> None:
    """Compare every convolution and linear layer under `autocast` with float32, on some speech (1, S), before any step.

    An operator that a library gets wrong in half precision on some processor is trained around without a word, and the
    student is of no use in float32 then. Each is compared on its own input: in a student of random weights it hardly
    shows in the last layer.

    Raises SpeechpressError, which begins with `where` the precision was chosen and names the operator.
    """
    with autocast:
        if not torch.is_autocast_enabled(wave.device.type):
            return
        found = closeness_db(student, wave[:, : int(HEARD_S * SAMPLE_RATE)])
    name = min(found, key=found.__getitem__)
    if found[name] < LEAST_DB:
        raise SpeechpressError(
            f"{where}: in this precision {name} is {found[name]:.0f} dB from float32 on {wave.device.type}, and at "
            f"least {LEAST_DB:.0f} dB are expected: the operator is wrong here, or its numbers do not fit. Train with "
            "--set train.precision=fp32, and please report it"
        )


def closeness_db(student: Encoder, wave: Tensor) -> dict[str, float]:
    """How close each operator is to float32, under the autocast that is switched on, by name."""
    found: dict[str, float] = {}

    def watch(name: str, part: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.autocast(wave.device.type, enabled=False):
                exact = module.forward(inputs[0].float())  # not a call, which would come here again
            found[name] = compare(output.float().cpu().numpy(), exact.cpu().numpy())["snr_db"]

        return part.register_forward_hook(hook)

    handles = [watch(name, part) for name, part in operators(student).items()]
    try:
        with torch.random.fork_rng():  # dropout must not move what the run draws
            student.hidden_states(wave)
    finally:
        for handle in handles:
            handle.remove()
    return found
