"""The heads that lie in a checkpoint's folder, as files: which there are, of which weights, and how they go along.

What is in them is read by `heads.files`. A head answers wrongly on other weights than those that it was trained on, so
whoever writes a checkpoint from another one takes its heads along only with the same weights.
"""

import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import parse_object
from speechpress.runtime.parts import entries
from speechpress.runtime.schema import Fields, Text, check

from .checkpoint import WEIGHTS, check_header, sha256

FOLDER, ENDING, KEY = "heads", ".safetensors", "speechpress_head"


def head_path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}{ENDING}"


def head_names(folder: Path) -> list[str]:
    """The heads of a checkpoint, by their files."""
    where = folder / FOLDER
    if not where.is_dir():
        return []
    return [path.name.removesuffix(ENDING) for path in entries(where) if path.name.endswith(ENDING)]


def head_document(path: Path) -> dict[str, Any]:
    """What a head's file says of itself; raises SpeechpressError when it is damaged, or no head."""
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise SpeechpressError(f"{path}: cannot be read as safetensors ({error}); is it complete?") from error
    if KEY not in metadata:
        raise SpeechpressError(f"{path}: is not a head (its metadata has no {KEY})")
    return parse_object(metadata[KEY], f"{path}: {KEY}", strict=True)


def check_fresh(path: Path, student: str, weights: str) -> None:
    """Raises SpeechpressError unless a head was trained on these weights; both are hashes."""
    if student != weights:
        raise SpeechpressError(
            f"{path}: is stale: it was trained on a student with other weights (sha256 {student[:12]}, here "
            f"{weights[:12]}), and would answer wrongly; train it again with `compress head --overwrite`, or remove it"
        )


def check_all_fresh(folder: Path) -> list[str]:
    """The heads of a checkpoint; raises SpeechpressError for one that is damaged or stale."""
    names = head_names(folder)
    weights = sha256(folder / WEIGHTS) if names else ""
    for name in names:
        path = head_path(folder, name)
        document = head_document(path)
        check(document, Fields({"student_sha256": Text(pattern="[0-9a-f]{64}")}), str(path))
        check_fresh(path, document["student_sha256"], weights)
    return names


def copy_heads(source: Path, destination: Path) -> list[str]:
    """Copy the heads of a checkpoint to another folder with the same weights; returns their names.

    Raises SpeechpressError as `check_all_fresh`.
    """
    names = check_all_fresh(source)
    for name in names:
        place = head_path(destination, name)
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(head_path(source, name), place)
    return names


def left_behind(folder: Path) -> list[str]:
    """What to say, in a list of notes, of the heads of a checkpoint whose weights are about to change."""
    names = head_names(folder)
    if not names:
        return []
    return [f"heads are removed, because the weights change: {', '.join(names)}; train them again: compress head"]
