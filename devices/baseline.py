"""Whether a profile is slower than an earlier one, or only different by chance.

Noise is measured, not assumed: each run is cut into blocks of consecutive chunks, which are drawn again and again
(Künsch 1989, "The jackknife and the bootstrap for general stationary observations"); how far a quantile moves is its
noise. Several runs of the same thing also show how far runs lie apart. Two runs of one program on a quiet machine
differ by up to 5 %, so less than that is never called a change.
"""

import math
import random
from dataclasses import dataclass
from typing import Any

from .record import Record, quantile

FLOOR, BLOCK, DRAWS = 0.05, 10, 200
MEMORY_FLOOR = 0.10
SHARES = {"p50_ms": 0.5, "p99_ms": 0.99}


@dataclass(frozen=True)
class Change:
    """A figure now and before; `noise` is the relative change that chance alone makes."""

    figure: str
    before: float
    now: float
    noise: float

    @property
    def ratio(self) -> float:
        return self.now / self.before - 1

    @property
    def verdict(self) -> str:
        if abs(self.ratio) <= self.noise:
            return "same"
        return "worse" if self.ratio > 0 else "better"

    def words(self) -> str:
        """Such as "p50 7.50 → 9.10 ms, +21 % (noise ±6 %)"."""
        unit, scale = ("MB", 1e6) if self.figure.endswith("bytes") else ("ms", 1.0)
        name = {"peak_rss_bytes": "memory"}.get(self.figure, self.figure.removesuffix("_ms"))
        figures = f"{self.before / scale:.2f} → {self.now / scale:.2f} {unit}"
        return f"{name} {figures}, {self.ratio:+.0%} (noise ±{self.noise:.0%})"


def key(record: Record) -> tuple[Any, ...]:
    """What has to be the same for two records to be compared; the program itself may differ, that is the point."""
    bundle, settings, device = record["bundle"], record["settings"], record["device"]
    how = tuple(str(settings[name]) for name in ("chunk_ms", "threads", "cores", "side", "paces"))
    # A chipset where there is no model: a board or a container may have no name of its own.
    return (bundle["name"], bundle["quantize"], device["address"], device["model"] or device["chipset"], *how)


def changes(record: Record, baselines: list[Record]) -> list[Change]:
    """What changed against the earlier records of the same thing; nothing when there are none."""
    before = [item for item in baselines if key(item) == key(record) and _values(item)]
    if not before or not _values(record):
        return []
    found = []
    for figure, share in SHARES.items():
        earlier = sorted(item["result"][figure] for item in before)
        middle = quantile(earlier, 0.5)
        # 0 for a single earlier run, whose own noise then has to do.
        apart = (earlier[-1] - earlier[0]) / middle
        # Both runs have noise, independent of each other; of several earlier ones the noisiest counts.
        chance = math.hypot(noise(_values(record), share), max(noise(_values(item), share) for item in before))
        found.append(Change(figure, middle, record["result"][figure], max(FLOOR, apart, chance)))
    # Not every device tells its memory.
    memory = [item["result"]["peak_rss_bytes"] for item in before if item["result"]["peak_rss_bytes"]]
    if memory and record["result"]["peak_rss_bytes"]:
        middle = quantile(sorted(memory), 0.5)
        found.append(Change("peak_rss_bytes", middle, record["result"]["peak_rss_bytes"], MEMORY_FLOOR))
    return found


def noise(values_ms: list[float], share: float) -> float:
    """Half the width of the 95 % interval of a quantile, relative to it; the draws are always the same."""
    # Blocks, because neighbouring chunks are alike: single ones would make the noise look smaller.
    blocks = [values_ms[start : start + BLOCK] for start in range(0, len(values_ms), BLOCK)]
    # Fixed, so that the same two records are always judged alike.
    draw = random.Random(0)
    found = sorted(_drawn(blocks, draw, share) for _ in range(DRAWS))
    middle = quantile(sorted(values_ms), share)
    return (quantile(found, 0.975) - quantile(found, 0.025)) / 2 / middle


def _drawn(blocks: list[list[float]], draw: random.Random, share: float) -> float:
    return quantile(sorted(value for block in draw.choices(blocks, k=len(blocks)) for value in block), share)


def _values(record: Record) -> list[float]:
    """The latencies that the result's figures are of."""
    for name in ("real", "flat"):
        if record["paces"].get(name, {}).get("ms"):
            return record["paces"][name]["ms"]
    return []
