"""One profile from beginning to end: reach the device, push, check the golden clip, time, trace, pull, judge."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..runtime.bundle import Bundle
from ..runtime.errors import CheckFailed, SpeechpressError
from ..runtime.parity import describe
from . import energy, native_side, python_side
from .caveats import caveats
from .device import Device
from .etdump import operators
from .known import Known, big_cores, match
from .probe import probe
from .record import Record, begin, hear, settle
from .scores import scores_of
from .workspace import OnEvent, workspace

CHUNKS, REAL_S, WARMUP = 100, 32.0, 5  # by default; the pace of real audio is limited in time
# Loading and the golden clip on a slow board; too short a life would end a run that goes well.
MARGIN_S = 900.0  # that a folder outlives the plan
TRACE, XNNPACK = "trace.etdp", "xnnpack"


@dataclass(frozen=True)
class ProfileOptions:
    """What was asked for; None is settled by the bundle and the device.

    `cores`: numbers such as "4-7" or "0,2", or "big". `silence_s`: after which a program counts as hanging.
    """

    chunk_ms: float | None = None
    threads: int | None = None
    cores: str | None = None
    chunks: int | None = None
    duration_s: float | None = None
    paces: tuple[str, ...] = ("real", "flat")
    budget_ms: float | None = None
    per_op: bool = False
    silence_s: float = 120.0
    runner: Path | None = None
    sys_root: str = energy.ROOT  # of what the device tells about its energy


class Side(Protocol):
    """What runs on the far side: our Python program, or the native runner."""

    name: str

    def files(self, bundle: Bundle, folder: Path) -> list[Path]:
        """What is pushed; may write into `folder` here."""

    def events(self, folder: str, phase: str, settings: dict[str, Any]) -> "Running":
        """Start a phase in that folder on the device."""


class Running(Protocol):
    def __iter__(self) -> Any: ...

    def stop(self) -> None:
        """End soon."""


@dataclass
class Session:
    """One profile as it goes on."""

    device: Device
    bundle: Bundle
    side: Side
    record: Record
    listen: OnEvent
    sys_root: str = energy.ROOT
    interrupted: bool = field(default=False)
    readings: list[energy.Reading] = field(default_factory=list)  # of the pace that is being timed

    def phase(self, folder: str, name: str, settings: dict[str, Any]) -> None:
        """Hear a phase to its end; an interrupt (Ctrl-C) ends it early, and what it still says is kept."""
        running = self.side.events(folder, name, settings)
        try:
            self._hear(running)
        except KeyboardInterrupt:
            self.interrupted = True
            self.listen({"event": "stopping"})
            # Then heard on: the last events hold what was measured until now.
            running.stop()
            self._hear(running)

    def _hear(self, running: Iterable[dict[str, Any]]) -> None:
        for event in running:
            hear(self.record, event)
            self._read_energy(event)
            self.listen(event)

    def _read_energy(self, event: dict[str, Any]) -> None:
        """While a pace lasts: at its beginning, with each sample of the machine, and at its end."""
        if event["event"] == "pace":
            self.readings = []
        if event["event"] in ("pace", "sample", "paced"):
            self.readings.append(energy.read(self.device, self.sys_root))
        if event["event"] == "paced":
            self.record["paces"][event["pace"]]["energy"] = energy.used(self.readings)


def profile(bundle: Bundle, device: Device, options: ProfileOptions, listen: OnEvent) -> Record:
    """Measure a bundle on a device.

    Args:
        bundle: opened.
        device: not yet reached.
        options: what was asked for.
        listen: hears events, see `runtime.measure`, and {"event": "say", "text"}.

    Returns:
        The record. When something went wrong on the way it is partial: `stopped` says what, and with which exit code.

    Raises:
        SpeechpressError: nothing was begun: the device cannot be reached, lacks something, or the wish cannot be had.
    """
    facts = probe(device)
    known = match(facts["model"])
    side = choose_side(device, bundle, options, facts)
    settings = settled(bundle, options, facts, known) | {"side": side.name}
    # Begun only here: before, nothing was measured, and an error is all that there is to say.
    record = begin(bundle, settings, {"address": device.address, "known": known.name if known else None, **facts})
    record["accuracy"]["scores"] = scores_of(bundle)
    listen({"event": "begin", "record": record})
    session = Session(device, bundle, side, record, listen, options.sys_root)
    with tempfile.TemporaryDirectory() as own:
        files = side.files(bundle, Path(own))
        size_bytes = sum(path.stat().st_size for path in files)
        life_s = _planned_s(settings) + 3 * options.silence_s + MARGIN_S
        # A tenth more than is copied: programs write there as well, such as the trace.
        with workspace(device, int(1.1 * size_bytes), life_s, listen) as folder:
            listen({"event": "push", "size_bytes": size_bytes})
            device.push(files, folder)
            _guarded(session, folder, Path(own))
            # Within the folder's life: a phone that became hot says so only now.
            _look_again(session)
    settle(record)
    record["warnings"] = caveats(record)
    return record


def _guarded(session: Session, folder: str, own: Path) -> None:
    """Run all phases; whatever goes wrong is written into the record, which keeps what there is."""
    record = session.record
    try:
        _phases(session, folder, own)
        record["finished"] = not session.interrupted
        if session.interrupted:
            record["stopped"] = {"message": "interrupted", "exit_code": 130}
    except SpeechpressError as error:
        record["stopped"] = {"message": str(error), "exit_code": error.exit_code}


def _phases(session: Session, folder: str, own: Path) -> None:
    record = session.record
    settings = {**record["settings"], "bundle": folder, "trace": f"{folder}/{TRACE}"}
    session.phase(folder, "golden", settings)
    if not session.interrupted:
        _judge(session.device, record)
        session.phase(folder, "time", settings)
    if record["settings"]["per_op"] and not session.interrupted:
        session.phase(folder, "trace", settings)
        # Before the workspace, and with it the trace, is removed.
        session.device.pull(f"{folder}/{TRACE}", own / TRACE)
        share = session.bundle.document["delegation"].get(settings["method"], {})
        record["operators"] = operators(own / TRACE, share.get("layers"))


def _judge(device: Device, record: Record) -> None:
    """Raises CheckFailed when the device computes something else than the checkpoint did: that is not timed."""
    golden = record["golden"]
    if golden is None:
        raise SpeechpressError(f"{device.address}: ended without a result for the golden clip")
    if not golden["ok"]:
        figures = {name: golden[name] for name in ("max_abs", "snr_db", "cosine") if golden[name] is not None}
        said = f"{describe(figures) or 'frames are not finite'}, but must be {describe(golden['tolerance'])}"
        words = [str(line) for line in golden.get("far") or [said]]
        raise CheckFailed(
            f"{device.address}: the golden clip does not match: {'; '.join(words)}. Nothing was timed, because "
            "wrong numbers are no use fast. Run `compress verify` on the bundle here; if that passes, the device has "
            "another ExecuTorch or is broken"
        )


def _look_again(session: Session) -> None:
    """How the device is doing afterwards; it may be gone."""
    try:
        facts = probe(session.device)
    except SpeechpressError:
        return
    session.record["device"]["after"] = {key: facts[key] for key in ("load_1min", "throttled", "on_battery")}


def choose_side(device: Device, bundle: Bundle, options: ProfileOptions, facts: dict[str, Any]) -> Side:
    """Python where it is, else the native runner; raises SpeechpressError with what is missing."""
    backend, target = bundle.document["target"]["backend"], bundle.document["target"]["name"]
    # A runner that was named is used also where Python is: who names one wants it timed.
    if options.runner is not None or device.python is None:
        if backend != XNNPACK:
            raise SpeechpressError(
                f"{bundle.path}: is for {target} and needs the backend {backend}, but speechpress-run runs {XNNPACK} "
                "only. Profile it in its own app, or export one with --target android"
            )
        return native_side.NativeSide(device, native_side.find(options.runner, device, facts), options.silence_s)
    lacking = python_side.missing(device)
    if lacking is not None:
        raise SpeechpressError(
            f"{device.address}: {lacking}. Install there what runs bundles (pip install speechpress-runtime, or numpy "
            f"torch executorch=={bundle.document['versions']['executorch'].split('+')[0]}), name another interpreter "
            "with --python, such "
            "as --python /home/pi/venv/bin/python, or give a native runner with --runner (docs/cpp.md)"
        )
    return python_side.PythonSide(device, options.silence_s)


def settled(bundle: Bundle, options: ProfileOptions, facts: dict[str, Any], known: Known | None) -> dict[str, Any]:
    """Settings in which nothing is left open; raises SpeechpressError for what cannot be had."""
    if bundle.document["streams"]:
        entry = bundle.stream(options.chunk_ms)
        method, chunk_ms = entry["method"], entry["chunk_ms"]
    elif options.chunk_ms is not None:
        raise SpeechpressError(f"{bundle.path}: does not stream, so --chunk-ms has no meaning; its windows are timed")
    else:
        method, chunk_ms = "window", bundle.document["window"]["ms"]
    # 100 chunks of a second would take as many seconds; the pace of audio cannot be hurried.
    real = options.chunks or max(1, min(CHUNKS, int(1000 * REAL_S / chunk_ms)))
    return {
        "method": method,
        "chunk_ms": chunk_ms,
        "threads": options.threads or (known.threads if known else 1),
        "cores": chosen_cores(options.cores, facts["cores"], known),
        "paces": list(options.paces),
        "chunks": {"real": real, "flat": options.chunks or CHUNKS},
        "duration_s": options.duration_s,
        "budget_ms": options.budget_ms,
        "warmup": WARMUP,
        "per_op": options.per_op,
    }


def chosen_cores(text: str | None, cores: list[dict[str, Any]], known: Known | None) -> list[int] | None:
    """The numbers that --cores names; raises SpeechpressError when it names none that are there."""
    if text is None:
        return None
    if text == "big":
        return big_cores(cores, known)
    try:
        numbers = sorted({number for part in text.split(",") for number in _span(part)})
    except ValueError as error:
        raise SpeechpressError(f"--cores {text}: is not a list of cores; give 4-7, or 0,2, or big") from error
    there = {core["core"] for core in cores}
    # Some devices hide their cores; then the device itself has to refuse.
    if there and not set(numbers) <= there:
        raise SpeechpressError(f"--cores {text}: the device has the cores {min(there)} to {max(there)}")
    return numbers


def _span(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def _planned_s(settings: dict[str, Any]) -> float:
    if settings["duration_s"] is not None:
        return len(settings["paces"]) * settings["duration_s"]
    return sum(settings["chunks"].values()) * settings["chunk_ms"] / 1000
