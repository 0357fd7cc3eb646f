"""eval.json: the last result of `compress eval`, beside the weights that it is about.

It holds what was printed, and "suite", "created" and "of": {"weights_sha256"}, or {"digest"} of a bundle. A result on
other tasks of the same suite, measured alike, adds to it; one that was measured otherwise takes its place, and the
older one is kept as eval-SUITE-LAYERS.json.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_json
from speechpress.runtime.bundle import is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import fits

from .checkpoint import CARD, CONFIG, WEIGHTS, sha256
from .document_schema import EVAL

NAME = "eval.json"
# What must agree for the tasks of two results to stand in one file.
ALIKE = ("suite", "of", "layers", "latency", "budget", "against")


def stamped(document: dict[str, Any], suite: str, source: str | Path) -> dict[str, Any]:
    """The document with what it is about; `of` is empty for a teacher, which may lie anywhere."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {**document, "suite": suite, "created": created, "of": _identity(Path(source))}


def _identity(folder: Path) -> dict[str, str]:
    if is_bundle(folder):
        return {"digest": read_bundle(folder).document["digest"]}
    # A model's folder of another tool has no card: nothing is to be written into it.
    if all((folder / name).is_file() for name in (CARD, CONFIG, WEIGHTS)):
        return {"weights_sha256": sha256(folder / WEIGHTS)}
    return {}


def write_back(document: dict[str, Any], source: str | Path) -> list[Path]:
    """Write a stamped document beside the weights; returns what was written: eval.json, and where an older one went.

    Nothing is written for a teacher. Raises SpeechpressError when the folder cannot be written to.
    """
    if not document["of"]:
        return []
    path, moved = Path(source) / NAME, []
    old = _read(path)
    if old is not None and all(old.get(key) == document.get(key) for key in ALIKE):
        document = {**document, "tasks": {**old["tasks"], **document["tasks"]}}
    elif old is not None and old.get("of") == document["of"]:
        # A suite may be named by its user, and must neither leave the folder nor be an impossible file name.
        name = re.sub(r"[^\w.]+", "-", f"eval-{old['suite']}-{old.get('layers', 'weighted')}")
        moved = [path.with_name(f"{name}.json")]
        # The older result is safe on disk before its place is taken.
        write_json(moved[0], old)
    write_json(path, document)
    return [path, *moved]


def _read(path: Path) -> dict[str, Any] | None:
    """An older result; None where there is none, or none that can be made sense of."""
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except SpeechpressError:
        return None
    return found if fits(found, EVAL) else None


def scores_of(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's scores in short, for the lineage of a bundle; None without a result on exactly these weights.

    Returns:
        {"suite", "layers", "chunk_ms", "tasks": {name: {"metric", "value", "quality", "ci95", "teacher"}}}, where
        quality is the value on a scale on which 1 is perfect and more is better.
    """
    found = _read(folder / NAME)
    if found is None or found.get("of") != _identity(folder):
        return None
    return {
        "suite": found["suite"],
        "layers": found.get("layers", "weighted"),
        "chunk_ms": (found.get("latency") or {}).get("chunk_ms"),
        "tasks": {
            name: {
                "metric": task["metric"],
                "value": task["student"],
                "quality": task["quality"]["student"],
                "ci95": task["ci95"]["student"],
                "teacher": task["teacher"],
            }
            for name, task in found["tasks"].items()
        },
    }
