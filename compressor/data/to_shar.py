"""Any corpus into Lhotse Shar at 16 kHz: shard by shard, several at once, going on where it was stopped.

cuts.data.json           what was asked for and of which corpus; the hash over it is in every shard's facts
cuts.000000.jsonl.gz     the cuts of a shard
recording.000000.tar     their audio
cuts.000000.json         facts of the shard, written last
cuts.skipped.json        what could not be read, with the reason
cuts.summary.json        counts and durations of the shards that are there
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import discard, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json
from speechpress.runtime.parts import entries

from ..models.config import SAMPLE_RATE
from .audio import Cut
from .corpus import Corpus, open_corpus
from .formats.shards import Shard, Written, shard_id

SCHEMA = 1
DOCUMENT, SKIPPED, SUMMARY = "cuts.data.json", "cuts.skipped.json", "cuts.summary.json"
PER_SHARD = 1000
_LOOK_S = 0.2  # between two looks at whether somebody wants to stop

Listen = Callable[[dict[str, Any]], None]


class _Stopped(Exception):
    """Somebody wants to stop."""


@dataclass(frozen=True)
class SharOptions:
    """What is wanted.

    Attributes:
        out: the folder of shards.
        per_shard: recordings in a shard.
        number, count: which of how many parts of the shards; several processes may share one `out`.
        workers: shards that are written side by side; 0: as many as there are cores.
        overwrite: replace what was made of another corpus, or with another size.
    """

    out: Path
    per_shard: int = PER_SHARD
    number: int = 1
    count: int = 1
    workers: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.per_shard < 1 or self.workers < 0 or not 1 <= self.number <= self.count:
            raise SpeechpressError("--per-shard must be at least 1, --workers at least 0, and --shard K/N with K to N")
        # Beside other processes of the same call nothing may be thrown away.
        if self.overwrite and self.count > 1:
            raise SpeechpressError("--overwrite: not beside --shard K/N, whose parts share a folder; remove it first")


def write_shar(data: Sequence[str | Path], options: SharOptions, listen: Listen = lambda event: None) -> dict[str, Any]:
    """Write a corpus as Shar. What is there already is kept, and the same call ends in the same files.

    Args:
        data: what `open_corpus` takes.
        options: where to, and how.
        listen: is told of "plan" and "done" (seconds heard, shards that are whole).

    Raises:
        SpeechpressError: the folder holds something else, or cannot be written to.
    """
    check_folder(options)
    corpus = open_corpus(*data)
    _check_ids(corpus)
    document = _document(corpus, options)
    _begin(document, options)
    shares = _shares(list(corpus.cuts), options.per_shard)
    mine = list(range(options.number - 1, len(shares), options.count))
    shards = [Shard(options.out, number) for number in mine]
    kept = {shard.number for shard in shards if shard.written(document["hash"])}
    todo = [shard for shard in shards if shard.number not in kept]
    audio_s = sum(cut.duration for shard in todo for cut in shares[shard.number])
    listen({"event": "plan", "corpus": corpus.describe(), "shards": len(mine), "kept": len(kept), "audio_s": audio_s})
    _write_all(todo, shares, document["hash"], options.workers, listen)
    return _summary(corpus, document, options, len(shares), {"written": len(todo), "kept": len(kept)})


def check_folder(options: SharOptions) -> None:
    """Raises SpeechpressError for a folder that holds something else than shards of ours."""
    out = options.out
    if not out.exists():
        return
    if not out.is_dir() or (entries(out) and not (out / DOCUMENT).is_file()):
        raise SpeechpressError(f"{out}: contains something other than shards made here; choose another --out")


def _check_ids(corpus: Corpus) -> None:
    names: dict[str, str] = {}
    for cut in corpus.cuts:
        if (other := names.setdefault(shard_id(cut.id), cut.id)) != cut.id:
            raise SpeechpressError(
                f"{corpus.source}: the ids {other!r} and {cut.id!r} are one name in a tar; rename one"
            )


def _document(corpus: Corpus, options: SharOptions) -> dict[str, Any]:
    deciding = {
        "schema": SCHEMA,
        "fingerprint": corpus.fingerprint,
        "recordings": len(corpus.cuts),
        "per_shard": options.per_shard,
        "sampling_rate": SAMPLE_RATE,
        "format": "flac",
    }
    return {**deciding, "hash": hashlib.sha256(json_text(deciding).encode()).hexdigest()}


def _begin(document: dict[str, Any], options: SharOptions) -> None:
    """Make the folder this run's own. Raises SpeechpressError when it is another's."""
    place = options.out / DOCUMENT
    found = read_json(place, "restart with --overwrite") if place.is_file() and not options.overwrite else None
    if found is not None and found.get("hash") != document["hash"]:
        words = [key for key in document if key != "hash" and found.get(key) != document[key]]
        raise SpeechpressError(
            f"{options.out}: was made of another corpus or in another way ({', '.join(words) or 'hash'} differ); use "
            "--overwrite or another --out"
        )
    if options.overwrite and options.out.exists():
        discard(options.out)
    if found is None:
        write_json(place, document)


def _shares(cuts: Sequence[Cut], per_shard: int) -> list[Sequence[Cut]]:
    """The recordings of each shard; by id, which is how a corpus is ordered, so that every process finds the same."""
    return [cuts[begin : begin + per_shard] for begin in range(0, len(cuts), per_shard)]


def _write_all(todo: Sequence[Shard], shares: Sequence[Sequence[Cut]], work: str, workers: int, listen: Listen) -> None:
    stop, turn, done = threading.Event(), threading.Lock(), 0

    def heard(audio_s: float) -> None:
        if stop.is_set():
            raise _Stopped
        with turn:
            listen({"event": "done", "audio_s": audio_s, "shards": done})

    def make(shard: Shard) -> None:
        nonlocal done
        if not stop.is_set():
            shard.write(shares[shard.number], work, heard)
            with turn:
                done += 1

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        running = [pool.submit(make, shard) for shard in todo]
        try:
            # Signals reach the main thread only, which therefore never waits for long.
            while (state := wait(running, _LOOK_S, FIRST_EXCEPTION)).not_done:
                if any(job.exception() for job in state.done):
                    break
        finally:
            # At the end there is nothing left to stop.
            stop.set()
    failed = [error for job in running if (error := job.exception()) and not isinstance(error, _Stopped)]
    if failed:
        raise failed[0]


def _summary(
    corpus: Corpus, document: dict[str, Any], options: SharOptions, total: int, now: dict[str, int]
) -> dict[str, Any]:
    """Count all shards that are there, those of other processes too, and write it down."""
    found: list[Written] = []
    for number in range(total):
        if written := Shard(options.out, number).written(document["hash"]):
            found.append(written)
    skipped = [*corpus.skipped, *(item for written in found for item in written.skipped)]
    listed = [{"path": item.path, "reason": item.reason} for item in skipped]
    write_json(options.out / SKIPPED, listed)
    summary = {
        "corpus": corpus.source,
        "notes": list(corpus.notes),
        "complete": len(found) == total,
        "shards": len(found),
        "shards_in_all": total,
        "recordings": sum(written.cuts for written in found),
        "audio_s": sum(written.audio_s for written in found),
        "skipped": len(skipped),
        "resampled": {str(rate): count for rate, count in sorted(corpus.resampled.items())},
        "attenuated": sorted(name for written in found for name in written.attenuated),
    }
    write_json(options.out / SUMMARY, summary)
    return {**summary, **now, "out": str(options.out), "skipped": listed}
