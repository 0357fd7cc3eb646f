"""What `compress prune` is asked for."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

METHODS = ("taylor", "magnitude", "parp", "one-shot")


# They set single weights to zero; shapes stay, so nothing becomes faster or smaller.
UNSTRUCTURED = ("parp", "one-shot")


SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([kmg]?)", re.IGNORECASE)


_LATENCY = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?ms@(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class PruneTarget:
    """`kind`: macs_per_s, parameters, latency_ms (of a chunk on `device`) or sparsity (share of the parameters)."""

    kind: str
    value: float
    device: str | None = None

    def say(self, value: float) -> str:
        """A cost of this kind for people."""
        if self.kind == "latency_ms":
            return f"{value:.2f} ms on {self.device}"
        unit, divisor = ("GMAC/s", 1e9) if self.kind == "macs_per_s" else ("M parameters", 1e6)
        return f"{value / divisor:.3f} {unit}"


@dataclass(frozen=True)
class PrunePlan:
    """What is asked for.

    `recover` is the number of steps of distillation, see `prune.settled`; `chunk_ms` and `quantize` are those of the
    program that is timed; `layers` is how many Transformer layers stay, and `width` how many dimensions a frame has
    between them; None is all.
    """

    checkpoint: Path
    target: PruneTarget
    method: str = "taylor"
    recover: int | None = 0
    layers: int | None = None
    width: int | None = None
    teacher: str | None = None
    sets: tuple[str, ...] = ()
    chunk_ms: float | None = None
    quantize: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What the cut depends on besides the checkpoint, as a card tells it."""
        return {"target": asdict(self.target), "method": self.method, "layers": self.layers, "width": self.width}


def read_target(
    to_macs: str | None = None,
    to_params: str | None = None,
    to_latency: str | None = None,
    sparsity: float | None = None,
) -> PruneTarget:
    """The one target that was given.

    Raises SpeechpressError when there is none, more than one, or one that cannot be read.
    """
    given = {"--to-macs": to_macs, "--to-params": to_params, "--to-latency": to_latency, "--sparsity": sparsity}
    named = [option for option, text in given.items() if text is not None]
    if len(named) != 1:
        found = f"{', '.join(named)} were given" if named else "none was given"
        raise SpeechpressError(
            f"pruning needs exactly one target, but {found}: --to-macs 1.2G, --to-params 10M, --to-latency 5ms@host "
            "or --sparsity 0.5"
        )
    if sparsity is not None:
        if not 0 < sparsity < 1:
            raise SpeechpressError(f"--sparsity {sparsity:g}: must be more than 0 and less than 1, such as 0.5")
        return PruneTarget("sparsity", sparsity)
    if to_latency is not None:
        return _latency(to_latency)
    if to_macs is not None:
        return PruneTarget(
            "macs_per_s", _amount("--to-macs", to_macs, "1.2G (multiply-accumulates per second of audio)")
        )
    return PruneTarget("parameters", _amount("--to-params", str(to_params), "10M"))


def _amount(option: str, text: str, sample: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    value = float(found[1]) * SUFFIXES[found[2].lower()] if found else 0.0
    if value <= 0:
        raise SpeechpressError(f"{option} {text}: must be a number with K, M or G, such as {sample}")
    return value


def _latency(text: str) -> PruneTarget:
    from speechpress.devices.device import parse

    found = _LATENCY.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        what = "names no device" if "@" not in text else "cannot be read"
        raise SpeechpressError(
            f"--to-latency {text}: {what}; give MS@DEVICE, such as 5ms@host, 8ms@ssh:pi@raspberrypi.local or "
            "10ms@adb:SERIAL"
        )
    try:
        parse(found[2])
    except SpeechpressError as error:
        # parse speaks of --device, an option that this command does not have.
        raise SpeechpressError(str(error).replace("--device", "--to-latency MS@DEVICE:", 1)) from None
    return PruneTarget("latency_ms", float(found[1]), found[2])
