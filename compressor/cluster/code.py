"""Which code this is, so that machines that work together can tell whether they run the same."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PARTS = ("compressor", "runtime", "devices", "recipes")


@cache
def code_hash() -> str:
    """The first 16 digits of SHA-256 over names and content of the package's Python files and recipes."""
    digest = hashlib.sha256()
    top = Path(__file__).parents[2]
    for part in PARTS:
        folder = top / part
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
            content = path.read_bytes()
            # With the length, so that no two sets of files run together to the same bytes.
            digest.update(f"{path.relative_to(top).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@cache
def code_facts() -> dict[str, str]:
    """Versions of this package and of torch, and the hash of the sources."""
    return {"speechpress": _version("speechpress"), "sources": code_hash(), "torch": _version("torch")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
