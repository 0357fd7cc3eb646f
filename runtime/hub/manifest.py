"""speechpress.json: what a push put into a repository, with the hash of every file; what is read back must fit it.

It stands beside the files and not in the hub's own records, so that a copy on a disk can be checked as well.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SpeechpressError
from ..json_file import read_json
from ..regular import open_regular
from ..schema import Anything, Fields, Maybe, Table, Text, Whole, check

MANIFEST = "speechpress.json"
CHECKPOINT, BUNDLE = "checkpoint", "bundle"
# Names go to the hub's client as patterns and then to the disk: no wildcard, and no way out of the folder.
FILE = r"(?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_TEACHER = Fields({}, {"source": Maybe(Text(4096)), "revision": Maybe(Text(100)), "sha256": Maybe(Text(64))})
DOCUMENT = Fields(
    {
        "schema": Whole(1, 1),
        "kind": Text(choices=(CHECKPOINT, BUNDLE)),
        "files": Table(Fields({"sha256": Text(64, pattern="[0-9a-f]{64}"), "size_bytes": Whole(0, 2**40)}), key=FILE),
    },
    {"name": Text(200), "speechpress": Text(100), "teacher": Maybe(_TEACHER), "more": Anything()},
)


def read_manifest(path: Path, shown: str = "") -> dict[str, Any]:
    """Raises SpeechpressError when it is missing, damaged, or of a newer version."""
    document = read_json(path, "push it again", shown=shown, strict=True)
    check(document, DOCUMENT, shown or str(path), "upgrade with: pip install -U speechpress, or push it again")
    return document


def facts_of(path: Path) -> dict[str, Any]:
    """{"sha256", "size_bytes"} of a file."""
    with open_regular(path) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": path.stat().st_size}


def unfitting(folder: Path, files: Mapping[str, dict[str, Any]]) -> list[str]:
    """The names of the files that are missing, or are not the ones that were pushed."""
    return [name for name, facts in files.items() if not _fits(folder / name, facts)]


def _fits(path: Path, facts: dict[str, Any]) -> bool:
    # The size first: a file that was cut short need not be read.
    return path.is_file() and path.stat().st_size == facts["size_bytes"] and facts_of(path) == facts


def check_files(folder: Path, shown: str) -> dict[str, Any]:
    """The manifest of a folder whose files are those that were pushed; SpeechpressError for any other."""
    document = read_manifest(folder / MANIFEST)
    if wrong := unfitting(folder, document["files"]):
        raise SpeechpressError(
            f"{shown}: {wrong[0]} is not the file that was pushed (its sha256 does not fit {MANIFEST}); the copy in "
            f"{folder} is damaged or the file was replaced. Delete that folder and fetch it again, or push it again"
        )
    return document
