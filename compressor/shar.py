"""Lhotse Shar shards, read at random: cuts.NNNNNN.jsonl.gz beside recording.NNNNNN.tar.

Lhotse reads shards as a stream. Training batches here are a pure function of their number, which needs any recording at
any time, so the tar files are indexed once (their headers only) and a cut's source is "tar:offset:size", in bytes.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import AudioSource
from lhotse.serialization import deserialize_item

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular


def is_shar(folder: Path) -> bool:
    """Whether a folder holds Shar shards."""
    return any(folder.glob("cuts*.jsonl*")) and any(folder.glob("recording*.tar*"))


def shar_cuts(folder: Path) -> Iterator[tuple[str, Any]]:
    """(file:line, cut) for every cut of a folder of shards; the cuts' audio lies in the tar files.

    Raises:
        SpeechpressError: a shard has no tar file, or the two do not belong together, or the tar is compressed.
    """
    for manifest in sorted(folder.glob("cuts*.jsonl*")):
        number = manifest.name.removeprefix("cuts").split(".jsonl")[0]
        tar = folder / f"recording{number}.tar"
        if not tar.is_file():
            packed = " (a compressed tar cannot be read at random: unpack it)" if Path(f"{tar}.gz").is_file() else ""
            raise SpeechpressError(f"{manifest}: its recordings must be in {tar}, which is not there{packed}")
        yield from _shard(manifest, tar)


def _shard(manifest: Path, tar: Path) -> Iterator[tuple[str, Any]]:
    check_regular(manifest)
    opened: Any = gzip.open if manifest.suffix == ".gz" else open
    line = 0
    members = _members(tar)
    try:
        with opened(manifest, "rt", encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                cut = deserialize_item(json.loads(text))
                yield f"{manifest}:{line}", _fill(cut, next(members, None), f"{manifest}:{line}", tar)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise SpeechpressError(f"{manifest}:{line}: not a line of a Shar manifest ({error!r})") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise SpeechpressError(f"{manifest}:{line}: the shard cannot be read ({error})") from error


def _members(tar: Path) -> Iterator[tuple[tarfile.TarInfo, dict[str, Any] | None]]:
    """(audio, its manifest) for every recording in a tar; the manifest is None where a cut has no recording."""
    with tarfile.open(tar, "r:") as archive:
        members = iter(archive)
        for audio in members:
            described = next(members, None)
            content = archive.extractfile(described) if described and described.name.endswith(".json") else None
            yield audio, json.loads(content.read()) if content else None


def _fill(cut: Any, member: tuple[tarfile.TarInfo, dict[str, Any] | None] | None, where: str, tar: Path) -> Any:
    if member is None:
        raise SpeechpressError(f"{where}: {tar} has fewer recordings than the manifest has cuts")
    audio, described = member
    if audio.name.rpartition(".")[0] != cut.id:
        raise SpeechpressError(f"{where}: cut {cut.id!r} meets {audio.name!r} in {tar}: they do not belong together")
    if described is None:
        cut.recording = None
        return cut
    cut.recording = deserialize_item(described)
    place = f"{tar}:{audio.offset_data}:{audio.size}"
    cut.recording.sources = [AudioSource(type="shar", channels=cut.recording.sources[0].channels, source=place)]
    return cut
