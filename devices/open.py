"""Opening a device by its address: `host`, `ssh:user@host[:port]` or `adb:SERIAL`."""

from speechpress.runtime.errors import SpeechpressError

from .device import Device, parse


def open_device(text: str, python: str | None = None) -> Device:
    """The device of an address, not yet reached.

    Args:
        text: host, ssh:user@host[:port] or adb:SERIAL.
        python: the interpreter on the device, when it is not the usual one.

    Raises SpeechpressError when the address is none.
    """
    from .adb import AdbDevice
    from .host import HostDevice
    from .ssh import SshDevice

    address = parse(text)
    if address.kind == "host":
        return HostDevice(python)
    if address.kind == "ssh":
        return SshDevice(address, python)
    if python is not None:
        raise SpeechpressError("--python: a phone has no Python for this; it runs speechpress-run, see --runner")
    return AdbDevice(address.serial)
