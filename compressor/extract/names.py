"""Where in the folder each recording's file lies: its id, made safe; never outside of the folder, never twice.

Ids come from file names and from manifests, where anything may stand.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

# Names that mean nothing to any file system; others are written as %XX, which no two texts share.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+=,@ ().")
_LONGEST_BYTES = 180  # of a name; file systems take 255, and an ending and a mark come after it
_DEEPEST_BYTES = 1_000  # of a path below the folder


def file_names(ids: Sequence[str], ending: str) -> dict[str, str]:
    """A path below the folder for each id, with `ending` behind it; ids that would share one get a mark of their own.

    They depend on all ids together, so every shard must be given the ids of the whole corpus.
    """
    plain = {name: _plain_path(name) for name in ids}
    paths = {name: path + ending for name, path in plain.items()}
    taken = Counter(_folded(path) for path in paths.values())
    folders = {_folded(str(parent)) for path in paths.values() for parent in PurePosixPath(path).parents}
    for name in ids:
        key = _folded(paths[name])
        # A file cannot have the name of a folder either.
        if taken[key] > 1 or key in folders:
            paths[name] = f"{plain[name]}~{_mark(name)}{ending}"
    return paths


def renamed(paths: Iterable[tuple[str, str]], ending: str) -> int:
    """How many ids are not simply the path of their file."""
    return sum(path != name + ending for name, path in paths)


def _plain_path(name: str) -> str:
    # Empty parts ("a//b", "/a") would vanish in a path.
    parts = [_plain(part) for part in name.split("/")]
    path = "/".join(parts)
    return path if len(path) <= _DEEPEST_BYTES else f"{parts[0][:_LONGEST_BYTES]}/{_mark(name)}"


def _plain(part: str) -> str:
    """One part of a path, such as "%2E%2E" for ".."."""
    if not part.strip(". "):
        return "".join(f"%{ord(letter):02X}" for letter in part) or "%"
    # Windows drops spaces and dots at the end, and a file that begins with a dot is hidden.
    inner = part.rstrip(". ")
    written = "".join(map(_letter, inner)) + "".join(f"%{ord(letter):02X}" for letter in part[len(inner) :])
    written = f"%2E{written[1:]}" if written.startswith(".") else written
    if len(written.encode()) <= _LONGEST_BYTES:
        return written
    return f"{written.encode()[: _LONGEST_BYTES - 20].decode(errors='ignore')}~{_mark(part)}"


def _letter(letter: str) -> str:
    # Letters of all scripts stay readable; controls, separators and what shells and file systems take otherwise do not.
    if letter in _PLAIN or (ord(letter) > 127 and letter.isalnum()):
        return letter
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _folded(path: str) -> str:
    """Equal for names that some file system takes for one: macOS and Windows look at neither case nor composition."""
    return unicodedata.normalize("NFC", path).casefold()


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
