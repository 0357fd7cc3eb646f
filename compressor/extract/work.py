"""The work itself: batches are read, heard and written by several threads, until all are done or somebody stops it.

Shapes: B recordings, S samples, T frames, D width.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import Skipped, UnreadableAudio, cut_place, read_samples
from ..distill.process import Interrupt
from ..models.config import SAMPLE_RATE
from ..models.events import OnEvent
from .index import Index
from .plan import Item
from .source import Listener
from .writers import Result, Writer, layer_name

_LOOK_S = 0.2  # between two looks at whether somebody wants to stop
_FULL = ("not enough memory", "out of memory")


class Maker(Protocol):
    """From layers of one recording to what is written of it."""

    layers: tuple[int, ...]

    def make(self, item: Item, layers: Sequence[Tensor]) -> Result:
        """The wanted layers, (T, D) each on the CPU, in the order of `layers`."""


@dataclass(frozen=True)
class Features:
    """Layers as they are, in float32 or float16."""

    layers: tuple[int, ...]
    dtype: str

    def make(self, item: Item, layers: Sequence[Tensor]) -> Result:
        arrays = {}
        for number, layer in zip(self.layers, layers, strict=True):
            values = layer.float().numpy()
            if not np.isfinite(values).all():
                raise UnreadableAudio(cut_place(item.cut), f"layer {number} comes out as NaN or infinite")
            # Values beyond the range become infinite, which is told below.
            with np.errstate(over="ignore"):
                arrays[layer_name(number)] = values.astype(self.dtype)
            if self.dtype == "float16" and not np.isfinite(arrays[layer_name(number)]).all():
                raise SpeechpressError(
                    f"{item.name}: layer {number} has values up to {np.abs(values).max():.0f}, beyond what float16 "
                    "holds; use --dtype float32"
                )
        return Result(arrays, len(layers[0]))


class Work:
    """What is done with a batch; `skipped` grows by what cannot be read."""

    def __init__(self, listener: Listener, maker: Maker, writer: Writer, index: Index) -> None:
        self.listener, self.maker, self.writer, self.index = listener, maker, writer, index
        self.skipped: list[Skipped] = []
        # A model that cannot be shared is used in turn, while the other workers read and write.
        self._lock = contextlib.nullcontext() if listener.threads else threading.Lock()

    def do(self, batch: Sequence[Item]) -> None:
        """Hear a whole batch, also where a part of it is done: alone, its rest might come out a bit otherwise."""
        read = [(item, wave) for item in batch if (wave := self._read(item)) is not None]
        if not read:
            return
        try:
            with self._lock, torch.inference_mode():
                rows = self._hear([wave for _, wave in read])
        except SpeechpressError as error:  # such as a model that hears 30 s at most
            self.skipped += [Skipped(cut_place(item.cut), str(error)) for item, _ in read]
            return
        except (RuntimeError, MemoryError) as error:
            raise _explained(error, read[0][0], len(read)) from error
        for (item, _), layers in zip(read, rows, strict=True):
            if item.name in self.index.rows:
                continue
            try:
                self.writer.put(item, self.maker.make(item, layers))
            except UnreadableAudio as error:
                self.skipped.append(error.skipped)

    def _read(self, item: Item) -> Tensor | None:
        try:
            return torch.from_numpy(read_samples(item.cut, 0, item.samples))
        except UnreadableAudio as error:
            self.skipped.append(error.skipped)
            return None

    def _hear(self, waves: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """Waves (S,) each -> for each the wanted layers, (T, D) on the CPU."""
        lengths = [len(wave) for wave in waves]
        padded = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True).to(self.listener.device)
        equal, count = min(lengths) == max(lengths), self.listener.frames
        given = None if equal else torch.tensor(lengths, device=padded.device)
        layers = [layer.cpu() for layer in self.listener.hear(padded, given, self.maker.layers)]
        for row, length in enumerate(lengths):
            end = None if equal or count is None else count(length)
            yield [layer[row, :end] for layer in layers]


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
            f"{item.name}{more} ({item.samples / SAMPLE_RATE:.0f} s each): memory does not suffice; use a smaller "
            "--batch-s, fewer --workers, or leave long recordings out with --longest-s. --resume goes on"
        )
    return error
