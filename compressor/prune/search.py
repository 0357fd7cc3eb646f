"""From importance and a target to the units that stay; for a target in time, by measuring and choosing in turn.

For time the cost of a unit is taken from the trace of the whole encoder on the device, module by module. What that
model gets wrong (a smaller product is less efficient) is seen when the pruned encoder is measured, and put right.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

from ..export.latency import Measured
from ..models import costs
from ..models.encoder import Encoder
from ..models.events import OnText
from ..surgery.cut import cut
from ..surgery.select import OutOfReachError, choose
from ..surgery.unit_costs import UnitCost
from ..surgery.units import Masks, counts, floors_of
from .options import PruneTarget

Clock = Callable[[Encoder], Measured]

ROUNDS = 5  # of measuring a candidate
CLOSE = 0.9  # of the budget: nearer is not sought
KNOWN = 0.5  # share of the traced time whose module must be known


@dataclass(frozen=True)
class Found:
    """Masks of 0 and 1; `latency` {before_ms, after_ms, ...} where it was measured."""

    masks: Masks
    latency: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def search(
    target: PruneTarget,
    encoder: Encoder,
    importance: Masks,
    per_cost: bool,
    clock: Clock,
    say: OnText = lambda text: None,
    whole: int | None = None,
) -> Found:
    """The units of `encoder` that stay.

    Args:
        target: what it may cost.
        encoder: the whole one.
        importance: of its units.
        per_cost: importance is divided by what a unit saves.
        clock: measures an encoder on the device of a target in time, see `export.latency.measure`.
        say: hears what is being measured.
        whole: the parameters of which a sparsity is a share, if not those of `encoder`.

    Raises:
        SpeechpressError: the target is out of reach; the nearest that is not is named.
    """
    if target.kind == "latency_ms":
        return _timed(target, encoder, importance, per_cost, clock, say)
    whole = whole or costs.parameters(encoder.config)
    goal = (1 - target.value) * whole if target.kind == "sparsity" else target.value
    cost = UnitCost.derived(encoder.config, costs.macs_per_s if target.kind == "macs_per_s" else costs.parameters)
    try:
        return Found(choose(importance, cost, goal, floors_of(encoder.config), per_cost))
    except OutOfReachError as error:
        share = f"--sparsity {1 - error.nearest / whole:.3f}"
        nearest = share if target.kind == "sparsity" else target.say(error.nearest)
        raise out_of_reach(target.say(goal), nearest) from None


def out_of_reach(asked: str, nearest: str) -> SpeechpressError:
    """The error of a target under what pruning may leave."""
    return SpeechpressError(
        f"{asked} cannot be reached: it would leave layer 1 without heads, and others of their last units. The nearest "
        f"is {nearest}, with one head in every layer and a thirty-second of channels and FFN units. Take out "
        "dimensions of the width (--width) or layers (--layers) as well"
    )


def _timed(
    target: PruneTarget, encoder: Encoder, importance: Masks, per_cost: bool, clock: Clock, say: OnText
) -> Found:
    before, notes = clock(encoder), list[str]()
    say(
        f"whole: {before.ms:.2f} ms per chunk of {before.chunk_ms:g} ms, {before.quantize}, "
        f"{counted(before.threads, 'thread')}; of {before.known_share:.0%} of it the module is known"
    )
    if before.ms <= target.value:
        asked = target.say(target.value)
        raise SpeechpressError(
            f"the target is {asked}, but the checkpoint takes only {before.ms:.2f} ms; nothing to prune"
        )
    cost, floors = time_cost(encoder, before, notes), floors_of(encoder.config)
    lowest, factor, tried, rounds = float(cost.of(floors)), 1.0, list[tuple[Measured, Masks]](), []
    while len(tried) < ROUNDS and not _close(tried, target.value):
        # The middle of what counts as met, corrected by what the model of the time was off in the round before.
        goal = max(lowest, target.value * (1 + CLOSE) / 2 / factor)
        masks = choose(importance, cost, goal, floors, per_cost)
        expected_ms = float(cost.of(counts(masks)))
        after = clock(cut(encoder, masks))
        say(f"round {len(tried) + 1}: {after.ms:.2f} ms (expected {expected_ms * factor:.2f} ms)")
        rounds.append({"expected_ms": expected_ms * factor, "ms": after.ms})
        factor = after.ms / expected_ms
        tried.append((after, masks))
        # Nothing more can go, so another round would measure the same.
        if goal == lowest and after.ms > target.value:
            break
    within = [pair for pair in tried if pair[0].ms <= target.value]
    if not within:
        raise out_of_reach(target.say(target.value), target.say(min(after.ms for after, _ in tried)))
    # The slowest that is fast enough has kept the most.
    after, masks = max(within, key=lambda pair: pair[0].ms)
    told = {"budget_ms": target.value, "before_ms": before.ms, "after_ms": after.ms, "rounds": rounds}
    settings = {"chunk_ms": before.chunk_ms, "threads": before.threads, "quantize": before.quantize}
    return Found(masks, {"device": target.device, **told, **settings}, notes)


def _close(tried: list[tuple[Measured, Masks]], budget_ms: float) -> bool:
    return any(CLOSE * budget_ms <= after.ms <= budget_ms for after, _ in tried)


def time_cost(encoder: Encoder, measured: Measured, notes: list[str]) -> UnitCost:
    """Milliseconds by unit, from the trace; where that names too few modules, in proportion to MACs, which is said."""
    if measured.known_share >= KNOWN:
        cost = UnitCost.timed(encoder.config, measured.modules_ms)
        # What the trace does not know of the time is shared out in proportion to what it knows.
        return cost.scaled(measured.ms / sum(measured.modules_ms.values()))
    notes.append(
        f"latency: the trace names the module of only {measured.known_share:.0%} of the time, so time was taken to be "
        "in proportion to MACs"
    )
    cost = UnitCost.derived(encoder.config, costs.macs_per_s)
    return cost.scaled(measured.ms / costs.macs_per_s(encoder.config))
