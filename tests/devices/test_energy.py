import time

import pytest
from profiled import made

from speechpress.devices import energy
from speechpress.devices.open import HostDevice
from speechpress.devices.record import settle
from speechpress.devices.record_schema import check_record


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def rapl(package_uj):
    zones = {"intel-rapl:0": ("package-0", package_uj), "intel-rapl:1": ("package-1", 5_000_000)}
    zones |= {"intel-rapl:0:0": ("core", 900_000_000), "intel-rapl:2": ("psys", 900_000_000)}
    values = {
        "name": lambda zone: zone[0],
        "energy_uj": lambda zone: zone[1],
        "max_energy_range_uj": lambda zone: 100_000_000,
    }
    return {
        f"class/powercap/{name}/{file}": value(zone) for name, zone in zones.items() for file, value in values.items()
    }


def ina(milliamperes):
    rails = {1: ("VDD_IN", 5000, milliamperes), 2: ("VDD_CPU_GPU_CV", 5000, 9999)}
    files = {"name": "ina3221"}
    for number, (label, volts, amperes) in rails.items():
        files |= {f"in{number}_label": label, f"in{number}_input": volts, f"curr{number}_input": amperes}
    other = {"class/hwmon/hwmon0/name": "coretemp", "class/hwmon/hwmon0/in1_label": "X_IN"}
    return {f"class/hwmon/hwmon3/{name}": value for name, value in files.items()} | other


def battery(charge_uah, status="Discharging"):
    files = {"type": "Battery", "status": status, "charge_counter": charge_uah, "voltage_now": 4_000_000}
    return {f"class/power_supply/battery/{name}": value for name, value in files.items()}


def spent(root, *states):
    readings = []
    for state in states:
        tree(root, state)
        readings.append(energy.read(HostDevice(), str(root)))
        time.sleep(0.01)
    return energy.used(readings), readings


def test_packages_are_added_up_and_their_parts_are_not(tmp_path):
    found, readings = spent(tmp_path, rapl(1_000_000), rapl(4_500_000))
    assert found["source"] == "rapl" and found["joules"] == pytest.approx(3.5)
    assert found["seconds"] == readings[1].time_s - readings[0].time_s > 0
    assert found["watts"] == pytest.approx(3.5 / found["seconds"])


def test_a_counter_that_began_anew_has_passed_its_end(tmp_path):
    assert spent(tmp_path, rapl(99_000_000), rapl(2_000_000))[0]["joules"] == pytest.approx(3.0)


def test_the_power_at_a_boards_input_is_summed_over_time(tmp_path):
    found, readings = spent(tmp_path, ina(1000), ina(3000), ina(3000))
    first, second, third = (reading.time_s for reading in readings)
    assert found["source"] == "ina"
    assert found["joules"] == pytest.approx(10.0 * (second - first) + 15.0 * (third - second))


def test_a_battery_tells_by_its_charge_unless_it_is_charged(tmp_path):
    found, _ = spent(tmp_path, battery(2_000_000), battery(1_999_000))
    assert found["source"] == "battery" and found["joules"] == pytest.approx(1000e-6 * 3600 * 4.0)
    assert spent(tmp_path, battery(2_000_000), battery(1_999_000, "Charging"))[0] is None
    assert spent(tmp_path, battery(2_000_000), battery(2_000_000))[0] is None  # finer than it tells


def test_a_machine_that_tells_nothing_gets_no_figure(tmp_path):
    assert spent(tmp_path, {}, {})[0] is None
    assert energy.used([]) is None


def test_energy_of_an_hour_of_audio():
    record = made(10.0)
    assert record["result"]["joules_per_h"] is None
    record["paces"]["real"]["energy"] = {"source": "rapl", "joules": 64.0, "watts": 2.0, "seconds": 32.0}
    settle(record)
    # A hundred chunks of 320 ms.
    assert record["result"]["joules_per_h"] == pytest.approx(64.0 / 32.0 * 3600)
    check_record(record, "made up")
