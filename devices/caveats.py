"""What makes a measurement doubtful, so that a bad one is seen as one."""

from statistics import median
from typing import Any

from .record import Record

OTHERS_CORES = 0.2  # of other programs, meanwhile
CLOCK_DROP, DRIFT = 0.9, 1.1  # the last quarter of a run against the first
HOT_C = 80.0
# Of 100 chunks the 99th percentile is already nearly the second slowest.
ENOUGH_CHUNKS, ENOUGH_FOR_DRIFT = 100, 40
SLOW_GOVERNORS = ("powersave", "conservative")
Warning = dict[str, str]


def caveats(record: Record) -> list[Warning]:
    """Every doubt as {name, text}."""
    found = [*_device(record["device"]), *_limits(record), *_versions(record)]
    for name, pace in record["paces"].items():
        if pace["ms"]:
            found += _pace(name, pace)
    chunks = record["result"].get("chunks", 0)
    if 0 < chunks < ENOUGH_CHUNKS:
        found.append(_warn("few chunks", f"only {chunks} chunks were timed: p99 is little more than the slowest"))
    return found


def _device(device: dict[str, Any]) -> list[Warning]:
    found = []
    governors = {core["governor"] for core in device["cores"]} & set(SLOW_GOVERNORS)
    if governors:
        text = f"the CPU governor is {', '.join(sorted(governors))}, which may lower the clock"
        found.append(_warn("power saving", text))
    if device["power_saving"]:
        found.append(_warn("power saving", "the device is in its power saving mode; switch it off and measure again"))
    if device["on_battery"]:
        found.append(_warn("on battery", "the device runs on its battery, which may lower the clock"))
    if device["throttled"] or device.get("after", {}).get("throttled"):
        found.append(_warn("throttled", "the device reports throttling: let it cool, check its power supply"))
    return found


def _limits(record: Record) -> list[Warning]:
    limit, threads = record["device"]["cpu_limit_cores"], record["settings"]["threads"]
    # A container's quota stops all threads for the rest of its period, which looks like slow chunks.
    if limit is not None and limit < threads:
        return [_warn("container", f"this container may use {limit:g} cores, and {threads} threads were asked for")]
    return []


def _versions(record: Record) -> list[Warning]:
    made = _plain(record["bundle"]["versions"].get("executorch"))
    ran = _plain(record["device"].get("versions", {}).get("executorch"))
    if made and ran and made != ran:
        return [_warn("versions", f"the bundle was made with ExecuTorch {made} and run with {ran}")]
    return []


def _plain(version: str | None) -> str:
    # "+cpu" is a build of the same version.
    return (version or "").split("+")[0]


def _pace(name: str, pace: dict[str, Any]) -> list[Warning]:
    found = []
    where = {"real": "at the pace of real audio", "flat": "flat out"}[name]
    others = [item["others_cores"] for item in pace["samples"] if item["others_cores"] is not None]
    # The median: one short job of the system makes no run doubtful.
    if others and median(others) > OTHERS_CORES:
        text = f"{where}, other programs used {median(others):.1f} cores: measure again on a quiet machine"
        found.append(_warn("other load", text))
    hottest = max((item["temp_c"] for item in pace["samples"] if item["temp_c"] is not None), default=0.0)
    if hottest >= HOT_C:
        found.append(_warn("heat", f"{where}, the device became {hottest:.0f} °C hot"))
    # The fastest core: the others may rest, which says nothing of heat.
    clocks = [max(item["khz"].values()) for item in pace["samples"] if item["khz"]]
    # A sample a second: of fewer than 8 a quarter is a single value.
    ratio = _last_to_first(clocks) if len(clocks) >= 8 else None
    if ratio is not None and ratio < CLOCK_DROP:
        found.append(_warn("clock drop", f"{where}, the clock fell to {ratio:.0%}: heat or power limits"))
    drift = _last_to_first(pace["ms"]) if len(pace["ms"]) >= ENOUGH_FOR_DRIFT else None
    if drift is not None and drift > DRIFT:
        found.append(_warn("drift", f"{where}, chunks took {drift:.2f} times as long at the end as at the beginning"))
    if pace["late"]:
        found.append(_warn("late", f"{pace['late']} chunks had to wait for the one before: too slow for live audio"))
    return found


def _last_to_first(values: list[float]) -> float:
    """Medians of the last and the first quarter."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) / median(values[:quarter])


def _warn(name: str, text: str) -> Warning:
    return {"name": name, "text": text}
