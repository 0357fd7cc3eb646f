import time
from pathlib import Path

import pytest
from profiled import first_on_path, program

from speechpress.devices import workspace as module
from speechpress.devices.device import DeviceError
from speechpress.devices.open import HostDevice
from speechpress.devices.workspace import check_end, workspace
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def nobody(event):
    raise AssertionError(event)


def test_a_folder_that_is_gone_afterwards(place):
    with workspace(HostDevice(), 1000, 60, nobody) as folder:
        assert Path(folder).is_dir() and Path(folder).parent == place
        (Path(folder) / "file").write_text("something")
    assert not list(place.iterdir())


def test_it_is_gone_after_an_error_too(place):
    with pytest.raises(KeyError), workspace(HostDevice(), 0, 60, nobody):
        raise KeyError
    assert not list(place.iterdir())


def test_too_little_space(place):
    with pytest.raises(SpeechpressError, match=r"no space is left there.*KiB left.*TMPDIR"):
        workspace(HostDevice(), 10**16, 60, nobody).__enter__()
    assert not list(place.iterdir())


def test_a_place_that_is_not_there(place, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(place / "nothing"))
    with pytest.raises(SpeechpressError, match="cannot be written"):
        workspace(HostDevice(), 0, 60, nobody).__enter__()


def test_the_device_removes_what_we_cannot(place, monkeypatch):
    """As when it was unplugged: the program that still runs ends, and the folder goes."""
    monkeypatch.setattr(module, "TICK_S", 1)
    device, heard = HostDevice(), []
    with workspace(device, 0, 0.5, heard.append) as folder:
        running = device.start(f"cd {folder}; echo $$ > pid; exec sleep 60", 10)
        deadline = time.monotonic() + 20
        while Path(folder).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(folder).exists()
    assert running.end().code == -9


def test_a_lost_device_is_said(place, tmp_path, monkeypatch):
    heard = []
    with workspace(HostDevice(), 0, 900, heard.append) as folder:
        tools = tmp_path / "tools"
        tools.mkdir()
        program(tools, "rm", "exit 1")
        first_on_path(monkeypatch, tools)
    assert heard and folder in heard[0]["text"] and "could not be removed" in heard[0]["text"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-11, "segmentation fault"),
        (139, "segmentation fault"),
        (132, "another processor"),
        (137, "memory"),
        (3, "code 3"),
    ],
)
def test_how_a_program_ended(code, said):
    error = check_end(HostDevice(), code, "What to do.", "last words")
    assert isinstance(error, DeviceError) and said in str(error)
