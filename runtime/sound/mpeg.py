"""MPEG audio frame by frame: how long an mp3 really is, and a copy of it whose header says so.

libsndfile believes the first frame of an mp3: a Xing header's count, or else the size of the file over the first bit
rate. Files of a variable rate without that header, and two files in one, end early that way, and nothing says so. The
chain of frame headers (ISO 11172-3, 2.4.2.3) cannot be wrong about it. So the frames are counted, and where libsndfile
counts otherwise, it is given the same frames behind a Xing header with the right number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from mmap import mmap
from typing import TypeAlias

_MPEG1, _MPEG2, _MPEG25 = 3, 2, 0
_RATES = {_MPEG1: (44_100, 48_000, 32_000), _MPEG2: (22_050, 24_000, 16_000), _MPEG25: (11_025, 12_000, 8_000)}
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_LAYER_3, _MONO = 1, 3
_HEADER_BYTES = 4
_COUNT, _SIZE = 1, 2  # flags of a Xing header: it has the number of frames, of bytes
# Layer III of MPEG 2.5, 2 and 1, with a checksum and without; then any bit rate but "free" and the forbidden one.
_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)
_IN_A_ROW = 3  # so many frames are no accident of other bytes
_TRIES, _BREAKS = 100_000, 10_000  # of finding a frame behind damage, so that no file takes for ever

Data: TypeAlias = bytes | mmap


@dataclass(frozen=True)
class Header:
    """One frame of layer III: its rate in Hz, channels, samples per channel and bytes."""

    version: int
    rate: int
    channels: int
    samples: int
    size_bytes: int

    @property
    def kind(self) -> tuple[int, int]:
        """What must not change within one recording."""
        return self.rate, self.channels

    @property
    def side_bytes(self) -> int:
        """Bytes of side information, behind which a Xing tag lies."""
        if self.version == _MPEG1:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17


@dataclass(frozen=True)
class Frames:
    """The audio frames of a file, in its order.

    Attributes:
        header: of the first one.
        count: how many there are.
        spans: (begin, end) in bytes of frames that follow each other without a gap.
        others: frames of another rate or number of channels, which are not among them.
        claimed: how many there are by the file's Xing header; None where there is none.
    """

    header: Header
    count: int
    spans: tuple[tuple[int, int], ...]
    others: int
    claimed: int | None

    @property
    def samples(self) -> int:
        """Samples per channel, an encoder's padding included."""
        return self.count * self.header.samples

    @property
    def others_s(self) -> float:
        return self.others * self.header.samples / self.header.rate


def parse_header(data: Data, place: int) -> Header | None:
    """The frame header at an offset; None where there is none of layer III."""
    if place + _HEADER_BYTES > len(data) or data[place] != 0xFF or data[place + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[place + 1] >> 3 & 3, data[place + 1] >> 1 & 3
    kbits, rate = data[place + 2] >> 4, data[place + 2] >> 2 & 3
    # Version 1 and rate 3 are reserved, bit rate 15 is forbidden; 0 is free, so that the frame has no known size.
    if layer != _LAYER_3 or version == 1 or kbits in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    samples = 1152 if version == _MPEG1 else 576
    bits = 1000 * (_KBITS_1 if version == _MPEG1 else _KBITS_2)[kbits]
    size_bytes = samples // 8 * bits // hertz + (data[place + 2] >> 1 & 1)
    return Header(version, hertz, 1 if data[place + 3] >> 6 == _MONO else 2, samples, size_bytes)


def find_frames(data: Data) -> Frames | None:
    """Every audio frame of an mp3; None if it holds none. Tags, Xing headers and damaged bytes are stepped over."""
    first, claimed, count, others = None, None, 0, 0
    spans: list[tuple[int, int]] = []
    for place, header in _chain(data):
        if (tag := _tag_place(data, place, header)) is not None:
            # Of two joined files each has a tag; the first is the one that libsndfile believes.
            claimed = _claimed(data, tag) if first is None else claimed
            continue
        first = first or header
        if header.kind != first.kind:
            others += 1
            continue
        count += 1
        begin = spans.pop()[0] if spans and spans[-1][1] == place else place
        spans.append((begin, place + header.size_bytes))
    return None if first is None else Frames(first, count, tuple(spans), others, claimed)


def with_true_header(data: Data, frames: Frames) -> bytes:
    """The same frames behind a Xing header that gives their number, and nothing else."""
    first = frames.spans[0][0]
    head = bytearray(data[first : first + _HEADER_BYTES])
    head[1] |= 1  # no checksum
    # Such a frame has room for its side information and the tag at every sample rate.
    head[2] = (9 if frames.header.version == _MPEG1 else 8) << 4 | head[2] & 0b1100  # 128 or 64 kbit/s, no padding
    header = parse_header(bytes(head), 0)
    assert header is not None
    size_bytes = header.size_bytes + sum(end - begin for begin, end in frames.spans)
    tag = b"Xing" + b"".join(number.to_bytes(4, "big") for number in (_COUNT | _SIZE, frames.count, size_bytes))
    front = (bytes(head) + bytes(header.side_bytes) + tag).ljust(header.size_bytes, b"\0")
    return front + b"".join(data[begin:end] for begin, end in frames.spans)


def _chain(data: Data) -> Iterator[tuple[int, Header]]:
    """(offset, header) of every frame; where the chain breaks, it goes on where the next three frames follow."""
    place: int | None = 0 if _follow(data, 0) else _resynchronise(data, _behind_id3(data, 0))
    breaks = 0
    while place is not None:
        header = parse_header(data, place)
        if header is None:
            place = _resynchronise(data, _behind_id3(data, place)) if breaks < _BREAKS else None
            breaks += 1
            continue
        # A frame that is cut short cannot be decoded.
        if place + header.size_bytes > len(data):
            return
        yield place, header
        place += header.size_bytes


def _behind_id3(data: Data, place: int) -> int:
    """Where an ID3v2 tag ends, if one begins here: its pictures may look like frames."""
    if data[place : place + 3] != b"ID3" or len(data) < place + 10:
        return place
    size = 0
    for byte in data[place + 6 : place + 10]:
        # 7 bits a byte, so that no size looks like the beginning of a frame.
        size = size << 7 | byte & 0x7F
    footer = 10 if data[place + 5] & 0x10 else 0
    return place + 10 + size + footer


def _resynchronise(data: Data, place: int) -> int | None:
    for match in islice(_SYNC.finditer(data, place), _TRIES):
        if _follow(data, match.start()):
            return match.start()
    return None


def _follow(data: Data, place: int) -> bool:
    """Whether several frames of one kind follow each other from here on, or until the end of the data."""
    kind = None
    for index in range(_IN_A_ROW):
        header = parse_header(data, place)
        if header is None or kind not in (None, header.kind):
            # A short sound may end before there are three of them.
            return index > 0 and place == len(data)
        kind = header.kind
        place += header.size_bytes
    return True


def _tag_place(data: Data, place: int, header: Header) -> int | None:
    """Where a frame carries a table of contents instead of sound; None for sound."""
    behind = place + _HEADER_BYTES + header.side_bytes
    for tag in (behind, behind + 2):  # two bytes of a checksum may lie before it
        if data[tag : tag + 4] in (b"Xing", b"Info"):
            return tag
    # Fraunhofer's tag always lies 32 bytes behind the header, whatever the side information.
    vbri = place + _HEADER_BYTES + 32
    return vbri if data[vbri : vbri + 4] == b"VBRI" else None


def _claimed(data: Data, tag: int) -> int | None:
    if data[tag : tag + 4] == b"VBRI" or not int.from_bytes(data[tag + 4 : tag + 8], "big") & _COUNT:
        return None
    return int.from_bytes(data[tag + 8 : tag + 12], "big")
