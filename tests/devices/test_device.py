import pytest

from speechpress.devices.adb import AdbDevice
from speechpress.devices.device import Address, parse
from speechpress.devices.open import HostDevice, open_device
from speechpress.devices.ssh import SshDevice
from speechpress.runtime.errors import SpeechpressError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", Address("host")),
        ("ssh:pi@192.168.1.7", Address("ssh", "pi", "192.168.1.7")),
        ("ssh:board", Address("ssh", "", "board")),
        ("ssh:pi@board.local:2222", Address("ssh", "pi", "board.local", 2222)),
        ("ssh:pi@[fe80::1%eth0]:22", Address("ssh", "pi", "fe80::1%eth0", 22)),
        ("adb:R5CT30ABCDE", Address("adb", serial="R5CT30ABCDE")),
        ("adb:192.168.1.9:5555", Address("adb", serial="192.168.1.9:5555")),
    ],
)
def test_addresses_as_they_are_typed(text, address):
    assert parse(text) == address and parse(text).text == text


@pytest.mark.parametrize(
    "text", ["", "hots", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:pi@host;rm", "adb:", "adb:-s", "usb:1"]
)
def test_what_is_no_device(text):
    with pytest.raises(SpeechpressError, match=r"is not a device; give host, ssh:user@host"):
        parse(text)


def test_a_port_that_cannot_be():
    with pytest.raises(SpeechpressError, match="ports go from 1 to 65535"):
        parse("ssh:pi@board:70000")


def test_each_kind_has_its_transport():
    assert isinstance(open_device("host"), HostDevice)
    assert isinstance(open_device("adb:1"), AdbDevice)
    board = open_device("ssh:pi@board", "/opt/venv/bin/python")
    assert isinstance(board, SshDevice) and board.python == "/opt/venv/bin/python"
    with pytest.raises(SpeechpressError, match="--runner"):
        open_device("adb:1", "python3")
