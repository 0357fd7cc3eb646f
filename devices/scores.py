"""How good a bundle is at tasks, as `compress eval` found: measured on the bundle itself, else on its checkpoint.

A quality is a task's score on a scale on which 1 is perfect and more is better.
"""

from collections.abc import Sequence
from typing import Any

from ..runtime.bundle import Bundle
from ..runtime.errors import SpeechpressError
from ..runtime.json_file import read_json
from ..runtime.schema import Fields, Maybe, Real, Table, Text, fits
from .record import Record

EVAL = "eval.json"  # what `compress eval BUNDLE` leaves in the bundle's folder
_RESULT = Fields(
    {
        "of": Fields({}, {"digest": Text(64)}),
        "tasks": Table(Fields({"quality": Fields({"student": Real(-1e6, 1e6)})}), 1000),
        "latency": Maybe(Fields({}, {"chunk_ms": Maybe(Real(high=1e6, above=0))})),
    },
    {"suite": Text(200), "layers": Text(100)},
)


def scores_of(bundle: Bundle) -> dict[str, Any] | None:
    """{"of": "bundle" or "checkpoint", "suite", "layers", "chunk_ms", "qualities": {task: 0..1}}; None when not known.

    A result in the bundle's folder counts when it is about this very bundle.
    """
    own = _own_result(bundle)
    if own is not None:
        return own
    # Of the checkpoint: bundles that were exported before it was measured have none.
    told = bundle.document["lineage"].get("scores")
    if told is None:
        return None
    qualities = {name: task["quality"] for name, task in told["tasks"].items()}
    return {"of": "checkpoint", **_settings(told, told.get("chunk_ms")), "qualities": qualities}


def _own_result(bundle: Bundle) -> dict[str, Any] | None:
    path = bundle.path / EVAL
    try:
        found = read_json(path) if path.is_file() else {}
    except SpeechpressError:
        return None  # an eval.json of something else
    # By digest: a bundle that was exported again into the same folder is another one.
    if not fits(found, _RESULT) or found["of"].get("digest") != bundle.document["digest"]:
        return None
    qualities = {name: task["quality"]["student"] for name, task in found["tasks"].items()}
    return {"of": "bundle", **_settings(found, (found["latency"] or {}).get("chunk_ms")), "qualities": qualities}


def _settings(told: dict[str, Any], chunk_ms: float | None) -> dict[str, Any]:
    return {"suite": told.get("suite"), "layers": told.get("layers", "weighted"), "chunk_ms": chunk_ms}


def common_tasks(records: Sequence[Record]) -> tuple[str, ...]:
    """Tasks that every record with scores has, when all scores are of one suite; else none can be compared."""
    known = [scores for record in records if (scores := record["accuracy"].get("scores"))]
    # Scores of different suites have different data; their mean would compare nothing.
    if not known or len({scores["suite"] for scores in known}) > 1:
        return ()
    shared = set(known[0]["qualities"]).intersection(*(scores["qualities"] for scores in known[1:]))
    return tuple(sorted(shared))


def mean_quality(record: Record, tasks: Sequence[str]) -> float | None:
    """The mean over these tasks; None without scores."""
    scores = record["accuracy"].get("scores")
    if not scores or not tasks:
        return None
    return sum(scores["qualities"][name] for name in tasks) / len(tasks)


def words(scores: dict[str, Any]) -> str:
    """What a person needs to know of where scores come from."""
    layers = "its last layer" if scores["layers"] == "last" or scores["of"] == "bundle" else "a learned sum of layers"
    live = f", in chunks of {scores['chunk_ms']:g} ms" if scores["chunk_ms"] else ""
    return f"{scores['suite']} suite, measured on the {scores['of']}, {layers}{live}"
