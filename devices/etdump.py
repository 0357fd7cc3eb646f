"""Where the time of a chunk goes: ExecuTorch's own trace of a device, told by operator and by layer.

A trace names operators as the backend does ("Fully Connected (NC, F32) GEMM #3") and no layers. bundle.json lists the
layers of the convolutions, linear layers and matrix products of every call of the backend, in order; a trace has them
in the same order. What lies between two of them (activations, copies) is counted with the one before. Where the counts
do not agree, as with other versions, time stays without a layer ("not known"), and `known_share` says how much has one.
"""

import logging
import re
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from subprocess import SubprocessError
from typing import Any, NamedTuple

from ..runtime.errors import SpeechpressError

# As XNNPACK names them; all else that it runs is cheap beside them.
PRODUCTS = ("Convolution", "Fully Connected", "Batch Matrix Multiply", "Deconvolution")
DELEGATE, NATIVE = "DELEGATE_CALL", "native_call_"
HEAD, SHARED = "head", "norm for all heads"  # a head's name comes after "head"
UNKNOWN, CALLING = "not known", "(calling the backend)"
INSIDE, OUTSIDE = "backend", "outside"


class Event(NamedTuple):
    """One operator of a chunk: the name in the trace, its median time, and whether the backend ran it."""

    name: str
    ms: float
    inside: bool


class Cost(NamedTuple):
    """Time of one operator: where it ran, what it is called, and the module that it belongs to."""

    where: str
    operator: str
    module: str
    ms: float

    @property
    def layer(self) -> str:
        return self.module if self.module == UNKNOWN else stage(self.module)


def operators(trace: Path, layers: dict[str, Any] | None) -> dict[str, Any]:
    """Share out the time of a chunk.

    Args:
        trace: an ETDump of chunks.
        layers: of the method, as in bundle.json; None when the bundle does not tell.

    Returns:
        total_ms, outside_ms, outside_share (of what the backend does not run), known_share (with a layer), by_operator
        [{operator, where, ms, share, calls}], by_layer [{layer, ms, share, outside_ms}] and by_module [{module, ms}]
        (under the checkpoint's names), the costliest first.

    Raises SpeechpressError when the trace cannot be read.
    """
    return share_out(read_events(trace), layers)


def read_events(trace: Path) -> list[Event]:
    """The operators of the traced method in order; raises SpeechpressError when the file is no trace."""
    from ..runtime.engine import quiet  # with numpy, which a report does without

    # The Inspector logs and warns of what it misses in traces without debug data.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Here: it takes pandas and more with it, which only a trace needs.
            from executorch.devtools import Inspector

            blocks = Inspector(etdump_path=str(trace)).event_blocks
    except (OSError, RuntimeError, ValueError, AssertionError, SubprocessError) as error:
        why = type(error).__name__
        raise SpeechpressError(f"{trace}: is not a trace that ExecuTorch's Inspector reads ({why})") from error
    finally:
        logging.disable(previous)
    events = [event for block in blocks if block.name == "Execute" for event in block.events]
    found = []
    for event in events:
        if event.perf_data is None or not event.perf_data.raw:
            continue
        # The first call of a method also allocates.
        ms = median(event.perf_data.raw[1:] or event.perf_data.raw)
        if event.delegate_debug_identifier is not None:
            found.append(Event(str(event.delegate_debug_identifier), ms, True))
        # Others, such as OPERATOR_CALL, hold the same time once more.
        elif event.name == DELEGATE or event.name.startswith(NATIVE):
            found.append(Event(event.name, ms, False))
    return found


def share_out(events: list[Event], layers: dict[str, Any] | None) -> dict[str, Any]:
    """As `operators`, of events: the backend's operators stand before the call that ran them."""
    costs = _costs(events, layers or {"kernels": {}, "partitions": []})
    # Never 0: shares are divided by it.
    total_ms = max(sum(cost.ms for cost in costs), 1e-9)
    outside_ms = sum(cost.ms for cost in costs if cost.where == OUTSIDE)
    known_ms = sum(cost.ms for cost in costs if cost.module != UNKNOWN)
    return {
        "total_ms": total_ms,
        "outside_ms": outside_ms,
        "outside_share": outside_ms / total_ms,
        "known_share": known_ms / total_ms,
        "by_operator": _by_operator(costs, total_ms),
        "by_layer": _by_layer(costs, total_ms),
        "by_module": _by_module(costs),
    }


def _costs(events: list[Event], layers: dict[str, Any]) -> list[Cost]:
    costs: list[Cost] = []
    pending: list[Event] = []
    partitions, seen = iter(layers["partitions"]), Counter[str]()
    for event in events:
        if event.inside:
            pending.append(event)
        elif event.name == DELEGATE:
            costs += _inside(pending, event.ms, next(partitions, None))
            pending = []
        else:
            name = event.name.removeprefix(NATIVE)
            costs.append(Cost(OUTSIDE, readable(name), _kernel_module(name, seen, layers["kernels"]), event.ms))
    return costs


def _inside(events: list[Event], call_ms: float, products: list[str] | None) -> list[Cost]:
    """Costs of one call of the backend; what its operators do not account for is the calling itself."""
    places = _places(events, products)
    costs = [Cost(INSIDE, readable(event.name), place, event.ms) for event, place in zip(events, places, strict=True)]
    rest_ms = max(0.0, call_ms - sum(event.ms for event in events))
    return [*costs, Cost(INSIDE, CALLING, places[-1] if places else UNKNOWN, rest_ms)]


def _places(events: list[Event], products: list[str] | None) -> list[str]:
    """The module of each operator of one call."""
    count = sum(event.name.startswith(PRODUCTS) for event in events)
    # One product more or less would shift the layer of every one after it.
    if not products or count != len(products):
        return [UNKNOWN] * len(events)
    # What comes before the first product is counted with it.
    places, left, place = [], list(products), products[0]
    for event in events:
        if event.name.startswith(PRODUCTS):
            place = left.pop(0)
        places.append(place)
    return places


def _kernel_module(name: str, seen: Counter[str], kernels: dict[str, list[str]]) -> str:
    """The trace calls a kernel after its last name, sometimes with an underscore before `out`."""
    key = next((key for key in (name, name.replace("_out", ".out")) if key in kernels), None)
    seen[name] += 1
    # More calls than the bundle lists: of another version, so no guess.
    if key is None or seen[name] > len(kernels[key]):
        return UNKNOWN
    return kernels[key][seen[name] - 1]


def stage(layer: str) -> str:
    """A module's path as a person would call it: layers are counted from 1, as everywhere."""
    found = re.match(r"encoder\.layers\.(\d+)", layer)
    if found:
        return f"layer {int(found[1]) + 1}"
    head = re.match(r"heads\.([a-z0-9][a-z0-9_-]*)", layer)
    if head:
        return f"{HEAD} {head[1]}"
    # By their beginnings; "encoder.layer_norm" does not begin any of `encoder.layers`.
    names = {
        "feature_extractor": "front end",
        "feature_projection": "projection",
        "encoder.pos_conv_embed": "position convolution",
        "encoder.layer_norm": "encoder norm",
        "heads._norm": SHARED,
    }
    return next((title for start, title in names.items() if layer.startswith(start)), "streaming state")


def readable(name: str) -> str:
    """Without the running number, and without what says that a kernel writes to a given tensor."""
    short = re.sub(r" #\d+$", "", name)
    return re.sub(r"[._]out$", "", short)


def _by_operator(costs: list[Cost], total_ms: float) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    calls: Counter[tuple[str, str]] = Counter()
    for cost in costs:
        sums[cost.operator, cost.where] += cost.ms
        calls[cost.operator, cost.where] += 1
    return [
        {"operator": operator, "where": where, "ms": ms, "share": ms / total_ms, "calls": calls[operator, where]}
        for (operator, where), ms in sorted(sums.items(), key=lambda item: -item[1])
    ]


def _by_layer(costs: list[Cost], total_ms: float) -> list[dict[str, Any]]:
    sums: dict[str, float] = defaultdict(float)
    outside: dict[str, float] = defaultdict(float)
    for cost in costs:
        sums[cost.layer] += cost.ms
        outside[cost.layer] += cost.ms if cost.where == OUTSIDE else 0.0
    return [
        {"layer": layer, "ms": ms, "share": ms / total_ms, "outside_ms": outside[layer]}
        for layer, ms in sorted(sums.items(), key=lambda item: -item[1])
    ]


def _by_module(costs: list[Cost]) -> list[dict[str, Any]]:
    sums: dict[str, float] = defaultdict(float)
    for cost in costs:
        sums[cost.module] += cost.ms
    return [{"module": module, "ms": ms} for module, ms in sorted(sums.items(), key=lambda item: -item[1])]
