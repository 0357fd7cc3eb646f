"""The record of one profile: what was measured, on what, how, and whether it can be trusted.

schema 1. Times in ms, memory in bytes, clocks in kHz; null where something is not known or was not reached.

    kind, schema, created, finished, stopped {message, exit_code}
    bundle      {name, path, digest, program_sha256, size_bytes, target, backend, quantize, method, lineage, versions}
    accuracy    {parity, tolerance, delegated_time, fidelity}: what the bundle's own document says of the method, and
                scores, see scores.scores_of
    device      facts, see probe.facts, and {address, known, versions, after, engine {name, about}}; the engine is what
                computed there: native, bindings or runner (older records have none)
    settings    {chunk_ms, threads, cores, paces, chunks, duration_s, budget_ms, warmup, per_op, side}
    golden      {method, max_abs, snr_db, cosine, ok, tolerance}, as computed on the device
    load        {load_ms, first_chunk_ms, base_rss_bytes, peak_rss_bytes}
    paces       {"real", "flat": {start_s, ms, p50_ms, p90_ms, p99_ms, max_ms, wall_s, cpu_s, late, samples, energy}},
                energy as `energy.used` gives it, null where the device does not tell
    result      the figures that one looks at first, see `result_of`
    operators   see etdump.py; null without --per-op
    warnings    [{name, text}]
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from ..runtime.bundle import PROGRAM, Bundle
from ..runtime.errors import SpeechpressError
from ..runtime.json_file import read_json
from ..runtime.schema import shown_value
from .record_schema import check_record

SCHEMA, KIND = 1, "speechpress-profile"


class Stopped(TypedDict):
    """Why a profile ended early, and the exit code that says so."""

    message: str
    exit_code: int


class Record(TypedDict):
    """The keys of the document above; `golden`, `load` and `operators` are None until they are measured."""

    kind: str
    schema: int
    created: str
    finished: bool
    stopped: Stopped | None
    bundle: dict[str, Any]
    accuracy: dict[str, Any]
    device: dict[str, Any]
    settings: dict[str, Any]
    golden: Any
    load: Any
    paces: dict[str, dict[str, Any]]
    result: dict[str, Any]
    operators: Any
    warnings: list[dict[str, str]]


def begin(bundle: Bundle, settings: dict[str, Any], device: dict[str, Any]) -> Record:
    """A record in which nothing is measured yet."""
    document, method = bundle.document, settings["method"]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": False,  # until it is: a record may be written of what was cut short
        "stopped": None,
        "bundle": {
            "name": bundle.name,
            "path": str(bundle.path),
            "digest": document["digest"],
            "program_sha256": document["files"][PROGRAM]["sha256"],
            "size_bytes": document["files"][PROGRAM]["size_bytes"],
            "target": document["target"]["name"],
            "backend": document["target"]["backend"],
            "quantize": document["quantize"],
            "method": method,
            "lineage": document["lineage"],
            "versions": document["versions"],
        },
        "accuracy": accuracy(document, method),
        "device": device,
        "settings": settings,
        "golden": None,
        "load": None,
        "paces": {},
        "result": {},
        "operators": None,
        "warnings": [],
    }


def accuracy(document: dict[str, Any], method: str) -> dict[str, Any]:
    """What the bundle says of how good it is: this program against its checkpoint, and that against its teacher."""
    share = document["delegation"].get(method)
    return {
        "parity": document["parity"].get(method),
        "tolerance": document["tolerance"],
        "delegated_time": share["time_share"] if share else None,
        "fidelity": document["lineage"].get("fidelity"),
    }


def hear(record: Record, event: dict[str, Any]) -> None:
    """Take down one event of the far side; unknown ones are left out."""
    kind = event["event"]
    if kind == "start":
        record["device"]["versions"] = event["versions"]
    elif kind == "engine":
        record["device"]["engine"] = {key: event[key] for key in ("name", "about")}
        # The library that computes brings its own, whatever else is installed beside it.
        if "executorch" in event:
            record["device"]["versions"]["executorch"] = event["executorch"]
    elif kind == "golden":
        record["golden"] = _without(event, "event")
    elif kind == "load":
        record["load"] = {**_without(event, "event"), "peak_rss_bytes": None}
    elif kind == "end" and record["load"]:
        record["load"]["peak_rss_bytes"] = event["peak_rss_bytes"]
    elif kind == "pace":
        record["paces"][event["pace"]] = {"start_s": [], "ms": [], "samples": [], "wall_s": None, "cpu_s": None}
    elif kind in ("chunks", "sample", "paced"):
        _hear_pace(record["paces"][event["pace"]], event)


def _hear_pace(pace: dict[str, Any], event: dict[str, Any]) -> None:
    if event["event"] == "chunks":
        pace["start_s"] += event["start_s"]
        pace["ms"] += event["ms"]
    elif event["event"] == "sample":
        pace["samples"].append(_without(event, "event", "pace"))
    else:
        pace |= {"wall_s": event["wall_s"], "cpu_s": event["cpu_s"]}


def _without(event: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in keys}


def settle(record: Record) -> None:
    """Work out the figures of whatever was measured so far."""
    chunk_ms = record["settings"]["chunk_ms"]
    for name, pace in record["paces"].items():
        pace |= statistics(pace["ms"])
        pace["late"] = _late(pace, chunk_ms) if name == "real" else None
    record["result"] = result_of(record)


def statistics(values_ms: list[float]) -> dict[str, float | None]:
    """Quantiles, interpolated as numpy does by default; None of nothing."""
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    ordered = sorted(values_ms)
    return {name: quantile(ordered, share) if ordered else None for name, share in shares.items()}


def quantile(ordered: list[float], share: float) -> float:
    """Of sorted values that are not none."""
    place = share * (len(ordered) - 1)
    below = int(place)  # no numpy: a report does without
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _late(pace: dict[str, Any], chunk_ms: float) -> int:
    """Chunks that had to wait because the one before had not ended when their audio was there."""
    before = pace["ms"][:-1]  # nothing waits for the last one
    return sum(ms > chunk_ms for ms in before)


def result_of(record: Record) -> dict[str, Any]:
    """The figures that one looks at first.

    Latency is that at the pace of real audio, where it was measured, because a processor that rests between chunks is
    slower than one that does not. Throughput is that of chunks one right after the other: `rtf` is the wall time that a
    second of audio takes, `cpu_rtf` the CPU time on all cores together, and `streams_per_core` is one over that. A
    process that has to wait for others uses less CPU time than wall time, one of several threads more.
    `joules_per_h` is the energy of an hour of audio, of the whole machine, at the pace of the latency.
    """
    paces, settings = record["paces"], record["settings"]
    empty: dict[str, Any] = {}
    main = next((paces[name] for name in ("real", "flat") if paces.get(name, {}).get("ms")), empty)
    fast = next((paces[name] for name in ("flat", "real") if paces.get(name, {}).get("ms")), empty)
    chunk_ms, budget_ms = settings["chunk_ms"], settings["budget_ms"] or settings["chunk_ms"]
    cpu_rtf = _cpu_rtf(fast, chunk_ms)
    load = record["load"] or {}  # null when it ended before anything was loaded
    p99_ms = main.get("p99_ms")  # not the median: a live stream suffers from its slow chunks
    return {
        **{name: main.get(name) for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")},
        "load_ms": load.get("load_ms"),
        "first_chunk_ms": load.get("first_chunk_ms"),
        "peak_rss_bytes": load.get("peak_rss_bytes"),
        "rtf": sum(fast["ms"]) / len(fast["ms"]) / chunk_ms if fast else None,
        "budget_ms": budget_ms,
        "budget_share": p99_ms / budget_ms if p99_ms is not None else None,
        "over_budget": p99_ms > budget_ms if p99_ms is not None else None,
        "cpu_rtf": cpu_rtf,
        "streams_per_core": 1 / cpu_rtf if cpu_rtf else None,
        "joules_per_h": _joules_per_h(main, chunk_ms),
        "chunks": len(main.get("ms", [])),
    }


def _cpu_rtf(pace: dict[str, Any], chunk_ms: float) -> float | None:
    """CPU seconds that a second of audio takes; None where they were not counted."""
    return 1000 * pace["cpu_s"] / (len(pace["ms"]) * chunk_ms) if pace and pace["cpu_s"] else None


def _joules_per_h(pace: dict[str, Any], chunk_ms: float) -> float | None:
    found = pace.get("energy")
    return found["joules"] * 3_600_000 / (len(pace["ms"]) * chunk_ms) if found else None


def read_record(path: Path) -> Record:
    """A record from disk; raises SpeechpressError when the file is none, or a newer one."""
    record = read_json(path, "`compress profile` writes one")
    if record.get("kind") != KIND:
        raise SpeechpressError(f"{path}: is not a profile; `compress profile` writes one")
    schema = record.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise SpeechpressError(
            f"{path}: has schema {shown_value(schema)}, but this speechpress reads up to {SCHEMA}; "
            "upgrade with: pip install -U speechpress"
        )
    check_record(record, str(path))
    return cast(Record, record)
