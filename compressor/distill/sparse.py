"""Unstructured pruning: single weights at zero, by magnitude over all matrices and kernels of the encoder together.

"one-shot" prunes at the start and holds the zeros while the rest is trained. "parp" (arXiv:2106.05933: prune, adjust,
re-prune) prunes at the start too, but lets every weight move, and prunes anew after every so many steps and at the end,
so that a weight that was taken out too early may come back.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..models.encoder import Encoder
from ..recipe.schema import Prune

# Measured by benchmarks/parp.py --zeros; see results/parp_zeros.json.
NOTE = (
    "unstructured zeros make no program faster or smaller: the backend multiplies by them as by any other weight "
    "(with 90 % of zeros a program took 0.98 of its time, on a busy host, and as many bytes as before). "
    "For speed, prune units (compress prune --method taylor)"
)


class WeightPruner:
    """Keeps the share `sparsity` of the encoder's weights at zero, as `prune.method` says."""

    def __init__(self, encoder: Encoder, prune: Prune, steps: int) -> None:
        self.weights, self.prune, self.steps = prunable(encoder), prune, steps
        self.zeros: dict[str, Tensor] = {}

    def begin(self, fresh: bool) -> None:
        """Prune a new run; of one that goes on, know again what is held at zero."""
        if fresh:
            zero_smallest(self.weights, self.prune.sparsity)
        # Not saved anywhere: the restored weights tell.
        self.zeros = {name: stored == 0 for name, (stored, _) in self.weights.items()}

    def after_step(self, step: int) -> None:
        if self.prune.method == "one-shot":
            # A weight at zero has a gradient like any other, so the optimizer moves it.
            for name, (stored, _) in self.weights.items():
                stored.data.masked_fill_(self.zeros[name], 0.0)
        elif step % self.prune.every == 0 or step == self.steps:
            zero_smallest(self.weights, self.prune.sparsity)

    def report(self) -> dict[str, Any]:
        """For the card: the sparsity of all these weights, and of each."""
        shares = {name: float((stored == 0).float().mean()) for name, (stored, _) in self.weights.items()}
        count = sum(stored.numel() for stored, _ in self.weights.values())
        zeros = sum(shares[name] * stored.numel() for name, (stored, _) in self.weights.items())
        every = {"every": self.prune.every} if self.prune.method == "parp" else {}
        return {"method": self.prune.method, "sparsity": zeros / count, **every, "layers": shares, "note": NOTE}


Weights = dict[str, tuple[Tensor, nn.Module]]


def prunable(encoder: Encoder) -> Weights:
    """{name: (the stored tensor whose zeros are zeros of the weight, the module)} of all matrices and kernels.

    Of the position convolution, which is kept as lengths and directions, the directions.
    """
    found: Weights = {}
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            parametrized = nn.utils.parametrize.is_parametrized(module)
            stored = f"{name}.parametrizations.weight.original1" if parametrized else f"{name}.weight"
            found[name] = (encoder.get_parameter(stored), module)
    return found


@torch.no_grad()
def zero_smallest(weights: Weights, sparsity: float) -> None:
    """Set the share `sparsity` of all weights to zero, the smallest ones wherever they are."""
    sizes = {name: _sizes(stored, module) for name, (stored, module) in weights.items()}
    flat = torch.cat([size.flatten() for size in sizes.values()])
    count = round(sparsity * len(flat))
    if not count:
        return
    # Exactly so many, whatever values are equal.
    gone = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    gone[flat.argsort(stable=True)[:count]] = True
    for (stored, _), part in zip(weights.values(), gone.split([size.numel() for size in sizes.values()]), strict=True):
        stored.data.masked_fill_(part.view_as(stored), 0.0)


def _sizes(stored: Tensor, module: Any) -> Tensor:
    """Magnitudes of a weight; of every tap that has a length and a direction the largest entry counts as endless.

    A direction of zeros alone has no length that it could be divided by.
    """
    # As the network uses it: of a length and a direction, the product.
    sizes = module.weight.abs()
    if stored is module.weight:
        return sizes
    largest = stored.abs() == stored.abs().amax((0, 1), keepdim=True)
    return sizes.masked_fill(largest, float("inf"))
