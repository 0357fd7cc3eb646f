"""What else goes on in the machine while something is timed: load, clock, heat, memory; None where it does not tell."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

_STAT, _STATUS = Path("/proc/stat"), Path("/proc/self/status")
_CPUS, _ZONES = Path("/sys/devices/system/cpu"), Path("/sys/class/thermal")


def busy_s() -> float | None:
    """CPU seconds that all processes of the machine have used since it started, less idle and waiting."""
    if not _STAT.exists():
        return None
    # user to steal; the guest columns after them are counted in user already.
    values = [int(value) for value in _STAT.read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def clocks_khz() -> dict[str, int]:
    """The clock of each core now, as far as the kernel tells."""
    found = {}
    for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        found[path.parent.parent.name.removeprefix("cpu")] = _number(path)
    return {core: value for core, value in sorted(found.items(), key=lambda item: int(item[0])) if value is not None}


def hottest_c() -> float | None:
    """The hottest thermal zone in degrees Celsius."""
    values = [value for path in _ZONES.glob("thermal_zone*/temp") if (value := _number(path)) is not None]
    # In thousandths of a degree; some zones tell 0 or nonsense, as when their sensor is off.
    plausible = [value / 1000 for value in values if 0 < value < 150_000]
    return max(plausible, default=None)


def resident_bytes() -> int | None:
    """Resident memory of this process now."""
    return _status_bytes("VmRSS")


def peak_rss_bytes() -> int:
    """The highest resident memory of this process so far.

    Not getrusage where /proc is, for that inherits the peak of the process that started this one.
    """
    own = _status_bytes("VmHWM")
    if own is not None:
        return own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux KiB.
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    lines = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def _number(path: Path) -> int | None:
    """Some sensors are listed but cannot be read."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Watch:
    """Samples of the machine since it was made, each with the share of a core that other processes used."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._busy, self._own = busy_s(), time.process_time()

    def sample(self) -> dict[str, Any]:
        """{t_s, khz, temp_c, others_cores}: the load is that since the sample before."""
        now, busy, own = time.perf_counter(), busy_s(), time.process_time()
        others = None
        if busy is not None and self._busy is not None and now > self._last:
            # /proc counts in ticks, usually of 10 ms, so that a short span may come out below our own time.
            others = max(0.0, (busy - self._busy) - (own - self._own)) / (now - self._last)
        self._last, self._busy, self._own = now, busy, own
        return {"t_s": now - self._started, "khz": clocks_khz(), "temp_c": hottest_c(), "others_cores": others}
