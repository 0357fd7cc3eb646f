"""What an encoder costs as a function of how many units it has: a sum of products of neighbouring counts.

A convolution costs as much as its inputs times its outputs; a head or an FFN unit costs the same whatever the others
are. So parameters, multiply-accumulates and measured time all have one form, whose derivative says what a unit saves.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..models.config import EncoderConfig
from .units import Group, Sizes, resized, sizes_of


@dataclass(frozen=True)
class UnitCost:
    """constant + sum over convolutions of pairs[i] x channels[i - 1] x channels[i] + sum of singles[g] x units of g."""

    constant: float
    pairs: tuple[float, ...]  # that of the first convolution, whose input is one channel, is 0
    singles: Mapping[Group, float]

    def of(self, sizes: Mapping[Group, Any]) -> Any:
        """The cost at these sizes, which may be numbers or tensors."""
        total: Any = self.constant
        for group, each in self.singles.items():
            total = total + each * sizes[group]
        for layer, each in enumerate(self.pairs):
            if layer:
                total = total + each * sizes[Group("conv", layer - 1)] * sizes[Group("conv", layer)]
        return total

    def saving(self, sizes: Mapping[Group, float], group: Group) -> float:
        """What one unit fewer of this group saves."""
        saved = self.singles[group]
        if group.kind == "conv":
            # A channel is an output of its own convolution and an input of the next one.
            for layer, other in ((group.layer, group.layer - 1), (group.layer + 1, group.layer + 1)):
                if 0 < layer < len(self.pairs):
                    saved += self.pairs[layer] * sizes[Group("conv", other)]
        return saved

    @classmethod
    def derived(cls, config: EncoderConfig, cost: Callable[[EncoderConfig], float]) -> "UnitCost":
        """From a cost of whole encoders (such as `costs.parameters`), by its differences around `config`."""
        sizes, here = sizes_of(config), cost(config)

        def change(*groups: Group) -> float:
            return cost(resized(config, {group: sizes[group] + 1 for group in groups})) - here

        pairs = [0.0]
        for layer in range(1, len(config.conv_channels)):
            before, own = Group("conv", layer - 1), Group("conv", layer)
            # Exact, not an estimate: costs are products of two counts, so a mixed difference is the whole coefficient.
            pairs.append(change(before, own) - change(before) - change(own))
        free = cls(0.0, tuple(pairs), dict.fromkeys(sizes, 0.0))
        singles = {group: change(group) - free.saving(sizes, group) for group in sizes}
        # What is left over is what no unit changes, such as the position convolution.
        return cls(here - cls(0.0, tuple(pairs), singles).of(sizes), tuple(pairs), singles)

    @classmethod
    def timed(cls, config: EncoderConfig, modules_ms: Mapping[str, float]) -> "UnitCost":
        """From the measured time of each module of the exported program, under the checkpoint's names.

        A convolution's time is shared out over its inputs and outputs, the projection's over the last channels, that of
        attention (products and softmax too) over its heads, that of a feed-forward block over its units.
        """
        sizes, pairs = sizes_of(config), [0.0] * len(config.conv_channels)
        singles, constant = dict.fromkeys(sizes, 0.0), 0.0
        for path, ms in modules_ms.items():
            group = _group_of(path, config)
            if group not in sizes:
                constant += ms
            # The projection's time goes with the last channels too, but with their number alone, not with a product.
            elif group.kind == "conv" and group.layer and "feature_extractor" in path:
                inputs = sizes[Group("conv", group.layer - 1)]
                pairs[group.layer] += ms / (inputs * sizes[group])
            else:
                singles[group] += ms / sizes[group]
        return cls(constant, tuple(pairs), singles)

    def scaled(self, factor: float) -> "UnitCost":
        singles = {group: each * factor for group, each in self.singles.items()}
        return UnitCost(self.constant * factor, tuple(each * factor for each in self.pairs), singles)


def smallest(cost: UnitCost, floors: Sizes) -> float:
    """The least that pruning can leave."""
    return float(cost.of(floors))


def _group_of(path: str, config: EncoderConfig) -> Group | None:
    """The units that a module's time goes with; None where no unit changes it."""
    if found := re.match(r"feature_extractor\.conv_layers\.(\d+)", path):
        return Group("conv", int(found[1]))
    if path.startswith("feature_projection"):
        return Group("conv", len(config.conv_channels) - 1)
    if found := re.match(r"encoder\.layers\.(\d+)\.(attention|feed_forward)", path):
        return Group("head" if found[2] == "attention" else "ffn", int(found[1]))
    return None
