"""What a table of another toolkit says of one recording, and how it becomes a cut.

Such a table is somebody else's file: what would run, connect, or lead out of its corpus is left out with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from lhotse import AudioSource, MonoCut, MultiCut, Recording

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio, readable_name

from ..audio import Cut, probe, probe_bytes
from ..labels import Labels, attach
from ..manifest import MAX_S, TOLERANCE_S

Found = tuple[str, Cut | Skipped]
T = TypeVar("T")

# The columns in which others keep what was said and who spoke; the first that is there counts.
_TEXTS = ("text", "sentence", "transcription", "transcript", "normalized_text")
_SPEAKERS = ("speaker", "speaker_id", "client_id")
_PATH_LETTERS = 4096
# One slash too: two are one in a path that was put together.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|pipe:")


@dataclass(frozen=True)
class Entry:
    """One line: a file, or a part of it.

    Attributes:
        where: the table and the line, for people.
        duration_s: None for all that is left of the recording.
        samples: how many samples the whole file has by what the line says, at its own rate.
    """

    where: str
    id: str
    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    samples: int | None = None
    labels: Labels = field(default_factory=dict)


def file_cuts(entries: Iterable[Entry | tuple[str, Skipped]], threads: int = 8) -> Iterator[Found]:
    """Cuts of files, each of which is looked into once, in the order of the entries."""
    listed = list(entries)
    paths = list(dict.fromkeys(item.path for item in listed if isinstance(item, Entry)))

    def look(path: str) -> Recording | Skipped:
        try:
            return probe(path, readable_name(path))
        except UnreadableAudio as error:
            return error.skipped

    with ThreadPoolExecutor(threads) as pool:
        looked = dict(zip(paths, pool.map(look, paths), strict=True))
    for item in listed:
        if isinstance(item, Entry):
            yield item.where, _cut(item, looked[item.path])
        else:
            yield item


def held_cut(content: bytes, where: str, cut_id: str, source: AudioSource, labels: Labels) -> Found:
    """The cut of a sound that lies inside a larger file, at `source`."""
    try:
        return where, labelled(probe_bytes(content, where, cut_id, source).to_cut(), labels)
    except UnreadableAudio as error:
        return where, error.skipped


def labelled(cut: Cut, labels: Labels) -> Cut:
    """With speaker and text under Lhotse's names, whatever their columns are called."""
    rest = {name: value for name, value in labels.items() if value}
    for name, others in (("text", _TEXTS), ("speaker", _SPEAKERS)):
        found = next((rest.pop(other) for other in others if other in rest), None)
        if found is not None:
            rest[name] = found
    if rest:
        attach(cut, rest)
    return cut


def _cut(entry: Entry, recording: Recording | Skipped) -> Cut | Skipped:
    if isinstance(recording, Skipped):
        return Skipped(entry.where, f"{recording.path}: {recording.reason}")
    said = recording.num_samples if entry.samples is None else entry.samples
    # What the table says stands in the recording, and is held against the file with all other manifests' lengths.
    recording = replace(recording, id=entry.id, num_samples=said, duration=said / recording.sampling_rate)
    left_s = recording.duration - entry.start_s
    duration_s = left_s if entry.duration_s is None else entry.duration_s
    if left_s <= 0 or duration_s > left_s + TOLERANCE_S:
        end_s = entry.start_s + max(0.0, duration_s)
        return Skipped(
            entry.where, f"asks for sound until {end_s:.3f} s, but its file ends at {recording.duration:.3f}"
        )
    cut = recording.to_cut()
    kind = MultiCut if isinstance(cut, MultiCut) else MonoCut
    part = kind(entry.id, entry.start_s, min(duration_s, left_s), cut.channel, recording=recording)
    return labelled(part, entry.labels)


def checked_path(text: str, where: str, inside: bool) -> str:
    """A path as a table gives it, if it may be opened.

    Args:
        text: the path.
        where: the table and the line, for people.
        inside: whether it has to stay below the folder it is relative to.

    Raises:
        UnreadableAudio: it would run, connect, wait, or lead out of its corpus.
    """
    if not text or "\0" in text or len(text) > _PATH_LETTERS:
        raise UnreadableAudio(where, "names no file" if not text else "names what cannot be a file")
    if text.rstrip().endswith("|") or text.lstrip().startswith("|"):
        raise UnreadableAudio(where, f"would run a shell command to get its audio, which is refused: {_short(text)}")
    if text.strip() == "-":
        raise UnreadableAudio(where, "would read its audio from standard input, which is refused")
    if _ADDRESS.match(text.strip()):
        raise UnreadableAudio(
            where, f"would open an address to get its audio, which is refused: download it first: {_short(text)}"
        )
    path = PurePosixPath(text.replace("\\", "/"))
    if inside and (path.is_absolute() or ".." in path.parts):
        raise UnreadableAudio(where, f"leads out of the corpus, which is refused: {_short(text)}")
    return text


def checked_span(start_s: float, end_s: float | None, where: str) -> tuple[float, float | None]:
    """(start, duration) in seconds; no end is the end of the recording. Raises SpeechpressError."""
    if not 0 <= start_s <= MAX_S or (end_s is not None and not start_s < end_s <= MAX_S):
        raise SpeechpressError(f"{where}: from {start_s} s to {end_s} s is not a part of a recording")
    return start_s, None if end_s is None else end_s - start_s


def chosen(parts: Mapping[str, T], part: str | None, said: str, reading: str) -> T:
    """The part of a corpus that was asked for, or its only one.

    Raises SpeechpressError when there are several and none was named, or another.
    """
    if part is not None:
        if part not in parts:
            raise SpeechpressError(f"{said}: has no part {part!r}, only {', '.join(sorted(parts)) or 'none'}")
        return parts[part]
    if len(parts) == 1:
        return next(iter(parts.values()))
    names = ", ".join(sorted(parts))
    raise SpeechpressError(
        f"{said}: has the parts {names}; say which one is meant: {reading}:{said}#{sorted(parts)[0]}"
        if parts
        else f"{said}: has no part that can be read as {reading}"
    )


def by_part(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the part that their names begin with: train-00000-of-00004.parquet is of "train"."""
    parts: dict[str, list[Path]] = {}
    for path in paths:
        stem = path.name.rsplit(".", 1)[0]
        name = re.sub(r"[-._]?\d+(-of-\d+)?(-[0-9a-f]{16})?$", "", stem)
        parts.setdefault(readable_name(name) or "all", []).append(path)
    return parts


def _short(text: str) -> str:
    shown = readable_name(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
