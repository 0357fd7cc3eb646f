"""How long an encoder takes on a device: exported, checked and timed there, with the time of every module.

The time is the median of chunks one right after the other on one thread (or the threads of a known device).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from speechpress.devices.device import parse

from ..models.checkpoint import parameters
from ..models.encoder import Encoder
from ..models.events import OnEvent, silent
from ..targets import target_of
from .clock import DeviceClock
from .document import ExportPlan
from .export import export, plan
from .source import Source

TARGET_OF = {"host": "host", "ssh": "linux-arm64", "adb": "android"}


@dataclass(frozen=True)
class Measured:
    """`ms` of a chunk (of the window, when the encoder does not stream), and {module: ms} of its trace.

    `known_share` is the share of the traced time of which the module is known.
    """

    ms: float
    modules_ms: dict[str, float]
    known_share: float
    chunk_ms: float
    threads: int
    quantize: str


def measure(
    encoder: Encoder,
    address: str,
    chunk_ms: float | None = None,
    quantize: str | None = None,
    listen: OnEvent = silent,
) -> Measured:
    """Export an encoder to a folder that is thrown away, and time it on the device.

    Raises:
        SpeechpressError: the device cannot be reached, or the encoder cannot be lowered.
        CheckFailed: the program computes something else than the encoder, here or there.
    """
    planned = _order(encoder, address, chunk_ms, quantize)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        # What falls off the backend costs time, and time is what is asked for: no reason to refuse.
        export(planned, bundle, allow_fallback=True, say=lambda text: None)
        record = DeviceClock(address).record(bundle, per_op=True, listen=listen)
    operators, settings = record["operators"], record["settings"]
    modules = {row["module"]: row["ms"] for row in operators["by_module"]}
    shown = settings["chunk_ms"], settings["threads"], planned.scheme
    return Measured(record["result"]["p50_ms"], modules, operators["known_share"], *shown)


def check(encoder: Encoder, address: str, chunk_ms: float | None, quantize: str | None) -> None:
    """Raises SpeechpressError, before any long work, when `measure` could not begin."""
    _order(encoder, address, chunk_ms, quantize)
    DeviceClock(address).reach()


def _order(encoder: Encoder, address: str, chunk_ms: float | None, quantize: str | None) -> ExportPlan:
    """One method for chunks, or the window of an encoder that does not stream."""
    target = target_of(TARGET_OF[parse(address).kind])
    # One length only, because every further method is lowered and checked too.
    chunks = () if encoder.config.blockers else (chunk_ms or target.chunks_ms[0],)
    # A candidate has no history, but bundle.json has these keys.
    unknown = dict.fromkeys(("checkpoint_sha256", "recipe", "teacher", "steps", "data", "fidelity"))
    source = Source("candidate", encoder, {**unknown, "parents": [], "parameters": parameters(encoder)})
    return plan(source, target, quantize, chunks)
