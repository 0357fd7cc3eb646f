"""How much of a program's time its backend takes, and what falls off it, named by layer."""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from speechpress.runtime.engine import Program

from .lower import Layers, Lowered, hushed

CALLS = 7
DELEGATE, KERNEL = "DELEGATE_CALL", "OPERATOR_CALL"
SHOWN = 8


def report(path: Path, method: str, inputs: list[np.ndarray], fallback: Layers, delegated: int) -> dict[str, Any]:
    """Run a method on one thread, with ExecuTorch's own clock, and share its time out.

    Returns:
        time_share (of the backend, 0 to 1), operators (in all), delegated, median_ms, and the costliest of what runs
        outside of the backend as fallback [{operator, layer, time_share}].
    """
    times = _times_ms(path, method, inputs)
    on_backend = sum(ms for name, ms in times if name == DELEGATE)
    kernels = [(name, ms) for name, ms in times if name != DELEGATE]
    # Shares are divided by it, so it must not be 0.
    total = max(on_backend + sum(ms for _, ms in kernels), 1e-9)
    costs: dict[tuple[str, str], float] = defaultdict(float)
    seen: Counter[str] = Counter()
    for name, ms in kernels:
        costs[_readable(name), _layer_of(name, seen, fallback)] += ms
    rows = [
        {"operator": operator, "layer": layer, "time_share": ms / total}
        for (operator, layer), ms in sorted(costs.items(), key=lambda item: -item[1])
    ]
    return {
        "time_share": on_backend / total,
        "operators": delegated + len(kernels),
        "delegated": delegated,
        "median_ms": total,
        "fallback": rows[:SHOWN],
    }


def counted(lowered: Lowered) -> dict[str, dict[str, Any]]:
    """As `report` of every method, of a backend that does not run here: operators are counted, and no time is known."""
    return {method: _counted(lowered, method) for method in lowered.delegated}


def _counted(lowered: Lowered, method: str) -> dict[str, Any]:
    beside = [
        {"operator": _readable(kernel.split("::")[-1]), "layer": layer}
        for kernel, places in lowered.fallback[method].items()
        for layer in places
    ]
    delegated, calls = lowered.delegated[method], len(lowered.partitions[method])
    return {"operators": delegated + len(beside), "delegated": delegated, "calls": calls, "fallback": beside}


def layers(lowered: Lowered, method: str) -> dict[str, Any]:
    """Where calls come from, in order, so that a trace from any device can be told by layer.

    Returns:
        kernels {name: [layer of each call]} outside of the backend, and partitions [[layer of each product]], one list
        per call of the backend.
    """
    kernels = {kernel.split("::")[-1]: places for kernel, places in lowered.fallback[method].items()}
    return {"kernels": kernels, "partitions": lowered.partitions[method]}


def _times_ms(path: Path, method: str, inputs: list[np.ndarray]) -> list[tuple[str, float]]:
    """(name, median ms) of every instruction of the method, in order; calls of the backend are called DELEGATE."""
    with tempfile.TemporaryDirectory() as folder, hushed():
        from executorch.devtools import Inspector

        program, trace = Program(path, threads=1, trace=True), Path(folder) / "trace.etdp"
        for _ in range(CALLS):
            program.run(method, *inputs)
        program.write_trace(trace)
        events = [event for block in Inspector(etdump_path=str(trace)).event_blocks for event in block.events]
    found = []
    for event in events:
        # What runs inside of a call of the backend is in the time of that call already.
        if event.perf_data is None or event.delegate_debug_identifier is not None:
            continue
        if event.name == DELEGATE or event.name.startswith("native_call_"):
            # The first call of a method also allocates.
            found.append((event.name, median(event.perf_data.raw[1:] or event.perf_data.raw)))
    return found


def _layer_of(name: str, seen: Counter[str], fallback: Layers) -> str:
    """The layer of the next call of a kernel, which the trace calls after its last name."""
    short = name.removeprefix("native_call_")
    layers = next((layers for kernel, layers in fallback.items() if kernel.split("::")[-1] == short), [])
    seen[short] += 1
    return layers[seen[short] - 1] if seen[short] <= len(layers) else "stream"


def _readable(name: str) -> str:
    return name.removeprefix("native_call_").removesuffix(".out").removesuffix("_out")
