import sys

import pytest

from speechpress.runtime import machine


def test_memory_of_this_process():
    resident, peak = machine.resident_bytes(), machine.peak_rss_bytes()
    assert peak > 5_000_000
    if resident is not None:
        assert 5_000_000 < resident <= peak


def test_samples_hold_what_the_machine_tells():
    watch = machine.Watch()
    sum(range(200_000))
    sample = watch.sample()
    assert set(sample) == {"t_s", "khz", "temp_c", "others_cores"} and sample["t_s"] > 0
    assert sample["others_cores"] is None or sample["others_cores"] >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_sensors_are_read_and_broken_ones_left_out(tmp_path, monkeypatch):
    cpus, zones = tmp_path / "cpu", tmp_path / "thermal"
    for core, khz in ((0, "1500000"), (10, "2400000"), (2, "not a number")):
        (cpus / f"cpu{core}" / "cpufreq").mkdir(parents=True)
        (cpus / f"cpu{core}" / "cpufreq" / "scaling_cur_freq").write_text(khz)
    for zone, value in enumerate(("48312", "61000", "-274000", "999999")):
        (zones / f"thermal_zone{zone}").mkdir(parents=True)
        (zones / f"thermal_zone{zone}" / "temp").write_text(value)
    monkeypatch.setattr(machine, "_CPUS", cpus)
    monkeypatch.setattr(machine, "_ZONES", zones)
    assert machine.clocks_khz() == {"0": 1_500_000, "10": 2_400_000}
    assert machine.hottest_c() == 61.0


def test_a_machine_that_tells_nothing(tmp_path, monkeypatch):
    for name in ("_STAT", "_STATUS", "_CPUS", "_ZONES"):
        monkeypatch.setattr(machine, name, tmp_path / "nothing")
    assert machine.busy_s() is None and machine.clocks_khz() == {} and machine.hottest_c() is None
    assert machine.resident_bytes() is None and machine.peak_rss_bytes() > 0
    assert machine.Watch().sample()["others_cores"] is None
