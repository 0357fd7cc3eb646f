"""What bundle.json must hold, see docs/bundle.md: checked once, so that whoever reads a bundle may rely on it."""

import math
from typing import Any

from .schema import (
    Rule,
    Unfit,
    anything,
    check,
    fields,
    list_of,
    map_of,
    number,
    one_of,
    optional,
    text,
    unfit,
    whole,
)
from .spec import StreamSpec

LAST_SCHEMA = 1_000_000  # what is larger is no number of a schema
SAMPLES, FRAMES, LAYERS = 2**31 - 1, 2**20, 1000
STATE_BYTES = 2**28  # of all tensors together
METHOD, SHA256, FILE = "[a-z][a-z0-9_]{0,99}", "[0-9a-f]{64}", "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ITEM_BYTES = {"float32": 4, "int64": 8, "int32": 4, "float16": 2}
INITIAL = {
    "float32": number(-3e38, 3e38),
    "int64": whole(-(2**63), 2**63 - 1),
    "int32": whole(-(2**31), 2**31 - 1),
    "float16": number(-65504, 65504),
}

name = text(most=200)
share, milliseconds, seconds = number(0, 1), number(0, 1e9), number(0, 1e9)
parity = fields({"max_abs": number(0), "snr_db": number(), "cosine": number(-1.001, 1.001)})
tolerance = fields({}, {"max_abs": number(0), "snr_db": number(), "cosine": number(-1, 1)})
stream = fields(
    {
        "method": text(METHOD),
        "chunk_frames": whole(1, FRAMES),
        "chunk_samples": whole(1),
        "chunk_ms": milliseconds,
        "lookahead_frames": whole(0, FRAMES),
        "lookahead_ms": milliseconds,
        "worst_age_ms": milliseconds,
        "silence_samples": whole(),
        "first_frame": whole(-FRAMES * 2, 0),
    }
)
offline = fields({"method": text(METHOD), "min_samples": whole(1), "max_samples": whole(0, SAMPLES), "max_s": seconds})
operator = fields({"operator": text(), "layer": text(), "time_share": share})
named_layers = list_of(optional(text()))
layers = fields({"kernels": map_of(named_layers), "partitions": list_of(named_layers)})
delegation = fields(
    {"time_share": share, "operators": whole(), "delegated": whole(), "fallback": list_of(operator)},
    {"median_ms": optional(milliseconds), "layers": optional(layers)},
)
interval: Rule = list_of(number(), 2, 2)
task = fields({"metric": name, "value": number(), "quality": number(), "ci95": interval, "teacher": optional(number())})
scores = fields(
    {"suite": name, "layers": anything, "chunk_ms": optional(milliseconds), "tasks": map_of(task)},
)
lineage = fields(
    {"teacher": optional(fields({}, {"source": optional(text())}))},
    {
        "checkpoint_sha256": optional(text(SHA256)),
        "recipe": optional(text(most=2**20)),
        "steps": optional(whole(0, 2**53)),
        "data": optional(map_of(anything)),
        "parents": optional(list_of(map_of(anything))),
        "fidelity": optional(map_of(fields({"cosine": number(-1.001, 1.001)}, {"l1": number(0)}))),
        "scores": optional(scores),
        "parameters": optional(whole(0, 2**53)),
        "quantization": optional(map_of(anything)),
    },
)


def state_entry(value: Any, path: str) -> None:
    """One tensor of the state: as many initial values as it has elements, or one for all."""
    _entry(value, path)
    initial, elements, inner = value["initial"], math.prod(value["shape"]), INITIAL[value["dtype"]]
    if isinstance(initial, list):
        list_of(inner, 0, 10_000_000)(initial, f"{path}.initial")
        if len(initial) != elements:
            raise Unfit(f"{path}.initial has {len(initial)} values, but the shape {value['shape']} has {elements}")
    else:
        inner(initial, f"{path}.initial")


_entry = fields({"name": name, "shape": list_of(whole(0), 0, 8), "dtype": one_of(*ITEM_BYTES), "initial": anything})
_document = fields(
    {
        "schema": whole(1, LAST_SCHEMA),
        "name": name,
        "created": name,
        "files": map_of(fields({"sha256": text(SHA256), "size_bytes": whole(0, 2**40)}), FILE),
        "digest": text(SHA256),
        "audio": fields(
            {"sample_rate": whole(1, 1_000_000), "hop_samples": whole(1), "receptive_samples": whole(1)},
            {"input_norm": name},
        ),
        "features": fields(
            {"width": whole(1, 2**20), "layer": whole(0, LAYERS), "layers": whole(0, LAYERS)},
            {"outputs": list_of(whole(0, LAYERS), 1, LAYERS)},
        ),
        "streams": list_of(stream, 0, 100),
        "state": list_of(state_entry, 0, 10_000),
        "offline": offline,
        "window": optional(fields({"method": text(METHOD), "samples": whole(1, SAMPLES), "ms": milliseconds})),
        "target": fields({"name": name, "backend": name, "description": text(), "runs_here": one_of(True, False)}),
        "quantize": name,
        "delegation": map_of(delegation, METHOD),
        "parity": map_of(parity, METHOD),
        "tolerance": tolerance,
        "lineage": lineage,
        "versions": map_of(name),
    }
)


def check_document(document: Any, required_files: tuple[str, ...]) -> None:
    """Raises Unfit for the first key that does not hold what it must, or contradicts another."""
    check(_document, document)
    for file in required_files:
        if file not in document["files"]:
            raise Unfit(f"files.{file} is missing")
    for method in document["parity"]:
        if method not in document["delegation"]:
            raise Unfit(f"delegation.{method} is missing, though there is parity.{method}")
    if "executorch" not in document["versions"]:
        raise Unfit("versions.executorch is missing")
    _check_features(document["features"])
    _check_state(document)
    for place, entry in enumerate(document["streams"]):
        _check_stream(document, entry, f"streams[{place}]")
    _check_ways(document)


def _check_features(features: dict[str, Any]) -> None:
    outputs = features.get("outputs", [features["layer"]])
    if features["width"] % len(outputs):
        raise unfit(
            "features.width", features["width"], f"a multiple of {len(outputs)}, the layers in features.outputs"
        )
    for place, layer in enumerate(outputs):
        if layer > features["layers"]:
            raise unfit(f"features.outputs[{place}]", layer, f"at most {features['layers']}, as features.layers says")


def _check_state(document: dict[str, Any]) -> None:
    state = document["state"]
    names = [entry["name"] for entry in state]
    for place, found in enumerate(names):
        if found in names[:place]:
            raise Unfit(f"state[{place}].name is {found!r}, as that of another")
    if document["streams"] and "end" not in names:
        raise Unfit("state has no entry named 'end', which streams need")
    size_bytes = sum(math.prod(entry["shape"]) * ITEM_BYTES[entry["dtype"]] for entry in state)
    if size_bytes > STATE_BYTES:
        raise Unfit(f"state has shapes of {size_bytes:,} bytes together, but must have at most {STATE_BYTES:,}")


def _check_stream(document: dict[str, Any], entry: dict[str, Any], path: str) -> None:
    """Most of what is said of a chunk follows from the rest; a contradiction would cut time in another way."""
    audio = document["audio"]
    spec = StreamSpec(
        chunk_frames=entry["chunk_frames"],
        width=document["features"]["width"],
        sample_rate=audio["sample_rate"],
        hop_samples=audio["hop_samples"],
        receptive_samples=audio["receptive_samples"],
        lookahead_frames=entry["lookahead_frames"],
    )
    wanted: dict[str, Any] = {
        "method": f"step_{spec.chunk_frames}",
        "chunk_samples": spec.chunk_samples,
        "silence_samples": spec.silence_samples,
        "first_frame": spec.first_frame,
        **spec.latency(),
    }
    for key, value in wanted.items():
        same = entry[key] == value if not isinstance(value, float) else math.isclose(entry[key], value, rel_tol=1e-6)
        if not same:
            raise Unfit(f"{path}.{key} is {entry[key]!r}, but must be {value!r}, which follows from the others")


def _check_ways(document: dict[str, Any]) -> None:
    """There is a way to run it, and each says the same time twice."""
    rate, limits, window = document["audio"]["sample_rate"], document["offline"], document["window"]
    if not document["streams"] and window is None and not limits["max_samples"]:
        raise Unfit("streams is empty, window is null and offline.max_samples is 0: there is no way to run it")
    times = {"offline.max_s": (limits["max_s"], limits["max_samples"] / rate)}
    if limits["max_samples"] and limits["max_samples"] < limits["min_samples"]:
        raise unfit("offline.max_samples", limits["max_samples"], f"0, or at least {limits['min_samples']}")
    if window is not None:
        times["window.ms"] = (window["ms"], 1000 * window["samples"] / rate)
    for key, (said, found) in times.items():
        if not math.isclose(said, found, rel_tol=1e-6):
            raise unfit(key, said, f"{found:g}, which follows from the samples")
