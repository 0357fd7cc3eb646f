"""The time that a bundle takes on a device: one measurement, `compress profile`'s own, for pruning and for searches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from speechpress.devices.open import open_device
from speechpress.devices.probe import probe
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.devices.record import Record
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.errors import CheckFailed, SpeechpressError


@dataclass(frozen=True)
class Timing:
    """What a device said of a program: ms per chunk, and cores that other programs used meanwhile (None: not known)."""

    p50_ms: float
    p99_ms: float
    others_cores: float | None


@dataclass(frozen=True)
class DeviceClock:
    """Times programs on a device: chunks one right after the other, flat out. It can be pickled.

    Args:
        address: host, ssh:user@host[:port] or adb:SERIAL.
        threads: None: what is known of the device, else one.
        chunks: how many are timed.
        python: the interpreter on the device.
        runner: the native runner for the device, instead of Python there.
    """

    address: str
    threads: int | None = None
    chunks: int = 60
    python: str | None = None
    runner: Path | None = None

    @property
    def here(self) -> bool:
        """It is this machine, so nobody else may work meanwhile."""
        return self.address == "host"

    def reach(self) -> str | None:
        """The device's chip, if it tells; raises SpeechpressError when it cannot be reached."""
        return probe(open_device(self.address, self.python))["chipset"]

    def time(self, bundle: Path, chunk_ms: float | None) -> Timing:
        """Raises SpeechpressError when the program cannot be run there."""
        record = self.record(bundle, chunk_ms)
        samples = record["paces"]["flat"]["samples"]
        # Kept beside the time, because a device on which others worked meanwhile seems slower; not every one can say.
        others = [item["others_cores"] for item in samples if item["others_cores"] is not None]
        result = record["result"]
        return Timing(result["p50_ms"], result["p99_ms"], median(others) if others else None)

    def record(
        self,
        bundle: Path,
        chunk_ms: float | None = None,
        per_op: bool = False,
        listen: Callable[[dict[str, Any]], None] = lambda event: None,
    ) -> Record:
        """The whole record of one profile.

        Raises:
            SpeechpressError: the program cannot be run there.
            CheckFailed: it computes something else there.
        """
        # Only flat out: at the pace of speech, every candidate would take as long as its audio lasts.
        options = ProfileOptions(
            chunk_ms, self.threads, chunks=self.chunks, paces=("flat",), runner=self.runner, per_op=per_op
        )
        device = open_device(self.address, self.python)
        record = profile(read_bundle(bundle), device, options, listen)
        stopped = record["stopped"]
        if stopped is not None:
            kind = CheckFailed if stopped["exit_code"] == 3 else SpeechpressError
            raise kind(f"{self.address}: {stopped['message']}")
        return record
