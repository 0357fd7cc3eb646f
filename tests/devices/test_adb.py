"""adb: its server as far as there is one, and what it prints; no phone is needed."""

import shutil

import pytest
from profiled import first_on_path, program

from speechpress.devices.adb import AdbDevice, connected, parse_devices
from speechpress.devices.device import DeviceError
from speechpress.devices.open import connected as everything
from speechpress.devices.process import Done
from speechpress.runtime.errors import SpeechpressError

LISTED = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
R5CT30ABCDE            device usb:1-4 product:dm1qxxx model:SM_S911B device:dm1q transport_id:1
28161FDH2000AB         unauthorized usb:1-2 transport_id:2
192.168.1.9:5555       offline transport_id:3
0123456789ABCDEF       no permissions (missing udev rules? user is in the plugdev group); see [http://x] usb:1-5

"""
needs_adb = pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs that stand before the system's."""
    folder = tmp_path / "tools"
    folder.mkdir()
    first_on_path(monkeypatch, folder)
    return folder


def test_what_adb_lists():
    phones = {phone["address"]: phone for phone in parse_devices(LISTED)}
    assert phones["adb:R5CT30ABCDE"] == {
        "address": "adb:R5CT30ABCDE",
        "state": "device",
        "model": "SM S911B",
        "fix": "",
    }
    assert phones["adb:28161FDH2000AB"]["state"] == "unauthorized"
    assert "confirm the question" in phones["adb:28161FDH2000AB"]["fix"]
    assert phones["adb:192.168.1.9:5555"]["state"] == "offline"
    assert "udev rules" in phones["adb:0123456789ABCDEF"]["fix"] and len(phones) == 4


@needs_adb
def test_a_real_server_with_no_phone():
    assert [phone for phone in connected() if phone["address"] == "adb:no-such-phone"] == []
    with pytest.raises(DeviceError, match=r"adb:no-such-phone: the phone is not connected \(any more\)"):
        AdbDevice("no-such-phone").shell("true")
    with pytest.raises(DeviceError, match="not connected"):
        AdbDevice("no-such-phone").pull("/nothing", "/tmp/nothing")


def test_without_adb(monkeypatch):
    monkeypatch.setenv("PATH", "/nothing")
    with pytest.raises(SpeechpressError, match="adb is not installed; install it with"):
        AdbDevice("1").shell("true")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "unlock it and confirm"),
        ("error: device offline", "unplug it"),
        ("error: device '1' not found", "Check the cable"),
        ("adb: error: connect failed: closed", "closed the connection"),
        ("error: closed", "closed the connection"),
    ],
)
def test_what_adb_says_is_explained(tools, said, meant):
    program(tools, "adb", f"cat >&2 <<'END'\n{said}\nEND\nexit 1")
    with pytest.raises(DeviceError, match=meant):
        AdbDevice("1").shell("true")


def test_a_full_phone(tools, tmp_path):
    text = "adb: error: failed to copy 'a' to '/data/local/tmp/a': remote write failed: No space left on device"
    program(tools, "adb", f'echo "{text}" >&2; exit 1')
    with pytest.raises(DeviceError, match="no space left; free some on the phone"):
        AdbDevice("1").push([tmp_path / "a"], "/data/local/tmp")


def test_a_failing_script_is_not_the_connections_fault():
    assert AdbDevice("1").explain(Done(1, "", "sh: no-such: not found")) is None


def test_phones_are_listed_beside_this_machine(tools):
    program(tools, "adb", f"cat <<'END'\n{LISTED}END")
    rows = {row["address"]: row for row in everything()}
    assert rows["host"]["state"] == "this machine" and rows["host"]["chipset"]
    assert rows["adb:R5CT30ABCDE"]["name"] == "galaxy-s23" and rows["adb:R5CT30ABCDE"]["state"] == "connected"
    assert "confirm the question" in rows["adb:28161FDH2000AB"]["state"]
