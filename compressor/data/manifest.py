"""Lhotse manifests, read strictly: a line becomes a plain cut, or an error that names the key.

A manifest is somebody else's file. Lhotse builds whatever object a line names, and some of those run a shell command or
open an address when their audio is read. Here only what a plain cut needs is taken over, every value is checked for its
type and its bounds, and a line with a command, an address or a transform that is not followed, however deep, is left
out.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from lhotse import AudioSource, MonoCut, MultiCut, Recording, SupervisionSegment

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text
from speechpress.runtime.regular import open_regular
from speechpress.runtime.sound.sound_file import MAX_CHANNELS, MAX_RATE, MIN_RATE, UnreadableAudio, readable_name

from .audio import Cut
from .remote.address import Beside
from .transforms import ALLOWED, RefusedTransform, parse_transforms

LINE_BYTES = 8 << 20
_UNPACKED_BYTES, _UNPACKED_TIMES = 2 << 20, 250  # real manifests shrink to a tenth or a thirtieth
MAX_S = 1e6  # 11 days
_MAX_SAMPLES = 1 << 40
_TEXT_LETTERS = 1 << 16
# Lhotse's own: decoders of mp3 differ in what they cut off.
TOLERANCE_S = 0.5

T = TypeVar("T")
# Of a manifest: where it lies here, or elsewhere; none inside of Shar shards.
Folder = Path | Beside | None


class BadValue(ValueError):
    """A value of a manifest that cannot be; the text begins with its key."""


def text_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) of a file of text, unpacked if its name ends with .gz; blank lines are left out.

    Raises:
        SpeechpressError: no regular file, damaged, a line longer than any manifest's, or packed beyond all reason.
    """
    said = readable_name(path)
    if not path.is_file():
        raise SpeechpressError(f"{said}: is not a regular file")
    try:
        with open_regular(path) as file:
            yield from lines_of(file, said, packed=path.suffix == ".gz")
    except OSError as error:
        raise SpeechpressError(f"{said}:1: cannot be read ({error})") from error


def lines_of(source: BinaryIO, said: str, packed: bool) -> Iterator[tuple[int, bytes]]:
    """The same of an open file that `said` names. Raises SpeechpressError."""
    number = 0
    try:
        file: Any = gzip.GzipFile(fileobj=source) if packed else source
        for number, line in enumerate(_bounded(said, file, source), 1):
            if not line.isspace():
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise SpeechpressError(f"{said}:{number + 1}: cannot be read ({error})") from error


def _bounded(said: str, file: BinaryIO, packed: BinaryIO) -> Iterator[bytes]:
    number = unpacked = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        unpacked += len(line)
        if len(line) > LINE_BYTES:
            raise SpeechpressError(f"{said}:{number}: longer than {LINE_BYTES >> 20} MiB, which no line of text is")
        # While it is read, not at its end: a small gzip can unpack to more than any disk holds.
        if unpacked > max(_UNPACKED_BYTES, _UNPACKED_TIMES * packed.tell()):
            raise SpeechpressError(f"{said}:{number}: packed more than {_UNPACKED_TIMES} times, which no manifest is")
        yield line


def parse_json(line: bytes) -> dict[str, Any]:
    """An object of strict JSON. Raises BadValue for anything else, however it is made."""
    try:
        # Python's reader takes NaN and Infinity by default, which no other reader of JSON has to.
        data = json.loads(line.decode(), parse_constant=_no_constant)
    except RecursionError as error:
        raise BadValue("nested too deeply") from error
    except ValueError as error:
        raise BadValue(str(error)) from error
    if not isinstance(data, dict):
        raise BadValue(f"is {_kind(data)}, not an object")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_cut_line(data: dict[str, Any], where: str, folder: Folder) -> Cut:
    """The cut that a line describes; a recording becomes the cut of all of it.

    Args:
        data: the line.
        where: its file and number, for people.
        folder: that of the manifest, beside which files may lie, here or elsewhere; None in a Shar shard, whose audio
            is in its tar file.

    Raises:
        BadValue: it describes nothing.
        UnreadableAudio: it describes what is not read: padding and mixtures, commands, addresses, other transforms.
    """
    refuse_inside(data, where, elsewhere=isinstance(folder, Beside))
    if "sources" in data:
        recording = read_recording(data, "", where, folder)
        return recording.to_cut()
    kind = data.get("type")
    if kind in ("MixedCut", "PaddingCut"):
        raise UnreadableAudio(where, f"a {kind}, but only plain cuts are read (lhotse: cuts.save_audios)")
    if kind not in ("MonoCut", "MultiCut", "Cut"):
        raise BadValue("has neither the type of a cut nor the sources of a recording")
    recording = None
    if data.get("recording") is not None:
        recording = read_recording(_object(data["recording"], "recording"), "recording.", where, folder)
    cut = _cut(data, recording, kind == "MultiCut")
    if recording is None and folder is not None:
        raise UnreadableAudio(where, f"cut {cut.id!r} has no recording")
    return cut


def refuse_inside(data: Any, where: str, elsewhere: bool = False) -> None:
    """Raises UnreadableAudio if anything inside, however deep, would run, connect, or transform by other code.

    Of a manifest that lies elsewhere itself, addresses are looked at where they are read, see `Beside`.
    """
    # A list of what waits, not recursion: how deep it goes is a stranger's choice.
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
            _refuse_sources(item.get("sources"), where, elsewhere)
            _refuse_transforms(item.get("transforms"), where)
        elif isinstance(item, list):
            waiting.extend(item)


def _refuse_sources(sources: Any, where: str, elsewhere: bool) -> None:
    for source in sources if isinstance(sources, list) else ():
        kind = source.get("type") if isinstance(source, dict) else None
        if kind == "command":
            raise UnreadableAudio(where, "would run a shell command to get its audio, which is refused")
        if kind == "url" and not elsewhere:
            raise UnreadableAudio(where, "would open an address to get its audio, which is refused: download it first")


def _refuse_transforms(transforms: Any, where: str) -> None:
    for transform in transforms if isinstance(transforms, list) else ():
        name = transform.get("name") if isinstance(transform, dict) else None
        if isinstance(name, str) and name not in ALLOWED:
            raise UnreadableAudio(
                where, f"has the transform {name[:60]!r}, which is refused; only {', '.join(ALLOWED)} are followed"
            )


def read_recording(data: dict[str, Any], key: str, where: str, folder: Folder) -> Recording:
    """A recording, whose own length and rate agree with each other. Raises as read_cut_line."""
    try:
        transforms = parse_transforms(data.get("transforms"))
    except RefusedTransform as error:
        raise BadValue(f"{key}transforms: {error}") from error
    sources = [
        _source(_object(item, f"{key}sources[{index}]"), f"{key}sources[{index}].", where, folder)
        for index, item in enumerate(_list(data, "sources", key))
    ]
    rate = _whole(data, "sampling_rate", key, MIN_RATE, MAX_RATE)
    samples = _whole(data, "num_samples", key, 0, _MAX_SAMPLES)
    duration_s = number_at(data, "duration", key, 0, MAX_S)
    if abs(duration_s - samples / rate) > TOLERANCE_S:
        raise BadValue(f"{key}duration: {duration_s} s, but {samples} samples at {rate} Hz are {samples / rate:.3f} s")
    channels = [channel for source in sources for channel in source.channels]
    if len(set(channels)) < len(channels):
        raise BadValue(f"{key}sources: channel {max(channels, key=channels.count)} occurs twice")
    kept = data["transforms"] if transforms else None
    return Recording(text_at(data, "id", key), sources, rate, samples, samples / rate, transforms=kept)


def _source(data: dict[str, Any], key: str, where: str, folder: Folder) -> AudioSource:
    kind, channels = text_at(data, "type", key), _channels(data, "channels", key)
    if folder is None:
        return AudioSource("shar", channels, "")
    if kind == "shar":
        raise UnreadableAudio(where, "is part of Shar shards: open their folder, not this file")
    if kind == "memory":
        raise UnreadableAudio(where, "has its audio in memory, which JSON cannot hold: save it to files")
    if isinstance(folder, Beside) and kind in ("file", "url"):
        named = path_at(data, "source", key)
        if (address := folder.address(named)) is None:
            raise UnreadableAudio(
                where, f"names {readable_name(named)[:80]}, which is not in its manifest's own bucket or on its host"
            )
        return AudioSource("shar", channels, address)
    if kind != "file" or isinstance(folder, Beside):
        raise BadValue(f"{key}type: {kind[:60]!r} is not a kind of source")
    return AudioSource("file", channels, beside(path_at(data, "source", key), folder))


def beside(source: str, folder: Path) -> str:
    """Files may be named relative to the manifest; Lhotse itself names them relative to the working folder."""
    # Lhotse's way first, so that a manifest that works there means the same here.
    beside = folder / source
    return str(beside) if not Path(source).is_file() and beside.is_file() else source


def _cut(data: dict[str, Any], recording: Recording | None, several: bool) -> Cut:
    start, duration = number_at(data, "start", "", 0, MAX_S), number_at(data, "duration", "", 0, MAX_S)
    listed = isinstance(data.get("channel"), list)
    if listed and not several:
        raise BadValue("channel: a list, but a MonoCut has one channel")
    channels = _channels(data, "channel", "") if listed else [_whole(data, "channel", "", 0, _LAST)]
    channel = channels if listed else channels[0]
    if recording is not None:
        check_inside(recording, channels, start + duration)
    given = data.get("supervisions")
    supervisions = [
        _supervision(_object(item, f"supervisions[{index}]"), f"supervisions[{index}].", channel)
        for index, item in enumerate(_list(data, "supervisions", "", empty=True) if given is not None else ())
    ]
    kind = MultiCut if several else MonoCut
    return kind(text_at(data, "id", ""), start, duration, channel, supervisions=supervisions, recording=recording)


def check_inside(recording: Recording, channels: list[int], end_s: float) -> None:
    there = {channel for source in recording.sources for channel in source.channels}
    if lacking := set(channels) - there:
        raise BadValue(f"channel: {min(lacking)}, but its recording has {', '.join(map(str, sorted(there)))}")
    if end_s > recording.duration + TOLERANCE_S:
        raise BadValue(f"duration: ends at {end_s:.3f} s, but its recording lasts {recording.duration:.3f} s")


def _supervision(data: dict[str, Any], key: str, channel: Any) -> SupervisionSegment:
    speaker = data.get("speaker")
    if isinstance(speaker, int) and not isinstance(speaker, bool):
        # bool, an int in Python, is left for the check of types to refuse.
        data = {**data, "speaker": str(speaker)}  # corpora that count their speakers
    custom = data.get("custom")
    return SupervisionSegment(
        id=text_at(data, "id", key),
        recording_id=text_at(data, "recording_id", key),
        # Counted from the cut's start, before which a supervision may begin.
        start=number_at(data, "start", key, -MAX_S, MAX_S),
        duration=number_at(data, "duration", key, -MAX_S, MAX_S),
        channel=channel,
        custom=None if custom is None else _plain(_object(custom, f"{key}custom")),
        **{name: text_at(data, name, key) for name in _SAID if data.get(name) is not None},
    )


def _plain(custom: dict[str, Any]) -> dict[str, Any]:
    """Labels are text and numbers; whole objects in a custom field are nothing that is read here."""
    return {name: value for name, value in custom.items() if isinstance(value, str | int | float)}


_SAID = ("text", "speaker", "language", "gender")
_LAST = MAX_CHANNELS - 1


def _get(data: dict[str, Any], name: str, key: str, right: Callable[[Any], bool], wanted: str) -> Any:
    if name not in data:
        raise BadValue(f"{key}{name}: is missing")
    if not right(data[name]):
        raise BadValue(f"{key}{name}: must be {wanted}, not {_kind(data[name])}")
    return data[name]


def _kind(value: Any) -> str:
    """A value for people: what it is where it is large, else itself."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    return json_text(value)[:60]


def text_at(data: dict[str, Any], name: str, key: str) -> str:
    return str(_get(data, name, key, _is_text, f"text of at most {_TEXT_LETTERS} letters, without half characters"))


def _is_text(value: Any) -> bool:
    return (
        # JSON can spell half of a surrogate pair, which no file in UTF-8 can hold afterwards.
        isinstance(value, str) and len(value) <= _TEXT_LETTERS and not any("\ud800" <= at <= "\udfff" for at in value)
    )


def path_at(data: dict[str, Any], name: str, key: str) -> str:
    return str(_get(data, name, key, _is_path, "the path of a file"))


def _is_path(value: Any) -> bool:
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def _whole(data: dict[str, Any], name: str, key: str, least: int, most: int) -> int:
    return int(_get(data, name, key, lambda value: _is_whole(value, least, most), f"a whole number {least} to {most}"))


def _is_whole(value: Any, least: int, most: int) -> bool:
    return _is_number(value, least, most) and value == int(value)


def number_at(data: dict[str, Any], name: str, key: str, least: float, most: float) -> float:
    wanted = f"a number from {least:g} to {most:g}"
    return float(_get(data, name, key, lambda value: _is_number(value, least, most), wanted))


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _channels(data: dict[str, Any], name: str, key: str) -> list[int]:
    listed = _list(data, name, key)
    if len(listed) > MAX_CHANNELS or not all(_is_whole(channel, 0, _LAST) for channel in listed):
        raise BadValue(f"{key}{name}: must be a list of channels, 0 to {_LAST}")
    if len(set(listed)) < len(listed):
        raise BadValue(f"{key}{name}: a channel occurs twice")
    return [int(channel) for channel in listed]


def _list(data: dict[str, Any], name: str, key: str, empty: bool = False) -> list[Any]:
    wanted = "a list" if empty else "a list that is not empty"
    return list(_get(data, name, key, lambda value: isinstance(value, list) and bool(empty or value), wanted))


def _object(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadValue(f"{key}: must be an object, not {_kind(value)}")
    return value
