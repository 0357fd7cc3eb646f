"""What bundle.json must hold, see docs/bundle.md: checked once, so that whoever reads a bundle may rely on it."""

import math
from typing import Any

from .answers.head_schema import HEADS, check_heads
from .schema import Anything, Fields, Flag, Items, Kind, Maybe, Real, Table, Text, Unfit, Whole, Wrong, require, unfit
from .spec import StreamSpec

LAST_SCHEMA = 1_000_000  # what is larger is no number of a schema
# Bounds only keep sums and shapes from overflowing where they are used; no model comes near them.
SAMPLES, FRAMES, LAYERS = 2**31 - 1, 2**20, 1000
STATE_BYTES = 2**28  # of all tensors together
METHOD, SHA256, FILE = "[a-z][a-z0-9_]{0,99}", "[0-9a-f]{64}", "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ITEM_BYTES = {"float32": 4, "int64": 8, "int32": 4, "float16": 2}
# What each type holds: numpy would turn larger values into infinity or refuse them.
INITIAL: dict[str, Kind] = {
    "float32": Real(-3e38, 3e38),
    "int64": Whole(-(2**63), 2**63 - 1),
    "int32": Whole(-(2**31), 2**31 - 1),
    "float16": Real(-65504, 65504),
}


class StateEntry:
    """One tensor of the state: as many initial values as it has elements, or one for all."""

    words = "an object"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        return ENTRY.wrong(value, path) or self._wrong_initial(value, f"{path}.initial")

    def _wrong_initial(self, entry: dict[str, Any], path: str) -> Wrong | None:
        initial, elements, inner = entry["initial"], math.prod(entry["shape"]), INITIAL[entry["dtype"]]
        if not isinstance(initial, list):
            return inner.wrong(initial, path)
        if len(initial) != elements:
            return Wrong(path, f"has {len(initial)} values, but the shape {entry['shape']} has {elements}")
        return Items(inner, 0, 10_000_000).wrong(initial, path)


class _Unread:
    """What another check looks at."""

    words = "a value"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        return None


NAME, LINES = Text(200), Text(100_000, lines=True)
COUNT, NUMBER, ERROR = Whole(0, 2**31 - 1), Real(-1e12, 1e12), Real(0, 1e12)
SHARE, MILLISECONDS, SECONDS = Real(0, 1), Real(0, 1e9), Real(0, 1e9)
SIZE, HASH, METHOD_NAME = Whole(1, 2**31 - 1), Text(64, pattern=SHA256), Text(100, pattern=METHOD)
PARITY = Fields({"max_abs": ERROR, "snr_db": NUMBER, "cosine": Real(-1.001, 1.001)})
TOLERANCE = Fields({}, {"max_abs": ERROR, "snr_db": NUMBER, "cosine": Real(-1, 1)})
STREAM = Fields(
    {
        "method": METHOD_NAME,
        "chunk_frames": Whole(1, FRAMES),
        "chunk_samples": SIZE,
        "chunk_ms": MILLISECONDS,
        "lookahead_frames": Whole(0, FRAMES),
        "lookahead_ms": MILLISECONDS,
        "worst_age_ms": MILLISECONDS,
        "silence_samples": COUNT,
        "first_frame": Whole(-FRAMES * 2, 0),
    },
    {"lag_frames": Whole(1, FRAMES), "lag_ms": MILLISECONDS},
)
OFFLINE = Fields({"method": METHOD_NAME, "min_samples": SIZE, "max_samples": Whole(0, SAMPLES), "max_s": SECONDS})
OPERATOR = Fields({"operator": LINES, "layer": LINES, "time_share": SHARE})
NAMED_LAYERS = Items(Maybe(LINES), most=100_000)
DELEGATION = Fields(
    {"time_share": SHARE, "operators": COUNT, "delegated": COUNT, "fallback": Items(OPERATOR, most=100_000)},
    {
        "median_ms": Maybe(MILLISECONDS),
        "layers": Maybe(Fields({"kernels": Table(NAMED_LAYERS), "partitions": Items(NAMED_LAYERS, most=100_000)})),
    },
)
TASK = Fields(
    {"metric": NAME, "value": NUMBER, "quality": NUMBER, "ci95": Items(NUMBER, 2, 2), "teacher": Maybe(NUMBER)}
)
SCORES = Fields({"suite": NAME, "layers": Anything(), "chunk_ms": Maybe(MILLISECONDS), "tasks": Table(TASK)})
FREE = Table(Anything())
LINEAGE = Fields(
    {"teacher": Maybe(Fields({}, {"source": Maybe(LINES)}))},
    {
        "checkpoint_sha256": Maybe(HASH),
        "recipe": Maybe(Text(2**20, lines=True)),
        "steps": Maybe(Whole()),
        "data": Maybe(FREE),
        "parents": Maybe(Items(FREE)),
        "fidelity": Maybe(Table(Fields({"cosine": Real(-1.001, 1.001)}, {"l1": ERROR}))),
        "scores": Maybe(SCORES),
        "parameters": Maybe(Whole()),
        "quantization": Maybe(FREE),
    },
)
ENTRY = Fields(
    {"name": NAME, "shape": Items(COUNT, 0, 8), "dtype": Text(choices=tuple(ITEM_BYTES)), "initial": _Unread()}
)
LAYER = Whole(0, LAYERS)
BUNDLE = Fields(
    {
        "schema": Whole(1, LAST_SCHEMA),
        "name": NAME,
        "created": NAME,
        "files": Table(Fields({"sha256": HASH, "size_bytes": Whole(0, 2**40)}), key=FILE),
        "digest": HASH,
        "audio": Fields(
            {"sample_rate": Whole(1, 1_000_000), "hop_samples": SIZE, "receptive_samples": SIZE}, {"input_norm": NAME}
        ),
        "features": Fields(
            {"width": Whole(1, 2**20), "layer": LAYER, "layers": LAYER}, {"outputs": Items(LAYER, 1, LAYERS)}
        ),
        "streams": Items(STREAM, 0, 100),
        "state": Items(StateEntry(), 0, 10_000),
        "offline": OFFLINE,
        "window": Maybe(Fields({"method": METHOD_NAME, "samples": Whole(1, SAMPLES), "ms": MILLISECONDS})),
        "target": Fields({"name": NAME, "backend": NAME, "description": LINES, "runs_here": Flag()}),
        "quantize": NAME,
        "delegation": Table(DELEGATION, key=METHOD),
        "parity": Table(PARITY, key=METHOD),
        "tolerance": TOLERANCE,
        "lineage": LINEAGE,
        "versions": Table(NAME),
    },
    {"heads": HEADS},
)


def check_document(document: Any, required_files: tuple[str, ...]) -> None:
    """Raises Unfit for the first key that does not hold what it must, or contradicts another."""
    require(document, BUNDLE)
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
    check_heads(document)


def _check_features(features: dict[str, Any]) -> None:
    outputs = features.get("outputs", [features["layer"]])
    if features["width"] % len(outputs):
        raise unfit(
            "features.width", features["width"], f"a multiple of {len(outputs)}, the layers in features.outputs"
        )
    for place, layer in enumerate(outputs):
        # Layer 0 is what goes into the first one, so that there are layers + 1.
        if layer > features["layers"]:
            raise unfit(f"features.outputs[{place}]", layer, f"at most {features['layers']}, as features.layers says")


def _check_state(document: dict[str, Any]) -> None:
    state = document["state"]
    names = [entry["name"] for entry in state]
    for place, found in enumerate(names):
        if found in names[:place]:
            raise Unfit(f"state[{place}].name is {found!r}, as that of another")
    # flush() sets it; without it the last frames would attend to silence.
    if document["streams"] and "end" not in names:
        raise Unfit("state has no entry named 'end', which streams need")
    # A shape costs a few bytes of JSON, and memory for every stream that is opened.
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
        lag_frames=entry.get("lag_frames", 0),
    )
    for one, other in (("lag_ms", "lag_frames"), ("lag_frames", "lag_ms")):
        if one in entry and other not in entry:
            raise Unfit(f"{path}.{other} is missing, though there is {path}.{one}")
    wanted: dict[str, Any] = {
        "method": f"step_{spec.chunk_frames}",
        "chunk_samples": spec.chunk_samples,
        "silence_samples": spec.silence_samples,
        "first_frame": spec.first_frame,
        **spec.latency(),
    }
    for key, value in wanted.items():
        # Not exactly: a time is a quotient, which an exporter may round another way.
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
