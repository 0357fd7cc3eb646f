"""A folder of audio: every file that libsndfile knows by its content, with the labels that lie beside it."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import Recording

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, knows, readable_name

from .audio import Cut, cut_place, probe
from .labels import LABEL_FILES, Labels, attach, librispeech_speakers, read_labels

logger = logging.getLogger(__name__)

THREADS = 8
# Sound that libsndfile does not read: it is told as skipped rather than passed over as if it were text.
_FOREIGN = {
    "m4a",
    "mp4",
    "m4b",
    "aac",
    "webm",
    "mka",
    "mkv",
    "wma",
    "asf",
    "amr",
    "ape",
    "wv",
    "tta",
    "3gp",
    "mov",
    "dsf",
}
_KNOWN = {"aif", "aifc", "aiff", "au", "caf", "flac", "mp2", "mp3", "nist", "oga", "ogg", "opus", "rf64", "snd", "sph"}
_KNOWN |= {"voc", "w64", "wav"}
_SNIFFED = 64


@dataclass
class Found:
    """The files below a folder: sound, labels, sound that cannot be read, and how many others of each ending."""

    audio: list[Path] = field(default_factory=list)
    labels: dict[str, Labels] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def read_folder(folder: Path) -> tuple[list[Cut], list[Skipped]]:
    """Walk a folder once for audio and label files, then look at every recording's header.

    Raises SpeechpressError when there is no audio, or a label file is not well formed.
    """
    found = _find(folder)
    if found.others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.others.most_common())
        logger.info("%s: files that are no audio: %s", readable_name(folder), kinds)
    if not found.audio and not found.skipped:
        raise SpeechpressError(
            f"{readable_name(folder)}: no audio in it or below it; looked for all that libsndfile reads by content "
            "(.wav, .flac, .ogg, .opus, .mp3, .aiff, .au, .caf, .w64, .sph and more)"
        )
    cuts, skipped = read_files(folder, found.audio, found.labels)
    return cuts, [*skipped, *found.skipped]


def read_files(root: Path, audio: Sequence[Path], labels: dict[str, Labels]) -> tuple[list[Cut], list[Skipped]]:
    """Cuts of some files, with ids by their place below a root, and what cannot be used."""

    def look(path: Path) -> Recording | Skipped:
        try:
            return probe(str(path), readable_name(path.relative_to(root).as_posix()))
        except UnreadableAudio as error:
            return error.skipped

    with ThreadPoolExecutor(THREADS) as pool:
        looked = list(pool.map(look, audio))
    skipped = [item for item in looked if isinstance(item, Skipped)]
    cuts: dict[str, Cut] = {}
    for item in looked:
        if isinstance(item, Recording):
            if item.id in cuts:
                # Bytes that are no UTF-8 are spelled out, and another file can be named by that very spelling.
                skipped.append(Skipped(item.id, "another file's name reads the same: rename one of them"))
            cuts.setdefault(item.id, item.to_cut())
    _attach_all(root, list(cuts.values()), labels, {str(path) for path in audio})
    return list(cuts.values()), skipped


def _find(folder: Path) -> Found:
    found = Found()
    paths = []
    for path in _walk(folder, found.skipped):
        if path.name in LABEL_FILES:
            found.labels.update(read_labels(path))
        else:
            paths.append(path)
    with ThreadPoolExecutor(THREADS) as pool:
        kinds = list(pool.map(_kind, paths))
    for path, kind in zip(paths, kinds, strict=True):
        if kind is True:
            found.audio.append(path)
        elif isinstance(kind, Skipped):
            found.skipped.append(kind)
        else:
            found.others[path.suffix.lower() or "without an ending"] += 1
    return found


def _kind(path: Path) -> bool | Skipped:
    """Whether a file is to be looked at as sound; what is said about sound that libsndfile does not know."""
    ending = path.suffix.lower().removeprefix(".")
    if not path.is_file():
        return Skipped(readable_name(path), "not a regular file") if ending in _KNOWN | _FOREIGN else False
    # The ending first: a damaged .wav is to be told as skipped, not taken for something else.
    if ending in _KNOWN or knows(str(path)):
        return True
    foreign = _foreign(path) or (ending.upper() if ending in _FOREIGN else None)
    if foreign is None:
        return False
    return Skipped(readable_name(path), f"{foreign}, which libsndfile does not read: convert it, to FLAC for example")


def _foreign(path: Path) -> str | None:
    """What sound or film of other libraries a file begins like."""
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
    except OSError:
        return None
    # The first four bytes are the size of this box.
    if head[4:8] == b"ftyp":
        return "MPEG-4 (AAC)"
    # ADTS: a sync word like that of mp3, but with layer 0.
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "AAC"
    beginnings = {
        b"\x1a\x45\xdf\xa3": "Matroska (WebM)",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media",
        b"#!AMR": "AMR",
        b"MAC ": "Monkey's Audio",
        b"wvpk": "WavPack",
        b"TTA1": "True Audio",
        b"DSD ": "DSD",
        b"ajkg": "Shorten",
    }
    return next((name for start, name in beginnings.items() if head.startswith(start)), None)


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """All files below a folder in a fixed order, through links to folders but never twice into the same one."""

    def closed(error: OSError) -> None:
        skipped.append(Skipped(readable_name(error.filename), f"a folder that cannot be opened ({error.strerror})"))

    seen: set[str] = set()
    # Links are followed because corpora are often linked together; `seen` breaks their circles.
    for parent, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        # In place, which is how os.walk is told; sorted, because the order of a disk's entries is its own.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent, name)


def _attach_all(root: Path, cuts: Sequence[Cut], labels: dict[str, Labels], audio: set[str]) -> None:
    if labels:
        _attach_labels(readable_name(root), cuts, labels, audio)
    # Only without labels: what somebody wrote down counts more than what a layout suggests.
    elif people := librispeech_speakers(cut.id for cut in cuts):
        logger.info("%s: laid out like LibriSpeech, so the first folder names the speaker", readable_name(root))
        for cut in cuts:
            attach(cut, {"speaker": people[cut.id]})


def _attach_labels(source: str, cuts: Iterable[Cut], labels: dict[str, Labels], audio: set[str]) -> None:
    unlabelled = total = 0
    for cut in cuts:
        total += 1
        if row := labels.get(cut_place(cut)):
            attach(cut, row)
        else:
            unlabelled += 1
    if missing := sorted(set(labels) - audio):
        logger.warning("%s: %d labelled files are not there, the first is %s", source, len(missing), missing[0])
    if unlabelled:
        logger.warning("%s: %d of %d recordings have no row in a label file", source, unlabelled, total)
