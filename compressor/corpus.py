"""A corpus: a folder of audio, a Lhotse cuts manifest or Lhotse Shar shards, as one list of Lhotse cuts."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, MultiCut, Recording
from lhotse.serialization import deserialize_item

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular

from .audio import EXTENSIONS, Cut, Skipped, UnreadableAudio, check_duration, cut_place, probe, read_cut
from .config import SAMPLE_RATE
from .labels import LABEL_FILES, Labels, attach, label, librispeech_speakers, read_labels, speakers
from .shar import is_shar, shar_cuts

logger = logging.getLogger(__name__)

_PROBE_THREADS = 8
_LISTED = 5


@dataclass(frozen=True)
class Corpus:
    """Recordings that can be used, and those that cannot with the reason."""

    source: str
    cuts: CutSet
    skipped: tuple[Skipped, ...] = ()

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
        for line in sorted(_fingerprint_line(cut) for cut in self.cuts):
            digest.update(line.encode())
        return digest.hexdigest()

    def describe(self) -> str:
        """One line for people: how much there is, and what was left out."""
        people = f", {len(self.speakers)} speakers" if self.speakers else ""
        text = f"{self.source}: {len(self.cuts)} recordings, {self.hours:.2f} h{people}"
        if self.resampled:
            text += f"; {resampling_note(self)}"
        return text + (f"; {len(self.skipped)} skipped ({list_skipped(self.skipped)})" if self.skipped else "")


def open_corpus(*sources: str | Path, check: bool = False) -> Corpus:
    """Open one or several sources as one corpus, ordered by id.

    A source is a folder of audio (searched recursively, names that start with a dot left out), one audio file, a Lhotse
    cuts manifest (.jsonl, .jsonl.gz) or a folder of Lhotse Shar shards (read at random from their tar files). Labels of
    a folder come from every `labels.tsv` or `metadata.csv` in it. Of several sources, ids and speakers get the source's
    name in front.

    Args:
        sources: what to open.
        check: decode everything now, rather than meet a damaged file in training.

    Raises:
        SpeechpressError: nothing usable there, or a manifest or label file that is not well formed.
    """
    corpora = [_open_one(Path(source).expanduser()) for source in sources]
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
    if corpus.resampled:
        logger.warning("%s: %s", corpus.source, resampling_note(corpus))
    return corpus


def list_skipped(skipped: Sequence[Skipped]) -> str:
    """The first few of the recordings that were left out, with reasons."""
    named = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:_LISTED])
    return named + (f"; and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else "")


def resampling_note(corpus: Corpus) -> str:
    rates = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(corpus.resampled.items()))
    return f"{sum(corpus.resampled.values())} of {len(corpus.cuts)} recordings are resampled to 16 kHz ({rates})"


def _open_one(source: Path) -> Corpus:
    if source.is_dir():
        if is_shar(source):
            return _corpus(source, shar_cuts(source))
        return _open_folder(source)
    if not source.exists():
        raise SpeechpressError(
            f"{source}: no such file or folder. Give a folder of audio, a Lhotse manifest or Shar shards"
        )
    if source.suffix.lower() in EXTENSIONS:
        return _probe_all(source, source.parent, [source], {})
    if source.name.endswith((".jsonl", ".jsonl.gz")):
        return _corpus(source, _manifest_cuts(source))
    raise SpeechpressError(
        f"{source}: neither audio ({', '.join(EXTENSIONS)}) nor a Lhotse cuts manifest (.jsonl, .jsonl.gz)"
    )


def _open_folder(folder: Path) -> Corpus:
    """Walk a folder once for audio and label files, then look at every recording's header."""
    audio: list[Path] = []
    labels: dict[str, Labels] = {}
    for path in _walk(folder):
        if path.name in LABEL_FILES:
            labels.update(read_labels(path))
        elif path.suffix.lower() in EXTENSIONS:
            audio.append(path)
    if not audio:
        raise SpeechpressError(f"{folder}: no audio in it or below it; looked for {', '.join(EXTENSIONS)} in any case")
    return _probe_all(folder, folder, audio, labels)


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder in a fixed order, through links to folders but never twice into the same one."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent, name)


def _probe_all(source: Path, root: Path, audio: list[Path], labels: dict[str, Labels]) -> Corpus:
    def look(path: Path) -> Recording | Skipped:
        try:
            return probe(str(path), path.relative_to(root).as_posix())
        except UnreadableAudio as error:
            return error.skipped

    with ThreadPoolExecutor(_PROBE_THREADS) as pool:
        found = list(pool.map(look, audio))
    cuts = [item.to_cut() for item in found if isinstance(item, Recording)]
    if labels:
        _attach_labels(source, cuts, labels, {str(path) for path in audio})
    elif people := librispeech_speakers(cut.id for cut in cuts):
        logger.info("%s: laid out like LibriSpeech, so the first folder names the speaker", source)
        for cut in cuts:
            attach(cut, {"speaker": people[cut.id]})
    return _sorted(source, cuts, [item for item in found if isinstance(item, Skipped)])


def _attach_labels(source: Path, cuts: Sequence[Cut], labels: dict[str, Labels], audio: set[str]) -> None:
    for cut in cuts:
        if row := labels.get(cut_place(cut)):
            attach(cut, row)
    if missing := sorted(set(labels) - audio):
        logger.warning("%s: %d labelled files are not there, the first is %s", source, len(missing), missing[0])
    if unlabelled := sum(cut_place(cut) not in labels for cut in cuts):
        logger.warning("%s: %d of %d recordings have no row in a label file", source, unlabelled, len(cuts))


def _manifest_cuts(path: Path) -> Iterator[tuple[str, Any]]:
    """(file:line, item) for every line of a Lhotse manifest."""
    check_regular(path)
    opened: Any = gzip.open if path.suffix == ".gz" else open
    line = 0
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield f"{path}:{line}", _at_hand(deserialize_item(json.loads(text)), path.parent)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise SpeechpressError(f"{path}:{line}: not a line of a Lhotse cuts manifest ({error!r})") from error
    except (OSError, EOFError) as error:
        raise SpeechpressError(f"{path}:{line + 1}: cannot be read ({error})") from error


def _at_hand(item: Any, folder: Path) -> Any:
    """Find files that are named relative to the manifest; Lhotse itself names them relative to the working folder."""
    for source in getattr(getattr(item, "recording", item), "sources", ()):
        beside = folder / str(source.source)
        if source.type == "file" and not Path(source.source).is_file() and beside.is_file():
            source.source = str(beside)
    return item


def _corpus(source: Path, items: Iterator[tuple[str, Any]]) -> Corpus:
    """Check what a manifest says, line by line."""
    cuts: dict[str, Cut] = {}
    skipped = []
    for where, item in items:
        item = item.to_cut() if isinstance(item, Recording) else item
        try:
            cut = _usable(where, item)
        except UnreadableAudio as error:
            skipped.append(error.skipped)
            continue
        if cut.id in cuts:
            raise SpeechpressError(f"{where}: the id {cut.id!r} occurs twice; ids must be unique")
        cuts[cut.id] = cut
    if not cuts and not skipped:
        raise SpeechpressError(f"{source}: holds no cuts")
    return _sorted(source, list(cuts.values()), skipped)


def _usable(where: str, cut: Any) -> Cut:
    if not isinstance(cut, MonoCut | MultiCut):
        raise UnreadableAudio(where, f"a {type(cut).__name__}, but only plain cuts are read (lhotse: cuts.save_audios)")
    if not cut.has_recording:
        raise UnreadableAudio(where, f"cut {cut.id!r} has no recording")
    for source in cut.recording.sources:
        if source.type == "command":
            raise UnreadableAudio(where, "would run a shell command to get its audio, which is refused")
        if source.type == "shar" and not source.source:
            raise UnreadableAudio(where, "is part of Shar shards: open their folder, not this file")
        if source.type == "file" and not Path(source.source).is_file():
            raise UnreadableAudio(str(source.source), "no such file")
    check_duration(cut_place(cut), cut.duration)
    return cut


def _sorted(source: Path, cuts: list[Cut], skipped: Sequence[Skipped]) -> Corpus:
    ordered = CutSet.from_cuts(sorted(cuts, key=lambda cut: cut.id))
    return Corpus(str(source), ordered, tuple(sorted(skipped, key=lambda item: item.path)))


def _join(corpora: Sequence[Corpus]) -> Corpus:
    if not corpora:
        raise SpeechpressError("no audio was named. Give a folder of audio, a Lhotse manifest or Shar shards")
    names = [Path(corpus.source).resolve().name for corpus in corpora]
    if len(set(names)) < len(names):
        names = [f"{index}-{name}" for index, name in enumerate(names)]
    for name, corpus in zip(names, corpora, strict=True):
        for cut in corpus.cuts:
            cut.id = f"{name}/{cut.id}"
            for supervision in cut.supervisions:
                supervision.speaker = supervision.speaker and f"{name}/{supervision.speaker}"
    cuts = [cut for corpus in corpora for cut in corpus.cuts]
    skipped = [item for corpus in corpora for item in corpus.skipped]
    joined = _sorted(Path(), cuts, skipped)
    return Corpus(" + ".join(corpus.source for corpus in corpora), joined.cuts, joined.skipped)


def _decode_all(corpus: Corpus) -> Corpus:
    def look(cut: Cut) -> Skipped | None:
        try:
            read_cut(cut)
        except UnreadableAudio as error:
            return error.skipped
        return None

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(look, corpus.cuts))
    good = [cut for cut, item in zip(corpus.cuts, found, strict=True) if item is None]
    bad = [item for item in found if item is not None]
    return Corpus(corpus.source, CutSet.from_cuts(good), (*corpus.skipped, *bad))


def _fingerprint_line(cut: Cut) -> str:
    sizes = [_size_bytes(source.type, source.source) for source in cut.recording.sources]
    said = (sorted(speakers(cut)), label(cut, "split"))
    return json.dumps([cut.id, sizes, cut.start, cut.duration, cut.sampling_rate, cut.channel, *said]) + "\n"


def _size_bytes(kind: str, source: Any) -> int:
    if kind == "file":
        return Path(source).stat().st_size
    if kind == "shar":
        return int(str(source).rsplit(":", 1)[1])
    return len(source)
