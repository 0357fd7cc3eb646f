import pytest

from speechpress.devices.known import big_cores, known_devices, match


def test_every_file_is_complete():
    found = known_devices()
    assert {"raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "pixel-8", "galaxy-s23"} <= {k.name for k in found}
    for known in found:
        assert known.about and known.chipset and known.models and known.threads >= 1, known.name
        assert all(isinstance(core, int) for core in known.big_cores)
    models = [model for known in found for model in known.models]
    assert len(models) == len(set(models))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        ("Google Pixel 7 Pro", "pixel-7"),
        ("samsung SM-S918B", "galaxy-s23"),
        ("MacBookAir10,1", "macbook-air-m1"),
    ],
)
def test_a_device_is_known_by_its_model(model, name):
    assert match(model).name == name


def test_an_unknown_device_works_too():
    assert match("ThinkPad X1") is None and match(None) is None
    cores = [{"core": n, "capacity": None, "max_khz": khz} for n, khz in enumerate([1800, 1800, 2400, 2400])]
    assert big_cores(cores, None) == [2, 3]
    assert big_cores([{**core, "capacity": 9 if core["core"] else 1} for core in cores], None) == [1, 2, 3]
    assert big_cores([{"core": 0, "capacity": None, "max_khz": None}], None) == [0]
    assert big_cores(cores, match("Google Pixel 7")) == [6, 7]
