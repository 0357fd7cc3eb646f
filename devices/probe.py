"""What a device is and how it is doing, told by one shell script that runs on Linux, Android and macOS alike."""

import re
from typing import Any

from .device import Device

# One script and not many calls: each is a connection of its own over ssh. What a system lacks is skipped.
SCRIPT = r"""
say() { echo "== $1"; shift; "$@" 2>/dev/null | tr -d '\000'; echo; }
has() { command -v "$1" >/dev/null 2>&1; }
say uname uname -srm
for f in /proc/device-tree/model /sys/class/dmi/id/product_name /etc/os-release /proc/cpuinfo /proc/meminfo \
  /proc/loadavg /sys/fs/cgroup/cpu.max; do [ -r $f ] && say $f cat $f; done
for c in /sys/devices/system/cpu/cpu[0-9]*; do
  echo "== core ${c##*/cpu}"
  for f in cpufreq/cpuinfo_max_freq cpufreq/cpuinfo_min_freq cpufreq/scaling_governor cpu_capacity; do
    [ -r $c/$f ] && echo "${f##*/} $(cat $c/$f 2>/dev/null)"
  done
done
for b in /sys/class/power_supply/*; do
  [ -r $b/type ] && echo "== power ${b##*/}" && echo "$(cat $b/type $b/status $b/online 2>/dev/null | tr '\n' ' ')"
done
if has getprop; then
  echo "== getprop"
  for k in ro.product.manufacturer ro.product.model ro.product.device ro.soc.manufacturer ro.soc.model \
    ro.board.platform ro.build.version.release ro.product.cpu.abi; do echo "$k $(getprop $k)"; done
  say low_power settings get global low_power
  say thermalservice dumpsys thermalservice
fi
has vcgencmd && say get_throttled vcgencmd get_throttled
if [ "$(uname -s)" = Darwin ]; then
  say sysctl sysctl hw.model machdep.cpu.brand_string hw.ncpu hw.memsize hw.perflevel0.physicalcpu
  say sw_vers sw_vers -productVersion
  say lowpowermode sh -c 'pmset -g | grep lowpowermode'
fi
exit 0
"""
# CPU part numbers of /proc/cpuinfo (implementer 0x41, Arm), from Arm's technical reference manuals.
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
}
# The high bits tell what happened since the board started, which is no matter of this run.
THROTTLED_NOW = 0xF  # the low bits of `vcgencmd get_throttled`: under-voltage, capped, throttled, soft limit
# armv8l is a 64-bit kernel with 32-bit programs.
ABIS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "armv8l": "arm"}


def probe(device: Device) -> dict[str, Any]:
    """Facts of a device, see `facts`; raises DeviceError when it cannot be reached."""
    return facts(device.shell(SCRIPT, timeout_s=60).out)


def facts(text: str) -> dict[str, Any]:
    """What the script printed.

    Returns:
        model, chipset, os, kernel, abi, memory_bytes, cores [{core, name, max_khz, min_khz, governor, capacity}], and
        how it is doing: load_1min, on_battery, power_saving, throttled. None where the device does not tell.
    """
    parts = _sections(text)
    system = parts.get("uname", "").split()
    android = _pairs(parts.get("getprop", ""))
    apple = {key.rstrip(":"): value for key, value in _pairs(parts.get("sysctl", "")).items()}
    machine = system[-1] if system else ""
    return {
        "model": _model(parts, android, apple),
        "chipset": _chipset(parts, android, apple),
        "os": _os(parts, android, system),
        "kernel": " ".join(system[:2]) or None,
        "abi": ABIS.get(machine, machine) or None,
        "memory_bytes": _memory(parts, apple),
        # macOS has no /sys: it tells how many cores there are, no more.
        "cores": _cores(parts) or _apple_cores(apple),
        "load_1min": _first_number(parts.get("/proc/loadavg", "")),
        "cpu_limit_cores": _cpu_limit(parts.get("/sys/fs/cgroup/cpu.max", "")),
        "on_battery": _on_battery(parts),
        "power_saving": _power_saving(parts),
        "throttled": _throttled(parts),
    }


def _sections(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in re.split(r"^== ", text, flags=re.M)[1:]:
        name, _, body = block.partition("\n")
        found[name.strip()] = body.strip()
    return found


def _pairs(text: str) -> dict[str, str]:
    """Lines of a key and the rest."""
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1].strip() for line in text.splitlines() if " " in line}


def _model(parts: dict[str, str], android: dict[str, str], apple: dict[str, str]) -> str | None:
    if android.get("ro.product.model"):
        maker, model = android.get("ro.product.manufacturer", ""), android["ro.product.model"]
        # Some phones repeat their maker in the model.
        return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    tree, desk = parts.get("/proc/device-tree/model"), parts.get("/sys/class/dmi/id/product_name")
    # The device tree first: where there is one, it names the board.
    return tree or apple.get("hw.model") or desk or None


def _chipset(parts: dict[str, str], android: dict[str, str], apple: dict[str, str]) -> str | None:
    chip = f"{android.get('ro.soc.manufacturer', '')} {android.get('ro.soc.model', '')}".strip()
    if chip or android.get("ro.board.platform"):
        return chip or android["ro.board.platform"]
    if apple.get("machdep.cpu.brand_string"):
        return apple["machdep.cpu.brand_string"]
    info = parts.get("/proc/cpuinfo", "")
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    # "ARMv7 Processor rev 3" names an architecture; the part numbers below tell the cores.
    if found and not found[1].startswith("ARM"):
        return found[1].strip()
    names = list(dict.fromkeys(core["name"] for core in _cores(parts) if core["name"]))
    return " + ".join(names) or None


def _os(parts: dict[str, str], android: dict[str, str], system: list[str]) -> str | None:
    if android.get("ro.build.version.release"):
        return f"Android {android['ro.build.version.release']}"
    if parts.get("sw_vers"):
        return f"macOS {parts['sw_vers']}"
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', parts.get("/etc/os-release", ""), re.M)
    return found[1] if found else (system[0] if system else None)


def _memory(parts: dict[str, str], apple: dict[str, str]) -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", parts.get("/proc/meminfo", ""), re.M)
    if found:
        return int(found[1]) * 1024
    return int(apple["hw.memsize"]) if apple.get("hw.memsize", "").isdigit() else None


def _cores(parts: dict[str, str]) -> list[dict[str, Any]]:
    names = _core_names(parts.get("/proc/cpuinfo", ""))
    # By number: cpu10 comes before cpu2 in the shell's order.
    numbers = sorted(int(name.split()[1]) for name in parts if re.fullmatch(r"core \d+", name))
    return [_core(number, names.get(number), _pairs(parts[f"core {number}"])) for number in numbers]


def _core(number: int, name: str | None, values: dict[str, str]) -> dict[str, Any]:
    return {
        "core": number,
        "name": name,
        "max_khz": _first_number(values.get("cpuinfo_max_freq", ""), int),
        "min_khz": _first_number(values.get("cpuinfo_min_freq", ""), int),
        "governor": values.get("scaling_governor") or None,
        "capacity": _first_number(values.get("cpu_capacity", ""), int),
    }


def _core_names(info: str) -> dict[int, str]:
    """Names of cores from /proc/cpuinfo; Arm writes part numbers, x86 its brand."""
    found = {}
    for block in re.split(r"\n(?=processor\s*:)", info):
        number = re.search(r"^processor\s*:\s*(\d+)", block, re.M)
        part = re.search(r"^CPU part\s*:\s*(0x\w+)", block, re.M)
        brand = re.search(r"^model name\s*:\s*(.+)$", block, re.M)
        if number and (part or brand):
            found[int(number[1])] = ARM_PARTS.get(part[1], part[1]) if part else (brand or [""])[1].strip()
    return found


def _apple_cores(apple: dict[str, str]) -> list[dict[str, Any]]:
    count = int(apple["hw.ncpu"]) if apple.get("hw.ncpu", "").isdigit() else 0
    return [_core(number, None, {}) for number in range(count)]


def _cpu_limit(text: str) -> float | None:
    """A container's share of the machine, in cores."""
    words = text.split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _on_battery(parts: dict[str, str]) -> bool | None:
    power = [body for name, body in parts.items() if name.startswith("power ")]
    # Not `online`: a charger may be there and give less than is used.
    return any("Discharging" in body for body in power) if power else None


def _power_saving(parts: dict[str, str]) -> bool | None:
    if parts.get("low_power") in ("0", "1"):
        return parts["low_power"] == "1"
    if parts.get("lowpowermode"):
        return parts["lowpowermode"].endswith("1")
    return None


def _throttled(parts: dict[str, str]) -> bool | None:
    """Whether the device itself says that it holds its clock back now."""
    pi = re.search(r"throttled=(0x[\da-fA-F]+)", parts.get("get_throttled", ""))
    if pi:
        return bool(int(pi[1], 16) & THROTTLED_NOW)
    phone = re.search(r"Thermal Status:\s*(\d+)", parts.get("thermalservice", ""))
    # Android's scale: 0 none, 1 light, which does not yet slow anything that one notices.
    return int(phone[1]) > 1 if phone else None


def _first_number(text: str, kind: type = float) -> Any:
    try:
        return kind(text.split()[0])
    except (IndexError, ValueError):
        return None
