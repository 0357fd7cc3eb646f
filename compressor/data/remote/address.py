"""Addresses of files and folders that lie elsewhere, told from paths, and without anything secret in them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from speechpress.runtime.errors import SpeechpressError

# One slash too: a Path that was made of an address has lost one of the two.
_ADDRESS = re.compile(r"(s3a?|gcs|gs|https?):/{1,2}([^/].*)", re.IGNORECASE | re.DOTALL)
_ONE_NAME = {"s3a": "s3", "gcs": "gs"}
_HIDDEN = re.compile(r"[\x00-\x20\x7f\\]")


def is_address(text: str | os.PathLike[str]) -> bool:
    return _ADDRESS.fullmatch(os.fspath(text)) is not None


def address_of(text: str | os.PathLike[str]) -> str:
    """An address as it is shown, written down and compared, without a slash at its end.

    Raises:
        SpeechpressError: it holds a password or a signature, or is none.
    """
    found = _ADDRESS.fullmatch(os.fspath(text))
    if found is None or _HIDDEN.search(found[2]):
        raise SpeechpressError("an address must be s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or https://HOST/FOLDER")
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    host, *names = rest.split("/")
    # What --data says stands in a run's card and in its log.
    if "@" in host or (scheme.startswith("http") and set("?#") & set(rest)):
        raise SpeechpressError(
            f"an address at {host.rpartition('@')[2].partition('?')[0]} holds a name, a password or a signature, which "
            "would be written into the run's files; give it without, and put the credentials into the environment "
            "(docs/data.md)"
        )
    if {".", ".."} & set(names):
        raise SpeechpressError(f"{scheme}://{rest}: give the address without . and ..")
    return f"{_ONE_NAME.get(scheme, scheme)}://{rest}"


@dataclass(frozen=True)
class Beside:
    """What a manifest at an address may name: files in its own bucket or on its own host.

    A manifest is somebody else's file, and must not make this machine ask others.
    """

    manifest: str

    def address(self, named: str) -> str | None:
        """The address of a file that the manifest names; None where it may not be opened."""
        if is_address(named):
            try:
                found = address_of(named)
            except SpeechpressError:
                return None
        elif named.startswith(("/", "\\")) or "://" in named or {".", "..", ""} & set(named.split("/")):
            return None
        else:
            found = f"{self.manifest.rpartition('/')[0]}/{named}"
        return found if _home(found) == _home(self.manifest) and not _HIDDEN.search(found) else None


def _home(address: str) -> tuple[str, str]:
    scheme, _, rest = address.partition("://")
    return scheme, rest.partition("/")[0].lower()
