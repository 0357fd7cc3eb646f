"""The live demo's worker: blocks of audio in, chunks of frames with everything that a view shows out.

Shapes: S samples of a block, n frames of a chunk, D width.
"""

import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..answers.event import Event
from ..choice import SHIPPED as SHIPPED
from ..samples import mono
from ..stream import Engine, Output, StreamingExtractor
from .colours import Colours
from .head_engine import HeadEngine, words_head
from .lanes import LOOKS
from .sources import Block, Source
from .spotting import Hit, Spotter
from .teaching import Teaching

SILENCE_DB = -100.0
RECENT_CHUNKS, RECENT_EVENTS = 500, 200
READ_S = 0.2  # how long a source is waited for before the worker looks around


@dataclass(frozen=True)
class Chunk:
    """What one chunk gave.

    `t_s`: end of its last frame's audio, seconds since the stream began. `levels_db` (n,): loudness of each frame's
    audio below full scale. `colours` (n, 3) uint8. `infer_ms`: time to compute it. `dropped`: blocks lost so far.
    `heard_at_s`: `time.perf_counter()` when its newest sample was there. `events`: what the bundle's heads say now.
    `heard_s`: seconds of audio heard when they said it. `last`: the stream has ended, and nothing was waited for.
    """

    t_s: float
    frames: np.ndarray
    levels_db: np.ndarray
    colours: np.ndarray
    infer_ms: float
    dropped: int
    words: tuple[Hit, ...]
    heard_at_s: float
    events: tuple[Event, ...] = ()
    heard_s: float = 0.0
    last: bool = False

    def late_ms(self, event: Event) -> float:
        """From the end of what an event is about to when it was told; waiting for a screen is not in it."""
        return 1000 * (self.heard_s - event.end_s) + self.infer_ms

    @property
    def level_db(self) -> float:
        """The loudest of its frames; silence when it has none, as the last chunk may."""
        return float(self.levels_db.max()) if len(self.levels_db) else SILENCE_DB

    def to_dict(self) -> dict[str, Any]:
        """One line of `--json`; `frames` is their number."""
        words = [{**hit._asdict(), "score": round(hit.score, 2)} for hit in self.words]
        return {
            "t_s": round(self.t_s, 3),
            "frames": len(self.frames),
            "infer_ms": round(self.infer_ms, 3),
            "dropped": self.dropped,
            "level_db": round(self.level_db, 1),
            "words": words,
            "heard_s": round(self.heard_s, 3),
            "events": [event.to_dict() for event in self.events],
        }


class Stats:
    """How the stream goes: times of the last minute or so for whoever watches, and all of them for the end.

    `events`: final ones so far, by head. `words`: taught words found so far, by word.
    """

    def __init__(self, chunk_ms: float) -> None:
        self.chunk_ms, self.chunks, self.dropped = chunk_ms, 0, 0
        self.heard_s = 0.0
        self.events: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        # Four bytes a chunk: a day of chunks of 80 ms is 4 MB.
        self._all_ms = array("f")
        self._times_ms: deque[float] = deque(maxlen=RECENT_CHUNKS)
        self._late_ms: dict[str, deque[float]] = {}
        self._sum_ms = 0.0

    def add(self, chunk: Chunk) -> None:
        self.chunks += 1
        self._times_ms.append(chunk.infer_ms)
        self._all_ms.append(chunk.infer_ms)
        self._sum_ms += chunk.infer_ms
        self.dropped = chunk.dropped
        self.heard_s = max(self.heard_s, chunk.heard_s, chunk.t_s)
        self.words.update(hit.word for hit in chunk.words)
        for event in chunk.events:
            if event.final:
                self._count(chunk, event)

    def _count(self, chunk: Chunk, event: Event) -> None:
        self.events[event.head] += 1
        if LOOKS[event.kind].draw == "map":
            self.words[event.label] += 1
        # What the end of the stream brought would have come later.
        if not chunk.last:
            self._late_ms.setdefault(event.head, deque(maxlen=RECENT_EVENTS)).append(chunk.late_ms(event))

    def percentile_ms(self, percent: float) -> float:
        """Of the last minute or so."""
        return _percentile(self._times_ms, percent) or 0.0

    def overall_ms(self, percent: float) -> float:
        """Of all chunks so far."""
        return _percentile(self._all_ms, percent) or 0.0

    def answer_ms(self, head: str | None = None) -> float | None:
        """Median time from the end of what an event is about to the event; of one head or of all; None without one."""
        chosen = self._late_ms.values() if head is None else [self._late_ms.get(head, ())]
        return _percentile([late_ms for times in chosen for late_ms in times], 50)

    @property
    def real_time_factor(self) -> float:
        """Time to compute over time that was said; below 1 it keeps up."""
        return self._sum_ms / (self.chunks * self.chunk_ms) if self.chunks else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "p50_ms": self.percentile_ms(50),
            "p99_ms": self.percentile_ms(99),
            "budget_ms": self.chunk_ms,
            "rtf": self.real_time_factor,
            "dropped": self.dropped,
            "chunks": self.chunks,
            "answer_ms": self.answer_ms(),
        }


def _percentile(times_ms: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(times_ms, percent)) if len(times_ms) else None


class Levels:
    """Loudness of each frame's audio, from blocks of any size and rate."""

    def __init__(self, frame_s: float) -> None:
        self._frame_s, self._rate = frame_s, 0
        self._rest = np.zeros(0, np.float32)
        self._waiting: deque[float] = deque()
        self.now_db = SILENCE_DB  # of the newest frame's worth of audio

    def hear(self, block: Block) -> None:
        # The rest of another rate cannot be joined to it.
        if block.sample_rate != self._rate:
            self._rate, self._rest = block.sample_rate, self._rest[:0]
        size = round(self._frame_s * self._rate)
        self._rest = np.concatenate([self._rest, mono(block.samples)])
        whole = len(self._rest) // size
        power = np.square(self._rest[: whole * size].reshape(whole, size)).mean(1)
        self._rest = self._rest[whole * size :]
        # 1e-10 makes digital silence -100 dB, see SILENCE_DB.
        self._waiting.extend((10 * np.log10(power + 1e-10)).tolist())
        self.now_db = self._waiting[-1] if self._waiting else self.now_db

    def take(self, count: int) -> np.ndarray:
        """The levels (count,) of the next frames; silence where there was no whole frame's worth left."""
        taken = [self._waiting.popleft() if self._waiting else SILENCE_DB for _ in range(count)]
        return np.array(taken, np.float32)


def listen(
    source: Source, engine: Engine, spotter: Spotter | None = None, teaching: Teaching | None = None
) -> Iterator[Chunk]:
    """Run a source through a model until it ends, one `Chunk` for each piece of audio that filled at least a chunk.

    Raises SpeechpressError when the source fails; the caller closes it.
    """
    worker = _Worker(source, engine, spotter)
    while True:
        try:
            block = source.read(READ_S)
        except EOFError:
            break
        # Nothing came for a moment, which is no end: a pipe may pause.
        if block is None:
            continue
        if teaching is not None:
            teaching.hear(block)
        chunk = worker.hear(block)
        if chunk is not None:
            if teaching is not None and chunk.words:
                teaching.heard(chunk.words[-1].word)
            yield chunk
    last = worker.finish()
    if last is not None:
        yield last


class _Worker:
    def __init__(self, source: Source, engine: Engine, spotter: Spotter | None) -> None:
        spec = engine.spec
        self._source, self._spotter, self._width = source, spotter, spec.width
        head = words_head(engine) if spotter is not None and spotter.background.head else None
        # One run of the program gives both: the features that are shown, and what words are looked for in.
        running = engine if head is None else HeadEngine(engine, head, beside=True)
        self._stream = StreamingExtractor(running, source.sample_rate)
        self._levels = Levels(spec.hop_samples / spec.sample_rate)
        self._colours = Colours(spec.width)
        self._t_s, self._heard_at_s, self._heard_s = 0.0, 0.0, 0.0

    def hear(self, block: Block) -> Chunk | None:
        self._heard_at_s = block.at_s
        self._heard_s += len(block.samples) / block.sample_rate
        self._levels.hear(block)
        started_s = time.perf_counter()
        return self._chunk(self._stream.push(block.samples, block.sample_rate), started_s)

    def _compared(self, frames: np.ndarray) -> np.ndarray:
        """What words are looked for in: the head's columns where there is one, else the features."""
        return frames[:, self._width :] if frames.shape[1] > self._width else frames

    def finish(self) -> Chunk | None:
        started_s = time.perf_counter()
        return self._chunk(self._stream.flush(), started_s, ended=True)

    def _chunk(self, found: Output, started_s: float, ended: bool = False) -> Chunk | None:
        words = self._spotter.push(self._compared(found.frames), found.end_s) if self._spotter else []
        found = found._replace(frames=found.frames[:, : self._width])
        if ended and self._spotter:
            # No frame will come any more that could top them.
            words += self._spotter.finish()
        if not len(found.frames) and not words and not found.events:
            return None
        # Before levels and colours, which are for show and no work of the model.
        infer_ms = 1000 * (time.perf_counter() - started_s)
        levels_db = self._levels.take(len(found.frames))
        colours = self._colours.of(found.frames, levels_db)
        self._t_s = float(found.end_s[-1]) if len(found.end_s) else self._t_s
        dropped = self._source.dropped
        return Chunk(
            *(self._t_s, found.frames, levels_db, colours, infer_ms, dropped, tuple(words), self._heard_at_s),
            events=found.events,
            heard_s=self._heard_s,
            last=ended,
        )
