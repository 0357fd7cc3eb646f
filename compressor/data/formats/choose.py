"""Which format a path is in, told by what lies there and how it begins; or said in front of it, as in kaldi:PATH.

Where several are possible none is guessed. A corpus that names its recordings itself (Shar, Kaldi, Common Voice) goes
before the plain search for audio below a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import readable_name

from ..labels import LABEL_FILES
from ..manifest import BadValue, parse_json, text_lines
from ..remote.address import address_of, is_address
from ..shar import is_shar
from .common_voice import CLIPS, common_voice_cuts, is_common_voice
from .entries import Found
from .fairseq import fairseq_cuts, is_fairseq
from .hf_dataset import SUFFIXES, dataset_cuts, is_dataset
from .kaldi import SCP, kaldi_cuts
from .nemo import KEY, nemo_cuts
from .webdataset import tars, webdataset_cuts

AUDIO, LHOTSE, SHAR = "audio", "lhotse", "shar"
FAIRSEQ, KALDI, NEMO = "fairseq", "kaldi", "nemo"
COMMON_VOICE, DATASETS, WEBDATASET = "commonvoice", "datasets", "webdataset"
READINGS = (AUDIO, LHOTSE, SHAR, FAIRSEQ, KALDI, NEMO, COMMON_VOICE, DATASETS, WEBDATASET)
_FILES_ONLY = (LHOTSE, FAIRSEQ, NEMO)
_WITH_PARTS = (COMMON_VOICE, DATASETS, WEBDATASET)
_NAMED = re.compile(rf"({'|'.join(READINGS)}):(.+)", re.S)
_SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph", ".aiff", ".au", ".m4a")
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """What a user named: a path, how it is to be read (None: as it looks), and which part of it.

    `address` is that of what lies elsewhere (s3://...), which `path` then only resembles.
    """

    path: Path
    reading: str | None = None
    part: str | None = None
    address: str | None = None

    @property
    def name(self) -> str:
        if self.address is not None:
            return self.address
        return readable_name(self.path) + (f"#{self.part}" if self.part else "")


def parse_source(text: str | os.PathLike[str]) -> Source:
    """Of PATH, READING:PATH or READING:PATH#PART."""
    if is_address(text) and not _there(Path(text)):
        return _elsewhere(text)
    named = _NAMED.fullmatch(str(text))
    if named is not None and is_address(named[2]):
        return _elsewhere(named[2], named[1])
    # A file that has such a name means itself.
    if named is None or _there(Path(text)):
        return Source(Path(text).expanduser())
    place, mark, part = named[2].rpartition("#")
    if not mark or not place or _there(Path(named[2]).expanduser()):
        return Source(Path(named[2]).expanduser(), named[1])
    return Source(Path(place).expanduser(), named[1], part)


def _elsewhere(text: str | os.PathLike[str], reading: str | None = None) -> Source:
    address = address_of(text)
    return Source(Path(address), reading, address=address)


def reading_of(source: Source) -> str:
    """How a source is read.

    Raises:
        SpeechpressError: it may be read in several ways and none was said, or not in the way that was said.
    """
    path, said = source.path, readable_name(source.path)
    if source.reading is None:
        found = _of_folder(path) if path.is_dir() else _of_file(path)
        if len(found) > 1:
            ways = " or ".join(f"{name}:{said}" for name in found)
            raise SpeechpressError(f"{said}: can be read as {' and as '.join(found)}; say which is meant: {ways}")
        return found[0]
    if source.part is not None and (source.reading not in _WITH_PARTS or not path.is_dir()):
        raise SpeechpressError(f"{source.name}: only a folder read as {', '.join(_WITH_PARTS)} has parts behind a #")
    if source.reading in _FILES_ONLY and path.is_dir():
        raise SpeechpressError(f"{said}: is a folder; give the manifest itself: {source.reading}:{said}/NAME")
    if source.reading in (SHAR, KALDI) and not path.is_dir():
        raise SpeechpressError(f"{said}: is a file; give its folder: {source.reading}:{readable_name(path.parent)}")
    return source.reading


def other_cuts(source: Source, reading: str) -> Iterator[Found]:
    """(place, cut or why it is left out) of a corpus in the format of another toolkit."""
    path = source.path
    if reading == FAIRSEQ:
        return fairseq_cuts(path)
    if reading == KALDI:
        return kaldi_cuts(path)
    if reading == NEMO:
        return nemo_cuts(path)
    if reading == COMMON_VOICE:
        return common_voice_cuts(path, source.part, _voice_tables(path) if path.is_dir() else {})
    return dataset_cuts(path, source.part) if reading == DATASETS else webdataset_cuts(path, source.part)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _of_folder(folder: Path) -> list[str]:
    indexed = [
        name
        for name, there in (
            (SHAR, is_shar(folder)),
            (KALDI, (folder / SCP).exists()),
            (COMMON_VOICE, (folder / CLIPS).is_dir() and bool(_voice_tables(folder))),
        )
        if there
    ]
    held = [DATASETS] if is_dataset(folder) else []
    # Shar shards are tars themselves.
    held += [WEBDATASET] if tars(folder) and SHAR not in indexed else []
    if indexed == [SHAR] and not held:
        return indexed
    labelled = any((folder / name).exists() for name in LABEL_FILES)
    if not indexed and not held:
        return [AUDIO]
    loose = labelled if indexed else _has_sound(folder)
    return [*indexed, *held, *([AUDIO] if loose else [])]


def _voice_tables(folder: Path) -> dict[str, Path]:
    tables = [path for path in sorted(folder.glob("*.tsv")) if path.name not in LABEL_FILES]
    return {path.stem: path for path in tables if is_common_voice(_head(path))}


def _has_sound(folder: Path) -> bool:
    """Whether there are files named like audio below a folder."""
    return any(name.lower().endswith(_SOUNDS) for _, _, files in os.walk(folder) for name in files)


def _of_file(path: Path) -> list[str]:
    name = path.name
    if name.endswith((".jsonl", ".jsonl.gz", ".json")):
        lines = _first_json(path)
        if KEY in lines:
            return [NEMO]
        return [AUDIO] if name.endswith(".json") else [LHOTSE]
    if name.endswith(".tsv"):
        lines_of = _head(path)
        found = [COMMON_VOICE] if is_common_voice(lines_of) else []
        return found or ([FAIRSEQ] if is_fairseq(lines_of) else [AUDIO])
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return [WEBDATASET]
    return [DATASETS] if path.suffix in SUFFIXES else [AUDIO]


def _head(path: Path) -> list[bytes]:
    """The first two lines of a file; none of what is no regular file or has no lines so short."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        lines = file.read(_HEAD_BYTES).splitlines(keepends=True)
    return [line.removeprefix(b"\xef\xbb\xbf") for line in lines[:2]]


def _first_json(path: Path) -> set[str]:
    """The keys of the first line; none where it is damaged, which the reader of manifests will say."""
    try:
        return set(parse_json(next(text_lines(path))[1]))
    except (SpeechpressError, BadValue, StopIteration):
        return set()
