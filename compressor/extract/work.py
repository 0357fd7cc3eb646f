"""The work itself: batches are read, heard and written by several threads, until all are done or somebody stops it.

Shapes: S samples.
"""

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import Skipped, UnreadableAudio, cut_place, read_samples
from ..distill.process import Interrupt
from ..models.config import SAMPLE_RATE
from ..models.events import OnEvent
from .index import Index
from .makers import Maker
from .plan import Item
from .writers import Writer

_LOOK_S = 0.2  # between two looks at whether somebody wants to stop
_FULL = ("not enough memory", "out of memory")


class Work:
    """What is done with a batch; `skipped` grows by what cannot be read."""

    def __init__(self, maker: Maker, shared: bool, writer: Writer, index: Index) -> None:
        self.maker, self.writer, self.index = maker, writer, index
        self.skipped: list[Skipped] = []
        # A model that cannot be shared is used in turn, while the other workers read and write.
        self._lock = contextlib.nullcontext() if shared else threading.Lock()

    def do(self, batch: Sequence[Item]) -> None:
        """Hear a whole batch, also where a part of it is done: alone, its rest might come out a bit otherwise."""
        read = [(item, wave) for item in batch if (wave := self._read(item)) is not None]
        if not read:
            return
        try:
            with self._lock, torch.inference_mode():
                rows = self.maker.hear([wave for _, wave in read])
        except SpeechpressError as error:  # such as a model that hears 30 s at most
            if len(read) > 1:  # only who is at fault is left out
                for one in batch:
                    self.do([one])
            else:
                self.skipped.append(Skipped(cut_place(read[0][0].cut), str(error)))
            return
        except (RuntimeError, MemoryError) as error:
            raise _explained(error, read[0][0], len(read)) from error
        for (item, _), heard in zip(read, rows, strict=True):
            if item.name in self.index.rows:
                continue
            try:
                with torch.inference_mode():
                    result = self.maker.make(item, heard)
                self.writer.put(item, result)
            except UnreadableAudio as error:
                self.skipped.append(error.skipped)

    def _read(self, item: Item) -> Tensor | None:
        try:
            return torch.from_numpy(read_samples(item.cut, 0, item.samples))
        except UnreadableAudio as error:
            self.skipped.append(error.skipped)
            return None


def run(work: Work, plan: Sequence[Sequence[Item]], workers: int, listen: OnEvent) -> bool:
    """Do all batches; whether that was done to the end, or stopped by Ctrl-C or SIGTERM after those in hand.

    Raises the first error of a worker, after the others have ended their batches.
    """
    todo, turn, stop = iter(plan), threading.Lock(), threading.Event()

    def worker() -> None:
        while not stop.is_set():
            with turn:
                batch = next(todo, None)
            if batch is None:
                return
            try:
                work.do(batch)
            except BaseException:
                stop.set()
                raise
            with turn:
                listen({"event": "done", "audio_s": sum(item.samples for item in batch) / SAMPLE_RATE, **_counts(work)})

    with Interrupt().watching() as interrupt, ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(worker) for _ in range(workers)]
        try:
            while wait(running, _LOOK_S).not_done:
                # Signals reach the main thread only, which therefore never waits for long.
                if interrupt.requested:
                    stop.set()
        except KeyboardInterrupt:
            stop.set()
            raise
    for job in running:
        job.result()
    return not interrupt.requested


def _counts(work: Work) -> dict[str, int]:
    return {"recordings": len(work.index.rows), "skipped": len(work.skipped)}


def _explained(error: Exception, item: Item, count: int) -> Exception:
    """A full memory in words; any other error as it is."""
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _FULL):
        more = f" and {count - 1} more" if count > 1 else ""
        return SpeechpressError(
            f"{item.name}{more} ({item.samples / SAMPLE_RATE:.0f} s each): not enough memory; use a smaller "
            "--batch-s, fewer --workers, or leave long recordings out with --longest-s. --resume continues"
        )
    return error
