"""A corpus: a folder of audio, a Lhotse cuts manifest or Lhotse Shar shards, as one list of Lhotse cuts."""

from __future__ import annotations

import hashlib
import logging
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lhotse import CutSet, Recording

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted
from speechpress.runtime.json_file import json_text
from speechpress.runtime.sound.sound_file import readable_name, wrong_length

from ..models.config import SAMPLE_RATE
from .audio import Cut, Skipped, UnreadableAudio, check_duration, cut_place, cut_samples, held_samples, read_samples
from .formats.cells import CELL
from .formats.choose import AUDIO, LHOTSE, SHAR, Source, other_cuts, parse_source, reading_of
from .labels import label, speakers
from .manifest import TOLERANCE_S, BadValue, parse_json, read_cut_line, text_lines
from .remote.cuts import remote_cuts
from .shar import shar_cuts
from .speech_folder import THREADS, read_files, read_folder

logger = logging.getLogger(__name__)

_LISTED = 5
# Decoded at a time, so that a recording of hours need not fit into memory.
_CHECKED_S = 60


@dataclass(frozen=True)
class Corpus:
    """Recordings that can be used, and those that cannot with the reason.

    Attributes:
        notes: what was found to be other than it says, and how it is read.
    """

    source: str
    cuts: CutSet
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def hours(self) -> float:
        return sum(cut.duration for cut in self.cuts) / 3600

    @cached_property
    def speakers(self) -> frozenset[str]:
        """Everybody who is known to speak; empty where nothing is known."""
        return frozenset(name for cut in self.cuts for name in speakers(cut))

    @cached_property
    def resampled(self) -> dict[int, int]:
        """How many cuts have another rate than 16 kHz, by rate in Hz."""
        return dict(Counter(cut.sampling_rate for cut in self.cuts if cut.sampling_rate != SAMPLE_RATE))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what the corpus holds: ids, sizes, lengths, rates, speakers and splits, not where it lies."""
        digest = hashlib.sha256()
        # Sorted, and without paths: the same speech in another place or order is the same corpus.
        for line in sorted(_fingerprint_line(cut) for cut in self.cuts):
            digest.update(line.encode())
        return digest.hexdigest()

    def describe(self) -> str:
        """One line for people: how much there is, and what was left out."""
        people = f", {counted(len(self.speakers), 'speaker')}" if self.speakers else ""
        text = f"{self.source}: {counted(len(self.cuts), 'recording')}, {self.hours:.2f} h{people}"
        if self.resampled:
            text += f"; {resampling_note(self)}"
        text += "".join(f"; {note}" for note in self.notes)
        return text + (f"; {len(self.skipped)} skipped ({list_skipped(self.skipped)})" if self.skipped else "")


def open_corpus(*sources: str | Path, check: bool = False) -> Corpus:
    """Open one or several sources as one corpus, ordered by id.

    A source may lie elsewhere (s3://, gs://, https://): Shar shards or a Lhotse cuts manifest, see `remote`.
    Here it is a folder of audio (searched recursively, names that start with a dot left out; what is audio is decided
    by content), one audio file, a Lhotse cuts manifest (.jsonl, .jsonl.gz), a folder of Lhotse Shar shards (read at
    random from their tar files), or a corpus in one of the formats of `formats.choose`, which may be named in front
    (`kaldi:PATH`, `commonvoice:PATH#train`). Labels of a folder come from every `labels.tsv`, `metadata.csv` or
    `metadata.jsonl` in it. Of several sources, ids and speakers get the source's name in front.

    Args:
        sources: what to open.
        check: decode everything now, rather than meet a damaged file in training.

    Raises:
        SpeechpressError: nothing usable there, or a manifest or label file that is not well formed.
    """
    corpora = [_open_one(parse_source(source)) for source in sources]
    corpus = corpora[0] if len(corpora) == 1 else _join(corpora)
    if check:
        corpus = _decode_all(corpus)
    if not len(corpus.cuts):
        raise SpeechpressError(
            f"{corpus.source}: none of its {len(corpus.skipped)} recordings can be used: {list_skipped(corpus.skipped)}"
        )
    if corpus.skipped:
        logger.warning(
            "%s: %d recordings skipped: %s", corpus.source, len(corpus.skipped), list_skipped(corpus.skipped)
        )
    for note in [*([resampling_note(corpus)] if corpus.resampled else []), *corpus.notes]:
        logger.warning("%s: %s", corpus.source, note)
    return corpus


def list_skipped(skipped: Sequence[Skipped]) -> str:
    """The first few of the recordings that were left out, with reasons."""
    named = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:_LISTED])
    return named + (f"; and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else "")


def resampling_note(corpus: Corpus) -> str:
    rates = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(corpus.resampled.items()))
    return f"{sum(corpus.resampled.values())} of {len(corpus.cuts)} recordings are resampled to 16 kHz ({rates})"


def _open_one(named: Source) -> Corpus:
    if named.address is not None:
        return _of_manifest(named.name, remote_cuts(named.address, named.reading))
    source, name = named.path, readable_name(named.path)
    try:
        mode = source.stat().st_mode
    # stat raises ValueError at a name with a NUL byte in it.
    except (OSError, ValueError) as error:
        wanted = "Give a folder of audio, a Lhotse manifest, Shar shards, or a corpus of another toolkit"
        found = isinstance(error, OSError) and error.strerror
        absent = not found or isinstance(error, FileNotFoundError)
        raise SpeechpressError(f"{name}: {'no such file or folder' if absent else found}. {wanted}") from error
    reading = reading_of(named)
    if reading == SHAR:
        return _of_manifest(named.name, shar_cuts(source))
    if reading == LHOTSE:
        return _of_manifest(named.name, _manifest_cuts(source))
    if reading != AUDIO:
        return _read_as(reading, named)
    if stat.S_ISDIR(mode):
        return _of_files(source, *read_folder(source))
    cuts, skipped = read_files(source.parent, [source], {})
    # Other reasons (too short, no samples) are about sound, and better than a list of what might be opened.
    if skipped and "not readable" in skipped[0].reason:
        raise SpeechpressError(
            f"{name}: neither audio that libsndfile reads nor a Lhotse cuts manifest (.jsonl, .jsonl.gz); "
            f"{skipped[0].reason}"
        )
    return _of_files(source, cuts, skipped)


def _read_as(reading: str, named: Source) -> Corpus:
    """A corpus of another toolkit, with a note on how it is read where that was not said."""
    corpus = _of_manifest(named.name, other_cuts(named, reading))
    if named.reading is None:
        logger.info("%s: read as %s, by its layout and content", corpus.source, reading)
    return corpus


def _of_files(source: Path, cuts: list[Cut], skipped: Sequence[Skipped]) -> Corpus:
    """A corpus of files, with a note on those mp3s whose headers are wrong about their length."""
    wrong = [found for cut in cuts if (found := wrong_length(cut_place(cut)))]
    notes: tuple[str, ...] = ()
    if wrong:
        claimed_s, held_s = (sum(getattr(item, name) for item in wrong) for name in ("claimed_s", "held_s"))
        notes = (
            f"{len(wrong)} mp3 files say that they last {claimed_s:.1f} s and hold {held_s:.1f} s, all of which is "
            f"read; the first is {min(item.path for item in wrong)}",
        )
    return _sorted(readable_name(source), cuts, skipped, notes)


def _manifest_cuts(path: Path) -> Iterator[tuple[str, Cut | Skipped]]:
    """(file:line, cut or why it is left out) for every line of a Lhotse manifest."""
    for line, text in text_lines(path):
        where = f"{readable_name(path)}:{line}"
        try:
            yield where, read_cut_line(parse_json(text), where, path.parent)
        except UnreadableAudio as error:
            yield where, error.skipped
        except BadValue as error:
            raise SpeechpressError(f"{where}: not a line of a Lhotse cuts manifest ({error})") from error


def _of_manifest(name: str, items: Iterator[tuple[str, Cut | Skipped]]) -> Corpus:
    """Check what a manifest says against the files that it names."""
    cuts: dict[str, Cut] = {}
    skipped = []
    for where, item in items:
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        # Crops are drawn by id: two cuts of one id would always be heard alike.
        if item.id in cuts:
            raise SpeechpressError(f"{where}: the id {item.id!r} occurs twice; ids must be unique")
        cuts[item.id] = item
    if not cuts and not skipped:
        raise SpeechpressError(f"{name}: holds no cuts")
    kept, bad, notes = _fitted(list(cuts.values()))
    return _sorted(name, kept, [*skipped, *bad], notes)


def _fitted(cuts: list[Cut]) -> tuple[list[Cut], list[Skipped], tuple[str, ...]]:
    """Cuts that end where their recordings do, what cannot be used, and a note on what the manifest has wrong.

    Like Lhotse, half a second of difference is tolerated (decoders of mp3 differ in what they cut off); unlike it, what
    is missing is not filled up: the cut ends there.
    """
    lengths = _lengths(cuts)
    kept, bad, off_s = [], [], {}
    for cut in cuts:
        held = lengths[_sound_of(cut)]
        try:
            if isinstance(held, Skipped):
                raise UnreadableAudio(held.path, held.reason)
            beyond = _fit(cut, held)
            check_duration(cut_place(cut), cut.duration)
        except UnreadableAudio as error:
            bad.append(error.skipped)
            continue
        if off := (held - cut.recording.num_samples) or -beyond:
            off_s[_sound_of(cut)] = abs(off) / cut.sampling_rate
        kept.append(cut)
    if not off_s:
        return kept, bad, ()
    note = (
        f"{len(off_s)} recordings are longer or shorter than their manifest says, by up to {max(off_s.values()):.3f} s"
    )
    return kept, bad, (f"{note}; cuts end where their recordings do",)


def _fit(cut: Cut, held: int) -> int:
    """End a cut where its recording of so many samples ends; how many samples it would have gone on."""
    start, end = round(cut.start * cut.sampling_rate), round((cut.start + cut.duration) * cut.sampling_rate)
    if end <= held:
        return 0
    if end - held > TOLERANCE_S * cut.sampling_rate:
        said = f"its manifest has a cut until {end / cut.sampling_rate:.3f} s"
        raise UnreadableAudio(cut_place(cut), f"lasts {held / cut.sampling_rate:.3f} s, but {said}")
    # What is left may be nothing; `check_duration` tells that afterwards.
    cut.duration = max(0, held - start) / cut.sampling_rate
    return end - held


_Sound = tuple[str, int, int, str]


def _sound_of(cut: Cut) -> _Sound:
    """What tells apart the recordings whose length is looked up."""
    recording = cut.recording
    sources = [(str(source.source), tuple(source.channels)) for source in recording.sources]
    return repr(sources), recording.sampling_rate, recording.num_samples, repr(recording.transforms)


def _lengths(cuts: Sequence[Cut]) -> dict[_Sound, int | Skipped]:
    """Samples that recordings really have; as they say inside of tars and tables, where they were just looked at.

    In Shar shards Lhotse wrote the lengths after decoding.
    """

    def look(recording: Recording) -> int | Skipped:
        if any(source.type in ("shar", CELL) for source in recording.sources):
            return int(recording.num_samples)
        try:
            return held_samples(recording)
        except UnreadableAudio as error:
            return error.skipped

    # Many cuts lie in one recording, whose file is opened once; threads, because opening waits for the disk.
    recordings = {_sound_of(cut): cut.recording for cut in cuts}
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(recordings, pool.map(look, recordings.values()), strict=True))


def _sorted(name: str, cuts: list[Cut], skipped: Sequence[Skipped], notes: tuple[str, ...] = ()) -> Corpus:
    ordered = CutSet.from_cuts(sorted(cuts, key=lambda cut: cut.id))
    return Corpus(name, ordered, tuple(sorted(skipped, key=lambda item: item.path)), notes)


def _join(corpora: Sequence[Corpus]) -> Corpus:
    if not corpora:
        raise SpeechpressError("no audio given. Give a folder of audio, a Lhotse manifest or Shar shards")
    names = [Path(corpus.source).resolve().name for corpus in corpora]
    # a/train and b/train would give the same ids to different speech.
    if len(set(names)) < len(names):
        names = [f"{index}-{name}" for index, name in enumerate(names)]
    for name, corpus in zip(names, corpora, strict=True):
        for cut in corpus.cuts:
            cut.id = f"{name}/{cut.id}"
            for supervision in cut.supervisions:
                # Nobody stays nobody: a name made of the source alone would make one speaker of all unknown ones.
                supervision.speaker = supervision.speaker and f"{name}/{supervision.speaker}"
    cuts = [cut for corpus in corpora for cut in corpus.cuts]
    skipped = [item for corpus in corpora for item in corpus.skipped]
    notes = tuple(f"{corpus.source}: {note}" for corpus in corpora for note in corpus.notes)
    return replace(_sorted("", cuts, skipped, notes), source=" + ".join(corpus.source for corpus in corpora))


def _decode_all(corpus: Corpus) -> Corpus:
    def look(cut: Cut) -> Skipped | None:
        try:
            samples, step = cut_samples(cut), _CHECKED_S * SAMPLE_RATE
            for start in range(0, samples, step):
                read_samples(cut, start, min(step, samples - start))
        except UnreadableAudio as error:
            return error.skipped
        return None

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(look, corpus.cuts))
    good = [cut for cut, item in zip(corpus.cuts, found, strict=True) if item is None]
    bad = [item for item in found if item is not None]
    return replace(corpus, cuts=CutSet.from_cuts(good), skipped=(*corpus.skipped, *bad))


def _fingerprint_line(cut: Cut) -> str:
    sizes = [_size_bytes(source.type, source.source) for source in cut.recording.sources]
    said = (sorted(speakers(cut)), label(cut, "split"))
    return json_text([cut.id, sizes, cut.start, cut.duration, cut.sampling_rate, cut.channel, *said], ascii=True) + "\n"


def _size_bytes(kind: str, source: Any) -> int:
    if kind == "file":
        return Path(source).stat().st_size
    if kind in ("shar", CELL):
        return int(str(source).rsplit(":", 1)[1])
    return len(source)
