"""Something that can run a bundle: this machine, one behind ssh, or a phone behind adb.

A device is four things that every transport can do: run a shell script, start one whose lines are heard, push, pull.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..runtime.errors import SpeechpressError
from .process import Done, Lines

# An IPv6 address needs brackets, as its colons would be taken for a port's.
_SSH = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?:\[(?P<six>[\w:.%]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d+))?")


FORMS = "host, ssh:user@host, ssh:user@host:port or adb:SERIAL"


class DeviceError(SpeechpressError):
    """A device cannot be reached, or was lost."""


class Device(Protocol):
    """What every transport can do. Scripts are for a POSIX shell on the device."""

    address: str
    base: str  # a shell word for the folder under which temporary folders are made
    python: str | None  # the interpreter to look for; None where programs are native

    def shell(self, script: str, timeout_s: float = 30.0) -> Done:
        """Run a script; raises DeviceError when the device cannot be reached, not when the script fails."""

    def start(self, script: str, silence_s: float) -> Lines:
        """Start a script that runs on; it ends when its standard input does."""

    def push(self, paths: list[Path], folder: str) -> None:
        """Copy files into a folder on the device; raises DeviceError with what to do."""

    def pull(self, path: str, to: Path) -> None:
        """Copy a file from the device; raises DeviceError with what to do."""

    def explain(self, done: Done) -> DeviceError | None:
        """What to say when a program's end was the connection's; None when it was the program's own."""


@dataclass(frozen=True)
class Address:
    """`kind` is host, ssh or adb; `host` is as ssh's config knows it; `port` is None for ssh's own choice."""

    kind: str
    user: str = ""
    host: str = ""
    port: int | None = None
    serial: str = ""

    @property
    def text(self) -> str:
        if self.kind == "host":
            return "host"
        if self.kind == "adb":
            return f"adb:{self.serial}"
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh:{user}{host}" + (f":{self.port}" if self.port else "")


def parse(text: str) -> Address:
    """An address as it is typed; raises SpeechpressError when it is none."""
    kind, _, rest = text.strip().partition(":")
    if text.strip() == "host":
        return Address("host")
    # A serial with a leading hyphen would be an option to adb; so would a host to ssh.
    if kind == "adb" and re.fullmatch(r"[\w.:\[\]-]+", rest) and not rest.startswith("-"):
        return Address("adb", serial=rest)
    if kind == "ssh":
        found = _SSH.fullmatch(rest)
        if found and not rest.startswith("-"):
            port = int(found["port"]) if found["port"] else None
            if port is not None and not 1 <= port <= 65_535:
                raise SpeechpressError(f"--device {text}: port {port} is none; ports go from 1 to 65535")
            return Address("ssh", found["user"] or "", found["six"] or found["host"], port)
    raise SpeechpressError(f"--device {text}: is not a device; give {FORMS}, see `compress ls devices`")
