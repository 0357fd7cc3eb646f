"""One shard of Lhotse Shar: recordings as FLAC, 16 kHz, mono in a tar, their cuts in a table, and facts of both.

Shapes: S samples.

The same recordings give the same bytes, whenever and wherever they are written. The facts come last: where they stand,
the shard is whole. Lhotse reads a folder of shards by the first word of each file's name and, for cuts, by ".jsonl", so
all else here is named cuts.*.json.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from lhotse import AudioSource, MonoCut, Recording
from lhotse.utils import fastcopy

from speechpress.runtime.atomic import atomic, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json
from speechpress.runtime.sound.sound_file import Skipped, UnreadableAudio

from ...models.config import SAMPLE_RATE
from ..audio import Cut, cut_samples, read_samples

_FULL = 32_768


@dataclass
class Written:
    """What came of a shard.

    Attributes:
        attenuated: ids of recordings beyond full scale, which FLAC cannot hold; they are made quieter as a whole.
    """

    cuts: int = 0
    audio_s: float = 0.0
    skipped: list[Skipped] = field(default_factory=list)
    attenuated: list[str] = field(default_factory=list)


class Shard:
    """The files of one shard in a folder."""

    def __init__(self, out: Path, number: int) -> None:
        self.number = number
        self.tar = out / f"recording.{number:06d}.tar"
        self.cuts = out / f"cuts.{number:06d}.jsonl.gz"
        self.facts = out / f"cuts.{number:06d}.json"

    def written(self, work: str) -> Written | None:
        """What came of it, if it was written whole by the same `work` (a hash) and is still there."""
        if not self.facts.is_file():
            return None
        try:
            facts = read_json(self.facts, "")
            found = Written(int(facts["cuts"]), float(facts["audio_s"]), attenuated=list(facts["attenuated"]))
            found.skipped = [Skipped(item["path"], item["reason"]) for item in facts["skipped"]]
            same = facts["work"] == work and facts["bytes"] == self._sizes()
        except (SpeechpressError, KeyError, TypeError, ValueError, OSError):
            return None  # damaged facts prove nothing, so the shard is made again
        return found if same else None

    def write(self, cuts: Sequence[Cut], work: str, heard: Callable[[float], None]) -> Written:
        """Read the recordings and write the shard; `heard` is called with the seconds of each.

        Raises SpeechpressError when the disk is full or cannot be written to.
        """
        written, lines = Written(), list[dict[str, Any]]()
        self.facts.unlink(missing_ok=True)
        with atomic(self.tar) as part, part.open("wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            for cut in cuts:
                line = self._add(archive, cut, written)
                lines += [line] if line else []
                heard(cut.duration)
        if lines:
            self._write_lines(lines)
        else:
            # Nothing of it could be read; a table without lines is more than some readers can take.
            self.tar.unlink()
            self.cuts.unlink(missing_ok=True)
        skipped = [{"path": item.path, "reason": item.reason} for item in written.skipped]
        facts = {"cuts": written.cuts, "audio_s": written.audio_s, "attenuated": written.attenuated}
        write_json(self.facts, {"work": work, **facts, "skipped": skipped, "bytes": self._sizes()})
        return written

    def _sizes(self) -> list[int]:
        return [path.stat().st_size if path.is_file() else 0 for path in (self.tar, self.cuts)]

    def _add(self, archive: tarfile.TarFile, cut: Cut, written: Written) -> dict[str, Any] | None:
        try:
            samples = read_samples(cut, 0, cut_samples(cut))
        except UnreadableAudio as error:
            written.skipped.append(error.skipped)
            return None
        name = shard_id(cut.id)
        quieter = _within_full_scale(samples)
        if quieter is not samples:
            written.attenuated.append(name)
        recording = _recording(name, len(samples))
        _put(archive, f"{name}.flac", flac(quieter))
        _put(archive, f"{name}.json", json_text(recording.to_dict()).encode())
        written.cuts += 1
        written.audio_s += len(samples) / SAMPLE_RATE
        supervisions = [fastcopy(item, recording_id=name, channel=0) for item in cut.supervisions]
        return MonoCut(name, 0.0, recording.duration, 0, supervisions=supervisions, recording=recording).to_dict()

    def _write_lines(self, lines: Sequence[dict[str, Any]]) -> None:
        packed = io.BytesIO()
        # Without a name and a time inside: the same cuts give the same file.
        with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
            file.writelines((json_text(line) + "\n").encode() for line in lines)
        with atomic(self.cuts) as part:
            part.write_bytes(packed.getvalue())


def shard_id(cut_id: str) -> str:
    """An id as the name of a file in a tar that leads nowhere when the tar is unpacked."""
    parts = [part for part in cut_id.split("/") if part not in ("", ".")]
    return "/".join(part.replace("..", "%2E%2E") if part == ".." else part for part in parts) or "%"


def flac(samples: np.ndarray) -> bytes:
    """(S,) float32 within full scale, as 16-bit FLAC; what was 16 bits before is so again, bit by bit."""
    file: BinaryIO = io.BytesIO()
    whole = np.clip(np.rint(samples * _FULL), -_FULL, _FULL - 1).astype(np.int16)
    soundfile.write(file, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    file.seek(0)
    return file.read()


def _within_full_scale(samples: np.ndarray) -> np.ndarray:
    peak = float(np.abs(samples).max())
    return samples if peak <= 1 else samples / np.float32(peak)


def _recording(name: str, samples: int) -> Recording:
    # The form of Lhotse's placeholder: the audio is beside it in the tar.
    return Recording(name, [AudioSource("shar", [0], "")], SAMPLE_RATE, samples, samples / SAMPLE_RATE)


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
