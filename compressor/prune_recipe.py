"""The `prune` section of a recipe: how a student is pruned while it distils."""

from dataclasses import dataclass

from .strict_yaml import key

METHODS = ("l0", "parp", "one-shot")


@dataclass(frozen=True)
class Final:
    """The distillation that follows once the units are taken out."""

    steps: int = key(low=1, high=10**9, doc="optimizer steps, such as 25000")
    lr: float = key(1e-4, above=0, high=1, doc="peak learning rate")
    warmup: float = key(0.2, low=0, high=1, doc="fraction of the steps over which the rate rises to its peak")


@dataclass(frozen=True)
class Prune:
    """Structured, by gates that are learned (l0), or unstructured, by magnitude (parp, one-shot)."""

    sparsity: float = key(above=0, below=1, doc="share to remove: l0 of all parameters, else of the pruned weights")
    method: str = key("l0", choices=METHODS, doc="l0: units, by learned gates; parp, one-shot: single weights")
    of: tuple[str, ...] = key(("conv", "head", "ffn"), choices=("conv", "head", "ffn"), doc="l0: the units with gates")
    ramp: int = key(5000, low=0, high=10**9, doc="l0: steps over which the wanted sparsity rises from 0")
    lr: float = key(0.02, above=0, high=10, doc="l0: peak learning rate of gates and multipliers")
    every: int = key(50, low=1, high=10**9, doc="parp: steps between prunings")
    final: Final | None = None

    @property
    def by_gates(self) -> bool:
        return self.method == "l0"
