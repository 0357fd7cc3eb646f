"""Devices: what is connected to this machine, this machine itself, and opening one by its address."""

import shutil
import sys
from pathlib import Path
from typing import Any

from ..runtime.errors import SpeechpressError
from . import adb
from .device import Device, DeviceError, parse
from .known import Known, big_cores, match
from .probe import probe
from .process import Done, Lines, run


class HostDevice:
    """This machine as a device: the same programs as elsewhere, in processes of their own.

    Files are linked, not copied: they are here already.
    """

    address = "host"
    # Quoted for the shell, which also opens it: TMPDIR is the device's, not ours.
    base = '"${TMPDIR:-/tmp}"'

    def __init__(self, python: str | None = None) -> None:
        self.python: str | None = python or sys.executable

    def shell(self, script: str, timeout_s: float = 30.0) -> Done:
        # The same scripts as on a device, so that a run on this machine tests them.
        return run(["sh", "-c", script], timeout_s)

    def start(self, script: str, silence_s: float) -> Lines:
        return Lines(["sh", "-c", script], silence_s)

    def push(self, paths: list[Path], folder: str) -> None:
        for path in paths:
            try:
                (Path(folder) / path.name).symlink_to(path.resolve())
            except OSError as error:
                raise DeviceError(f"host: {folder} cannot be written ({error}); set TMPDIR to another") from error

    def pull(self, path: str, to: Path) -> None:
        try:
            shutil.copy(path, to)
        except OSError as error:
            raise DeviceError(f"host: {path} cannot be read ({error})") from error

    def explain(self, done: Done) -> DeviceError | None:
        return None


def open_device(text: str, python: str | None = None) -> Device:
    """The device of an address, not yet reached.

    Args:
        text: host, ssh:user@host[:port] or adb:SERIAL.
        python: the interpreter on the device, when it is not the usual one.

    Raises SpeechpressError when the address is none.
    """
    from .adb import AdbDevice
    from .ssh import SshDevice

    address = parse(text)
    if address.kind == "host":
        return HostDevice(python)
    if address.kind == "ssh":
        return SshDevice(address, python)
    if python is not None:
        raise SpeechpressError("--python: a phone has no Python for this; it runs speechpress-run, see --runner")
    return AdbDevice(address.serial)


# As the phones spell themselves.
MAKERS = ("Google", "samsung")


def connected() -> list[dict[str, Any]]:
    """This machine and the phones that adb sees: {address, state, name, about, chipset, big_cores, threads, notes}."""
    facts = probe(HostDevice())
    known = match(facts["model"])
    rows = [_row("host", "this machine", facts["model"], facts["chipset"], known)]
    rows[0]["big_cores"] = ", ".join(map(str, big_cores(facts["cores"], known)))
    # No error: whoever lists devices may have no phone.
    if shutil.which("adb") is None:
        return rows
    try:
        phones = adb.connected()
    except SpeechpressError as error:
        return [*rows, _row("adb", f"{error}", None, None, None)]
    for phone in phones:
        state = phone["fix"] or ("connected" if phone["state"] == "device" else phone["state"])
        rows.append(_row(phone["address"], state, phone["model"] or None, None, _known_phone(phone["model"])))
    return rows


def _known_phone(model: str) -> Known | None:
    """adb leaves out the maker, with which a phone itself tells its model."""
    return next((known for maker in MAKERS if model and (known := match(f"{maker} {model}"))), None)


def _row(address: str, state: str, model: str | None, chipset: str | None, known: Known | None) -> dict[str, Any]:
    nothing = {"big_cores": "", "threads": 1, "notes": ""}
    facts = known.to_dict() if known else {"name": model or address, "about": model or "", **nothing}
    return {"address": address, "state": state, **facts, "chipset": chipset or facts.get("chipset", "")}
