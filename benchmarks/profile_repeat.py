"""Can a profile be repeated, and does profiling cost anything?

    python benchmarks/profile_repeat.py [BUNDLE] [--runs 10] [--chunks 100] [--pairs 20]

Ten profiles of the same bundle on this machine, flat out and at the pace of audio: how far their medians lie apart, as
(largest - smallest) / median. Then the profiler's own cost: the same chunks through a bare loop that only keeps a clock
reading before and after each chunk, and through the profiler's loop (`runtime.measure.run_pace`, with its events and
samples of the machine), in turn in one process; and with and without ExecuTorch's tracer, which --per-op uses in a run
of its own. A cost is the median, over all turns, of one side's p50 against that of the bare loop. Without BUNDLE a
`pocket-conv` student with random weights, whose arithmetic is the same. What other processes used of the machine stands
beside every figure: on a busy machine the spread is theirs. Writes results/profile_repeat.json. With the defaults and
chunks of 320 ms it takes about eight minutes.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import busy_s, write
from profile_models import export_random

from speechpress.devices.open import HostDevice
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.runtime.bundle import Bundle, read_bundle
from speechpress.runtime.measure import Model, run_pace

WARMUP = 5


def repeat(bundle: Bundle, runs: int, chunks: int) -> dict[str, Any]:
    """p50 of several profiles, and how far apart they lie, at both paces."""
    found: dict[str, list[float]] = {"real": [], "flat": []}
    others = []
    for number in range(runs):
        record = profile(bundle, HostDevice(), ProfileOptions(chunks=chunks, threads=1), lambda event: None)
        for pace, values in found.items():
            values.append(record["paces"][pace]["p50_ms"])
        samples = [sample["others_cores"] for pace in record["paces"].values() for sample in pace["samples"]]
        others.append(statistics.median(value for value in samples if value is not None))
        real, flat = found["real"][-1], found["flat"][-1]
        print(f"run {number + 1}: real {real:.3f} ms, flat {flat:.3f} ms, others {others[-1]:.2f} cores", flush=True)
    spread = {pace: (max(values) - min(values)) / statistics.median(values) for pace, values in found.items()}
    return {"p50_ms": found, "spread": spread, "others_cores": others}


def bare(model: Model, chunks: int) -> list[float]:
    """Nothing but a clock around each chunk."""
    times = []
    for chunk in itertools.islice(model.chunks(), chunks):
        started = time.perf_counter()
        model.push(chunk)
        times.append(1000 * (time.perf_counter() - started))
    return times


def profiled(model: Model, chunks: int) -> list[float]:
    """The profiler's own loop."""
    heard: list[float] = []

    def emit(event: str, **values: Any) -> None:
        if event == "chunks":
            heard.extend(values["ms"])

    run_pace("flat", model, {"chunks": {"flat": chunks}, "duration_s": None}, emit, threading.Event())
    return heard


def overhead(bundle: Bundle, chunks: int, pairs: int) -> dict[str, Any]:
    """Medians of chunks with and without the profiler, and with and without the tracer, taken in turn."""
    settings = {"bundle": str(bundle.path), "chunk_ms": None, "threads": 1}
    plain, traced = Model(settings), Model(settings, trace=True)
    sides = {"bare": lambda: bare(plain, chunks), "profiler": lambda: profiled(plain, chunks)}
    sides["tracer"] = lambda: bare(traced, chunks)
    for model in (plain, traced):
        bare(model, WARMUP)
    turns: dict[str, list[float]] = {name: [] for name in sides}
    before, own, started = busy_s(), time.process_time(), time.perf_counter()
    for number in range(pairs):
        # Every other time backwards, so that no side is always first.
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            turns[name].append(statistics.median(sides[name]()))
    others = (busy_s() - before - (time.process_time() - own)) / (time.perf_counter() - started)
    relative = {
        name: statistics.median(side / alone - 1 for side, alone in zip(turns[name], turns["bare"], strict=True))
        for name in ("profiler", "tracer")
    }
    return {"p50_ms": turns, "relative": relative, "others_cores": max(0.0, others)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(given.bundle or export_random("pocket-conv", "none", Path(folder) / "pocket-conv"))
        repeated = repeat(bundle, given.runs, given.chunks)
        cost = overhead(bundle, given.chunks, given.pairs)
    spread = repeated["spread"]
    print(f"spread of p50 in {given.runs} runs: real {spread['real']:.1%}, flat {spread['flat']:.1%}")
    print(f"profiler {cost['relative']['profiler']:+.2%}, tracer {cost['relative']['tracer']:+.2%} of p50")
    facts = {"random_weights": given.bundle is None, "chunks": given.chunks}
    write("profile_repeat", {**facts, "repeat": repeated, "overhead": cost})


if __name__ == "__main__":
    main()
