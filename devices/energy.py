"""Energy that a device says it has used: counters and sensors under /sys, read while a pace is timed.

What is told: RAPL's counters of whole processor packages (Linux on x86, for root), an INA sensor's power at the input
of a board (Jetson: the rail VDD_IN), the charge of a battery that nothing charges (laptops, Android through adb without
USB power). It is the machine's, rest and other programs included. A device that tells none of it gets no figure.
"""

import shlex
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .device import Device, DeviceError

ROOT = "/sys"
# One script, as `probe.SCRIPT` is: what a system lacks is skipped. Zones within a package are parts of it.
SCRIPT = r"""
for z in $R/class/powercap/*:*; do
  case ${z##*/} in *:*:*) continue ;; esac
  case "$(cat $z/name 2>/dev/null)" in package*)
    [ -r $z/energy_uj ] && echo "rapl ${z##*/} $(cat $z/energy_uj) $(cat $z/max_energy_range_uj 2>/dev/null)" ;;
  esac
done
for h in $R/class/hwmon/hwmon*; do
  case "$(cat $h/name 2>/dev/null)" in ina*) ;; *) continue ;; esac
  for l in $h/in*_label; do
    case "$(cat $l 2>/dev/null)" in *_IN) ;; *) continue ;; esac
    n=${l##*/in}; n=${n%_label}
    [ -r $h/in${n}_input ] && [ -r $h/curr${n}_input ] &&
      echo "ina ${h##*/}-$n $(cat $h/in${n}_input) $(cat $h/curr${n}_input)"
  done
done
for b in $R/class/power_supply/*; do
  [ "$(cat $b/type 2>/dev/null)" = Battery ] && [ "$(cat $b/status 2>/dev/null)" = Discharging ] || continue
  if [ -r $b/energy_now ]; then echo "battery ${b##*/} energy $(cat $b/energy_now)"
  elif [ -r $b/voltage_now ]; then
    for f in charge_counter charge_now; do
      [ -r $b/$f ] && echo "battery ${b##*/} charge $(cat $b/$f) $(cat $b/voltage_now)" && break
    done
  fi
done
exit 0
"""


@dataclass(frozen=True)
class Reading:
    """What a device said at one time; by name of a zone, rail or battery."""

    time_s: float
    rapl_j: dict[str, tuple[float, float | None]] = field(default_factory=dict)  # and where the counter begins anew
    ina_w: dict[str, float] = field(default_factory=dict)
    battery_j: dict[str, float] = field(default_factory=dict)  # what is left


def read(device: Device, root: str = ROOT) -> Reading:
    """A reading now; an empty one where the device tells nothing, or has gone."""
    began_s = time.monotonic()
    try:
        text = device.shell(f"R={shlex.quote(root)}\n{SCRIPT}").out
    except DeviceError:
        return Reading(began_s)
    # Between question and answer: over ssh that is a while.
    return parse((began_s + time.monotonic()) / 2, text)


def parse(time_s: float, text: str) -> Reading:
    """What the script printed; a line that is not whole is left out."""
    found = Reading(time_s)
    for line in text.splitlines():
        kind, name, *rest = [*line.split(), "", ""]
        words = [word for word in rest if word]
        numbers = [int(word) for word in words if word.lstrip("-").isdecimal()]
        if kind == "rapl" and numbers:
            found.rapl_j[name] = (numbers[0] / 1e6, numbers[1] / 1e6 if len(numbers) > 1 else None)
        elif kind == "ina" and len(numbers) == 2:
            found.ina_w[name] = numbers[0] * numbers[1] / 1e6  # millivolts and milliamperes
        elif kind == "battery" and words[:1] == ["energy"] and len(numbers) == 1:
            found.battery_j[name] = numbers[0] * 3600 / 1e6  # microwatt-hours
        elif kind == "battery" and words[:1] == ["charge"] and len(numbers) == 2:
            found.battery_j[name] = numbers[0] * 3600 / 1e6 * numbers[1] / 1e6  # microampere-hours and microvolts
    return found


def used(readings: list[Reading]) -> dict[str, Any] | None:
    """{source, joules, watts, seconds} from the first reading to the last; None where that is not told.

    A counter of the processor first, then a sensor, whose power is taken as changing evenly between readings, then a
    battery.
    """
    if len(readings) < 2 or readings[-1].time_s <= readings[0].time_s:
        return None
    for source, joules in (("rapl", _counted(readings)), ("ina", _sensed(readings)), ("battery", _drained(readings))):
        if joules is not None and joules > 0:
            seconds = readings[-1].time_s - readings[0].time_s
            return {"source": source, "joules": joules, "watts": joules / seconds, "seconds": seconds}
    return None


def _counted(readings: list[Reading]) -> float | None:
    total = 0.0
    names = readings[0].rapl_j.keys()
    if not names or any(reading.rapl_j.keys() != names for reading in readings):
        return None
    for before, after in pairwise(readings):
        for name in names:
            (start, _), (end, most) = before.rapl_j[name], after.rapl_j[name]
            if end < start and most is None:
                return None
            total += end - start + ((most or 0.0) if end < start else 0.0)
    return total


def _sensed(readings: list[Reading]) -> float | None:
    names = readings[0].ina_w.keys()
    if not names or any(reading.ina_w.keys() != names for reading in readings):
        return None
    watts = [sum(reading.ina_w.values()) for reading in readings]
    steps = [after.time_s - before.time_s for before, after in pairwise(readings)]
    return sum(step * (a + b) / 2 for step, a, b in zip(steps, watts, watts[1:], strict=False))


def _drained(readings: list[Reading]) -> float | None:
    names = readings[0].battery_j.keys()
    # All readings: one that began to be charged meanwhile tells nothing.
    if not names or any(reading.battery_j.keys() != names for reading in readings):
        return None
    return sum(readings[0].battery_j.values()) - sum(readings[-1].battery_j.values())
