"""What devices print, in the form in which they print it."""

import pytest

from speechpress.devices.open import HostDevice
from speechpress.devices.probe import facts, probe

PI_5 = """== uname
Linux 6.6.31+rpt-rpi-2712 aarch64

== /proc/device-tree/model
Raspberry Pi 5 Model B Rev 1.0

== /etc/os-release
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"

== /proc/cpuinfo
processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd0b

== /proc/meminfo
MemTotal:        8255488 kB
MemFree:         6000000 kB

== /proc/loadavg
0.08 0.03 0.01 1/180 1234

== core 0
cpuinfo_max_freq 2400000
cpuinfo_min_freq 1500000
scaling_governor ondemand
== core 1
cpuinfo_max_freq 2400000
cpuinfo_min_freq 1500000
scaling_governor ondemand
== get_throttled
throttled=0x50005

"""
PIXEL = """== uname
Linux 5.10.157-android13-4 aarch64

== /proc/cpuinfo
processor\t: 0
CPU part\t: 0xd05

processor\t: 6
CPU part\t: 0xd44

== /proc/meminfo
MemTotal:        7600000 kB

== core 0
cpuinfo_max_freq 1803000
scaling_governor sched_pixel
cpu_capacity 124
== core 6
cpuinfo_max_freq 2850000
scaling_governor sched_pixel
cpu_capacity 1024
== power battery
Battery Discharging 
== getprop
ro.product.manufacturer Google
ro.product.model Pixel 7
ro.product.device panther
ro.soc.manufacturer Google
ro.soc.model GS201
ro.board.platform gs201
ro.build.version.release 14
ro.product.cpu.abi arm64-v8a
== low_power
1

== thermalservice
IsStatusOverride: false
Thermal Status: 3

"""
MAC = """== uname
Darwin 23.5.0 arm64

== sysctl
hw.model: MacBookAir10,1
machdep.cpu.brand_string: Apple M1
hw.ncpu: 8
hw.memsize: 17179869184

== sw_vers
14.5

== lowpowermode
 lowpowermode         0

"""


def test_a_raspberry_pi():
    found = facts(PI_5)
    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0" and found["chipset"] == "Cortex-A76"
    assert found["abi"] == "arm64" and found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["memory_bytes"] == 8255488 * 1024 and found["load_1min"] == 0.08
    first = {"core": 0, "name": "Cortex-A76", "max_khz": 2_400_000, "min_khz": 1_500_000}
    assert found["cores"][0] == {**first, "governor": "ondemand", "capacity": None} and len(found["cores"]) == 2
    assert found["throttled"] is True  # under-voltage now: bits 0 and 2


def test_a_pi_that_was_throttled_only_earlier():
    assert facts(PI_5.replace("0x50005", "0x50000"))["throttled"] is False


def test_a_phone():
    found = facts(PIXEL)
    assert (found["model"], found["chipset"], found["os"]) == ("Google Pixel 7", "Google GS201", "Android 14")
    assert found["on_battery"] and found["power_saving"] and found["throttled"]
    assert [(core["core"], core["name"], core["capacity"]) for core in found["cores"]] == [
        (0, "Cortex-A55", 124),
        (6, "Cortex-X1", 1024),
    ]


def test_a_mac():
    found = facts(MAC)
    assert (found["model"], found["chipset"], found["os"]) == ("MacBookAir10,1", "Apple M1", "macOS 14.5")
    assert found["abi"] == "arm64" and len(found["cores"]) == 8 and found["memory_bytes"] == 2**34
    assert found["power_saving"] is False


@pytest.mark.parametrize("text", ["", "== uname\n\n", "sh: not found"])
def test_a_device_that_tells_nothing(text):
    found = facts(text)
    assert found["model"] is None and found["cores"] == [] and found["throttled"] is None


def test_this_machine_tells_its_cores():
    found = probe(HostDevice())
    assert found["cores"] and found["abi"] and found["kernel"]


def test_a_containers_share_of_the_machine():
    assert facts("== /sys/fs/cgroup/cpu.max\n150000 100000\n")["cpu_limit_cores"] == 1.5
    assert facts("== /sys/fs/cgroup/cpu.max\nmax 100000\n")["cpu_limit_cores"] is None
