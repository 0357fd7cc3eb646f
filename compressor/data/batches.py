"""Training batches that are a pure function of their number.

Shapes: B batch, S samples.

No row is ever padded. Base models have a GroupNorm over time after their first convolution: padding would move the
statistics of every frame, of teacher and student alike, and a mask does not undo that. So recordings of nearly equal
length meet in a batch, and are cropped to the shortest of them.

Lhotse's DynamicBucketingSampler was tried first. With few buckets it loses much more audio to this cropping, with many
every bucket leaves a small batch behind each epoch; it finds batch n by replaying the epoch. Batches are cut out of a
list that is sorted by length instead, with the order blurred by 1 % so that neighbours change from epoch to epoch: any
batch can be computed at once. On recordings of 0.5 to 20 s less than 2.5 % of the audio is lost to the cropping.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count, islice, pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..models.config import SAMPLE_RATE
from .audio import MIN_DURATION_S, Cut, Skipped, UnreadableAudio, cut_samples, read_samples
from .corpus import list_skipped
from .remote.address import is_address
from .remote.reader import Span, fetched_ahead, span_of

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

# Of HuBERT's front end; an encoder with another hop merely leaves some samples at the end unheard.
HOP_SAMPLES = 320
OVERLAP_SAMPLES = 80  # 320 k + 80 samples make exactly k frames with a receptive field of 400 and a hop of 320
_BLUR = 0.01
# Of crops that are fixed: each class of lengths is this much longer than the one below it.
_STEP, _STEP_SPREAD = 1.08, 1.04
_SPREAD = 1.25  # a batch ends where the next recording is this much longer than its shortest
_FAILED_BATCHES = 3


@dataclass(frozen=True)
class Batch:
    """One batch, or one process's rows of it.

    Attributes:
        waves: (B, S) float32, 16 kHz; (0, S) where this process has no rows.
        ids: what each row is; a piece of a long recording has "#n" behind its id.
        epoch: passes over the data before this one.
        index: number of the batch since the start of training.
        audio_s: seconds of audio in `waves`.
        planned: rows of the whole batch over all processes, before unreadable ones were dropped.
    """

    waves: Tensor
    ids: list[str]
    epoch: int
    index: int
    audio_s: float
    planned: int


class _Planned(NamedTuple):
    rows: np.ndarray  # indices of pieces
    samples: int


class _Piece(NamedTuple):
    cut: Cut
    id: str
    start: int
    samples: int


class _Read(NamedTuple):
    waves: Tensor
    ids: list[str]
    skipped: list[Skipped]


class Batches:
    """An endless stream of training batches over a set of cuts.

    In every epoch each recording occurs once, cropped at random to at most `crop_s`; a recording that is n crops long
    (n >= 2) is divided into n pieces which all occur, so that no part of an hour-long file goes unheard. Order, company
    and crops are drawn from (seed, epoch, id) alone: they depend neither on the order of the cuts nor on what was read
    before.

    With `fixed_crops` a crop is drawn from (seed, id) alone, and is the same in every epoch. Its length may then not
    depend on its company, so it is the longest that fits of a row of lengths, in steps of 8 % down from the
    longest crop of all (about 4 % of the audio are lost), and only crops of equal length meet in a batch.

    Attributes:
        skipped: recordings that turned out unreadable so far; their rows are missing from their batches.
    """

    def __init__(
        self,
        cuts: Iterable[Cut],
        batch: int,
        crop_s: float,
        batch_s: float | None = None,
        seed: int = 0,
        workers: int = 2,
        fixed_crops: bool = False,
    ) -> None:
        """Plan batches of at most `batch` rows and `batch_s` seconds; `workers` threads decode ahead (0: none).

        Raises:
            SpeechpressError: no cuts, or limits that no batch can meet.
        """
        longest_s = min(crop_s, batch_s or crop_s)
        if batch < 1 or longest_s < MIN_DURATION_S:
            raise SpeechpressError(
                f"training batches of {batch} rows, crops of {crop_s} s and at most {batch_s} s in all cannot be made: "
                f"at least 1 row of {MIN_DURATION_S} s is needed (train.batch, train.crop_s, train.batch_s)"
            )
        self.batch, self.seed, self.workers, self.fixed_crops = batch, seed, workers, fixed_crops
        self.crop_samples = whole_frames(int(longest_s * SAMPLE_RATE))
        self.batch_samples = int(batch_s * SAMPLE_RATE) if batch_s else batch * self.crop_samples
        pieces = [piece for cut in cuts for piece in self._pieces(cut)]
        # By id, because indices into this list are drawn from: a manifest in another order gives the same batches.
        self.pieces = sorted(pieces, key=lambda piece: piece.id)
        if not self.pieces:
            raise SpeechpressError("there is no audio to train on")
        self._lengths = np.array([min(piece.samples, self.crop_samples) for piece in self.pieces])
        if fixed_crops:
            self._lengths = rounded_down(self._lengths)
        self._digests = np.array([_digest(piece.id) for piece in self.pieces], dtype=np.uint64)
        self._elsewhere = any(remote_spans(piece.cut) for piece in self.pieces)
        self.skipped: list[Skipped] = []
        # On the instance: a cache on the method would keep every Batches alive. Two, as reading ahead crosses epochs.
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)

    def start(self, at_batch: int = 0, rank: int = 0, world: int = 1) -> Generator[Batch, None, None]:
        """Batches number `at_batch`, `at_batch + 1`, ... without end; of each, rows rank, rank + world, ...

        Every process plans the same whole batches, so the shares of all ranks together are the batch of one process.
        Closing the iterator, or an error or Ctrl-C in the loop that uses it, stops the threads.

        Raises:
            SpeechpressError: while iterating, when several batches in a row have no readable file.
        """
        if at_batch < 0 or not 0 <= rank < world:
            raise ValueError(f"batch {at_batch}, rank {rank} of {world}")
        return self._iterate(at_batch, rank, world)

    def _iterate(self, at_batch: int, rank: int, world: int) -> Generator[Batch, None, None]:
        jobs: Iterable[tuple[_Planned, int, int, partial[_Read]]] = (
            (planned, epoch, index, partial(self._read, planned, epoch, rank, world))
            for index, epoch, planned in self._from(at_batch)
        )
        with contextlib.ExitStack() as stack:
            if self._elsewhere:
                # Closed in any case: what is on its way must not be waited for after an error.
                ahead = fetched_ahead(jobs, lambda job: self._spans(job[0], rank, world))
                jobs = stack.enter_context(contextlib.closing(ahead))
            yield from self._batches(jobs)

    def _batches(self, jobs: Iterable[tuple[_Planned, int, int, partial[_Read]]]) -> Iterator[Batch]:
        failed = 0
        for (planned, epoch, index, _), read in _ahead(jobs, lambda job: job[-1](), self.workers):
            _record(self.skipped, read.skipped)
            # A process without rows in a batch read nothing, which is no failure.
            failed = 0 if read.ids else failed + bool(read.skipped)
            if failed == _FAILED_BATCHES:
                raise SpeechpressError(
                    f"no file of {failed} batches in a row can be read: {list_skipped(self.skipped)}"
                )
            audio_s = read.waves.numel() / SAMPLE_RATE
            yield Batch(read.waves, read.ids, epoch, index, audio_s, len(planned.rows))

    def _from(self, at_batch: int) -> Iterator[tuple[int, int, _Planned]]:
        """(index, epoch, plan) of every batch from `at_batch` on."""
        first = 0
        for epoch in count():
            plan = self._plan(epoch)
            for index in range(max(first, at_batch), first + len(plan)):
                yield index, epoch, plan[index - first]
            first += len(plan)

    def _plan_epoch(self, epoch: int) -> list[_Planned]:
        """Cut batches out of the pieces sorted by (blurred) length, then shuffle the batches."""
        keys = self._lengths * (1 + _BLUR * (2 * self._draw(epoch, "company", self._digests) - 1))
        order = np.argsort(keys, kind="stable")
        lengths, keys = self._lengths[order], keys[order]
        plan, begin, spread = [], 0, _STEP_SPREAD if self.fixed_crops else _SPREAD
        while begin < len(order):
            samples = whole_frames(int(lengths[begin]))
            rows = min(self.batch, max(1, self.batch_samples // samples))
            end = min(begin + rows, int(np.searchsorted(keys, spread * keys[begin], side="right")))
            # By the blurred order the first of a batch need not be its shortest.
            plan.append(_Planned(order[begin:end], whole_frames(int(lengths[begin:end].min()))))
            begin = end
        # Otherwise every epoch would go from the shortest recordings to the longest.
        turns = self._draw(epoch, "order", np.arange(len(plan), dtype=np.uint64))
        return [plan[index] for index in np.argsort(turns, kind="stable")]

    def _read(self, planned: _Planned, epoch: int, rank: int, world: int) -> _Read:
        rows = planned.rows[rank::world]
        shifts = self._draw(0 if self.fixed_crops else epoch, "crop", self._digests[rows])
        parts = []
        for row, shift in zip(rows, shifts, strict=True):
            piece = self.pieces[row]
            # shift is below 1, so that all starts from 0 to the difference are equally likely and none lies beyond.
            start = piece.start + int(shift * (piece.samples - planned.samples + 1))
            parts.append((piece.cut, piece.id, start))
        return _read_rows(parts, planned.samples)

    def _spans(self, planned: _Planned, rank: int, world: int) -> list[Span]:
        return [span for row in planned.rows[rank::world] for span in remote_spans(self.pieces[row].cut)]

    def _draw(self, epoch: int, what: str, digests: np.ndarray) -> np.ndarray:
        """One number in [0, 1) per digest, the same on every machine and with every version of numpy."""
        # A float holds 53 bits exactly: the quotient is never rounded up to 1.
        return _scramble(digests ^ np.uint64(_digest(f"{self.seed}/{epoch}/{what}"))) / float(1 << 53)

    def _pieces(self, cut: Cut) -> Iterator[_Piece]:
        samples = cut_samples(cut)
        number = max(1, samples // self.crop_samples)
        edges = [samples * index // number for index in range(number + 1)]
        for index, (start, end) in enumerate(pairwise(edges)):
            yield _Piece(cut, f"{cut.id}#{index}" if number > 1 else cut.id, start, end - start)


def remote_spans(cut: Cut) -> list[Span]:
    """What of a recording lies elsewhere and has to be fetched before it is read."""
    sources = [str(source.source) for source in cut.recording.sources if source.type == "shar"]
    return [span_of(source) for source in sources if is_address(source)]


def whole_frames(samples: int) -> int:
    """The longest length of at most `samples` that ends with a whole frame: a multiple of 320 samples, and 80."""
    return (samples - OVERLAP_SAMPLES) // HOP_SAMPLES * HOP_SAMPLES + OVERLAP_SAMPLES


def rounded_down(samples: np.ndarray) -> np.ndarray:
    """Each length as the longest of the lengths that fixed crops may have, counted down from the longest given."""
    steps = [(int(samples.max()) - OVERLAP_SAMPLES) // HOP_SAMPLES]
    while steps[-1] > 1:
        steps.append(int(steps[-1] / _STEP))
    lengths = HOP_SAMPLES * np.array(steps[::-1]) + OVERLAP_SAMPLES
    return lengths[np.searchsorted(lengths, samples, side="right") - 1]


def _read_rows(parts: list[tuple[Cut, str, int]], samples: int) -> _Read:
    """Read `samples` samples of every (cut, id, start); rows that cannot be read are left out."""
    waves, ids, skipped = [], [], []
    for cut, name, start in parts:
        try:
            waves.append(read_samples(cut, start, samples))
            ids.append(name)
        except UnreadableAudio as error:
            skipped.append(error.skipped)
    stacked = torch.from_numpy(np.stack(waves)) if waves else torch.empty(0, samples)
    return _Read(stacked, ids, skipped)


def _record(skipped: list[Skipped], found: list[Skipped]) -> None:
    for item in found:
        # A damaged file comes again in every epoch, and is said once.
        if item not in skipped:
            skipped.append(item)
            logger.warning("skipped %s: %s", item.path, item.reason)


def _ahead(jobs: Iterable[Job], work: Callable[[Job], Result], workers: int) -> Iterator[tuple[Job, Result]]:
    """(job, work(job)) in the order of the jobs, done ahead by threads (libsndfile and soxr release the GIL)."""
    if not workers:
        yield from ((job, work(job)) for job in jobs)
        return
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    source = iter(jobs)
    pool = ThreadPoolExecutor(min(workers, os.cpu_count() or 1), thread_name_prefix="audio")
    try:
        while True:
            # A bound on what is in flight: ahead of a slow training loop, decoded audio would fill the memory.
            for job in islice(source, workers + 2 - len(waiting)):
                waiting.append((job, pool.submit(work, job)))
            if not waiting:
                return
            job, future = waiting.popleft()
            yield job, future.result()
    finally:
        # Also when the loop that reads is left by an error: threads that outlive it would hold the process open.
        pool.shutdown(wait=True, cancel_futures=True)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _scramble(values: np.ndarray) -> np.ndarray:
    """53 well-mixed bits of each 64-bit value (the finaliser of splitmix64)."""
    # Arrays of uint64 wrap round without a warning, which splitmix64 relies on.
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (values ^ (values >> np.uint64(31))) >> np.uint64(11)
