"""Lhotse Shar shards, read at random: cuts.NNNNNN.jsonl.gz beside recording.NNNNNN.tar.

Lhotse reads shards as a stream. Training batches here are a pure function of their number, which needs any recording at
any time, so the tar files are indexed once (their headers only) and a cut's source is "tar:offset:size", in bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import AudioSource

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import readable_name

from .audio import Cut, Skipped, UnreadableAudio
from .manifest import (
    LINE_BYTES,
    BadValue,
    check_inside,
    parse_json,
    read_cut_line,
    read_recording,
    refuse_inside,
    text_lines,
)


class Member(NamedTuple):
    """A recording in a tar file; no description where a cut has no recording."""

    name: str
    place: str
    described: bytes | None


def is_shar(folder: Path) -> bool:
    """Whether a folder holds Shar shards."""
    return any(folder.glob("cuts*.jsonl*")) and any(folder.glob("recording*.tar*"))


def shar_cuts(folder: Path) -> Iterator[tuple[str, Cut | Skipped]]:
    """(file:line, cut or why it is left out) for every cut of a folder of shards; the audio lies in the tar files.

    Raises:
        SpeechpressError: a shard has no tar file, or the two do not belong together, or the tar is compressed.
    """
    for manifest in sorted(folder.glob("cuts*.jsonl*")):
        number = manifest.name.removeprefix("cuts").split(".jsonl")[0]
        tar = folder / f"recording{number}.tar"
        if not tar.is_file():
            packed = " (a compressed tar cannot be read at random: unpack it)" if Path(f"{tar}.gz").is_file() else ""
            raise SpeechpressError(
                f"{readable_name(manifest)}: its recordings must be in {readable_name(tar)}, which is not there{packed}"
            )
        said = readable_name(manifest)
        lines = ((f"{said}:{number}", line) for number, line in text_lines(manifest))
        yield from shard_cuts(lines, said, _members(tar), readable_name(tar))


def shard_cuts(
    lines: Iterator[tuple[str, bytes]], said: str, members: Iterator[Member], tar: str
) -> Iterator[tuple[str, Cut | Skipped]]:
    """(file:line, cut or why it is left out) of one shard: of the lines of its manifest and what is in its tar."""
    where = f"{said}:0"
    try:
        for where, text in lines:
            member = next(members, None)
            if member is None:
                raise SpeechpressError(f"{where}: {tar} has fewer recordings than the manifest has cuts")
            yield where, _filled(text, member, where, tar)
    except BadValue as error:
        raise SpeechpressError(f"{where}: not a line of a Shar manifest ({error})") from error
    except (OSError, EOFError, tarfile.TarError, UnicodeError) as error:
        raise SpeechpressError(f"{where}: the shard cannot be read ({error})") from error


def _members(tar: Path) -> Iterator[Member]:
    with tar.open("rb") as file:
        yield from members_of(file, str(tar))


def members_of(file: Any, place: str) -> Iterator[Member]:
    """What is in a tar that lies at `place`, by its headers."""
    # "r:" refuses compression: offsets are into the file as it lies on the disk.
    with tarfile.open(fileobj=file, mode="r:") as archive:
        members = iter(archive)
        for audio in members:
            # Lhotse writes two members for each cut, the audio and then the JSON about it.
            described = next(members, None)
            content = None
            if described and described.name.endswith(".json") and described.size <= LINE_BYTES:
                content = archive.extractfile(described)
            source = f"{place}:{audio.offset_data}:{audio.size}"
            yield Member(audio.name, source, content.read() if content else None)


def _filled(text: bytes, member: Member, where: str, tar: str) -> Cut | Skipped:
    """The cut of a line with its recording out of the tar file."""
    try:
        cut = read_cut_line(parse_json(text), where, None)
        # From the right: ids may hold dots, and only the last one begins the ending.
        if member.name.rpartition(".")[0] != cut.id:
            raise SpeechpressError(
                f"{where}: cut {cut.id!r} meets {member.name!r} in {tar}: they do not belong together"
            )
        if member.described is None:
            raise UnreadableAudio(where, f"cut {cut.id!r} has no recording")
        described = parse_json(member.described)
        refuse_inside(described, f"{tar}: {member.name}")
        recording = read_recording(described, "recording.", where, None)
        check_inside(
            recording, cut.channel if isinstance(cut.channel, list) else [cut.channel], cut.start + cut.duration
        )
    except UnreadableAudio as error:
        return error.skipped
    recording.sources = [AudioSource("shar", recording.sources[0].channels, member.place)]
    cut.recording = recording
    return cut
