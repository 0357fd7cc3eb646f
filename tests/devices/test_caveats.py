import pytest
from profiled import made, pace

from speechpress.devices.caveats import caveats


def names(record):
    return {item["name"] for item in caveats(record)}


def test_a_good_measurement_has_none():
    assert caveats(made()) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"power_saving": True}, "power saving"),
        ({"on_battery": True}, "on battery"),
        ({"throttled": True}, "throttled"),
        ({"after": {"throttled": True}}, "throttled"),
        ({"cpu_limit_cores": 0.5}, "container"),
        ({"versions": {"executorch": "1.4.0+cpu"}}, "versions"),
    ],
)
def test_doubts_about_the_device(change, name):
    record = made()
    record["device"] |= change
    assert names(record) == {name}


def test_a_governor_that_saves_power():
    record = made()
    record["device"]["cores"][3]["governor"] = "powersave"
    assert "powersave" in caveats(record)[0]["text"]


@pytest.mark.parametrize(("sample", "name"), [({"others_cores": 0.8}, "other load"), ({"temp_c": 84.0}, "heat")])
def test_doubts_about_the_run(sample, name):
    record = made()
    record["paces"]["real"]["samples"] = pace([10.0], **sample)["samples"]
    assert names(record) == {name}


def test_a_clock_that_falls_and_chunks_that_take_longer():
    record = made()
    samples = record["paces"]["flat"]["samples"]
    falling = [
        {**sample, "khz": {"0": khz}}
        for sample, khz in zip(samples, range(2_400_000, 1_400_000, -100_000), strict=True)
    ]
    record["paces"]["flat"]["samples"] = falling
    record["paces"]["flat"]["ms"] = [10.0] * 50 + [13.0] * 50
    assert names(record) == {"clock drop", "drift"}


def test_few_chunks_and_late_ones():
    record = made()
    record["result"]["chunks"], record["paces"]["real"]["late"] = 20, 3
    assert names(record) == {"few chunks", "late"}


def test_a_record_in_which_nothing_was_timed():
    record = made()
    record["paces"], record["result"] = {}, {}
    assert caveats(record) == []
