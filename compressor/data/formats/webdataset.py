"""WebDataset: tar files in which the members of one recording follow each other, named alike up to the first dot.

Sound is told by its content. Nothing is unpacked: a cut's audio is read where it lies in the tar.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lhotse import AudioSource

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import open_regular
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, open_sound, readable_name

from ..labels import Labels
from ..manifest import LINE_BYTES, BadValue, parse_json
from .entries import Found, by_part, chosen, held_cut

_SOUND_BYTES = 1 << 30
_TEXTS = ("txt", "text", "transcript")
_NO_SOUND = ("json", "cls", "npy", "npz", "pt", "pth", *_TEXTS)


class _Member(NamedTuple):
    """A file in a tar; `reason` says why it is not used."""

    name: str
    offset: int
    size: int
    reason: str = ""

    @property
    def key(self) -> str:
        folder, slash, name = self.name.rpartition("/")
        return f"{folder}{slash}{name.partition('.')[0]}"

    @property
    def ending(self) -> str:
        return self.name.rpartition("/")[2].partition(".")[2].lower()


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def webdataset_cuts(path: Path, part: str | None) -> Iterator[Found]:
    """(tar: member, cut or why it is left out) for every recording of a tar, or of one part of a folder of tars.

    Raises:
        SpeechpressError: no such part, or a file that is no tar.
    """
    is_folder = path.is_dir()
    for file in chosen(by_part(tars(path)), part, readable_name(path), "webdataset") if is_folder else [path]:
        yield from _tar_cuts(file)


def _tar_cuts(path: Path) -> Iterator[Found]:
    said = readable_name(path)
    try:
        with open_regular(path) as file:
            for key, members in groupby(_members(path, file), key=lambda member: member.key):
                yield from _recording(path, file, f"{said}: {readable_name(key)}", list(members))
    except OSError as error:
        raise SpeechpressError(f"{said}: cannot be read ({error.strerror or error})") from error


def _members(path: Path, file: BinaryIO) -> Iterator[_Member]:
    """The files of a tar; the last one with a reason where the tar is damaged behind it."""
    size = path.stat().st_size
    last = -1
    try:
        # "r:" refuses compression: offsets are into the file as it lies on the disk.
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                # A negative size would lead Python's reader back to the same header for ever.
                if member.size < 0 or member.offset <= last:
                    raise tarfile.ReadError("a member's size is not possible")
                last = member.offset
                # Its list of members would grow with the tar.
                archive.members = []  # type: ignore[attr-defined]
                if member.offset_data + member.size > size:
                    yield _Member(member.name, member.offset_data, 0, "is cut off; what follows it in its tar is lost")
                    return
                if member.isreg() and not member.issparse():
                    yield _Member(member.name, member.offset_data, member.size)
                elif not member.isdir():
                    yield _Member(member.name, 0, 0, "is a link or a device, which is not followed")
            # Python's reader takes a header that is none for the end of the tar, and says nothing.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError("a header is damaged")
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError, RecursionError) as error:
        if last < 0:
            packed = " (a compressed tar is not read at random: unpack it)" if _is_packed(file) else ""
            raise SpeechpressError(f"{readable_name(path)}: is not a tar file{packed}") from error
        yield _Member("", 0, 0, f"the tar is damaged behind its last whole member ({error}); what follows is lost")


def _is_packed(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")


def _recording(path: Path, file: BinaryIO, where: str, members: list[_Member]) -> Iterator[Found]:
    sounds, labels = [], Labels()
    for member in members:
        if member.reason:
            yield where, Skipped(where, f"{readable_name(member.name)} {member.reason}".strip())
        elif member.ending in _NO_SOUND or member.ending.endswith(".json"):
            labels |= _labels(file, member, where)
        elif (content := _sound(file, member)) is not None:
            sounds.append((member, content))
    for member, content in sounds:
        # Two microphones of one recording are two cuts, told apart by their endings.
        name = readable_name(member.key if len(sounds) == 1 else member.name).lstrip("/")
        source = AudioSource("shar", [], f"{path}:{member.offset}:{member.size}")
        yield held_cut(content, where, f"{readable_name(path.stem)}/{name}", source, labels)


def _read(file: BinaryIO, member: _Member) -> bytes:
    # Not by the archive: it stands behind the header of this member's group already.
    before = file.tell()
    file.seek(member.offset)
    content = file.read(member.size)
    file.seek(before)
    return content


def _sound(file: BinaryIO, member: _Member) -> bytes | None:
    """The bytes of a member that is sound, or is named like one."""
    if member.size > _SOUND_BYTES:
        return None
    content = _read(file, member)
    if member.ending.rpartition(".")[2] in ("wav", "flac", "mp3", "ogg", "opus", "sph", "aiff", "m4a"):
        return content
    try:
        with open_sound(content, member.name):
            return content
    except UnreadableAudio:
        return None


def _labels(file: BinaryIO, member: _Member, where: str) -> Labels:
    if member.size > LINE_BYTES or member.ending not in ("json", *_TEXTS, "cls"):
        return {}
    content = _read(file, member)
    try:
        if member.ending != "json":
            return {"label" if member.ending == "cls" else "text": content.decode().strip()}
        found = parse_json(content)
    except (BadValue, UnicodeDecodeError) as error:
        raise SpeechpressError(f"{where}: its {member.ending} is damaged ({error})") from error
    plain = {name: value for name, value in found.items() if isinstance(value, str | int | float)}
    return {name: str(value) for name, value in plain.items() if _is_unicode(str(value))}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
