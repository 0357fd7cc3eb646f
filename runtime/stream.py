"""Live audio in pieces of any size -> frames with their times; numpy only, whatever runs the model.

Shapes: S samples of one piece, C frames of a chunk, n frames that come out, D width.

The model works in chunks of fixed size; this module cuts and resamples the audio, carries the state from chunk to chunk
and drops the frames for which there was no audio. Latency is what `StreamSpec` says: a sample waits at most for its
chunk to fill up and for the look-ahead, and then for the model to run (and, at another rate than the model's, for the
resampler).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .answers.event import Event
from .answers.head_spec import HeadSpec
from .errors import SpeechpressError
from .samples import read_piece
from .spec import NO_END, StreamSpec

if TYPE_CHECKING:
    from .answers.listener import Listener

State = dict[str, np.ndarray]
QUALITY = "HQ"
RATES = (4_000, 768_000)


class Step(NamedTuple):
    """What one chunk gives: frames (1, C, D), the next state, and what heads say by head and output.

    A row of an output is of a frame, (1, C, W), or of all that was heard so far, (1, 1, W); see `answers.head_spec`.
    """

    frames: np.ndarray
    state: State
    answers: Mapping[str, Mapping[str, np.ndarray]] = {}


class Engine(Protocol):
    """Something that runs one chunk. It keeps nothing between calls, so one engine serves any number of streams."""

    spec: StreamSpec

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """The heads whose outputs every step gives."""

    def initial_state(self) -> State:
        """The state of a stream that has heard nothing. "end" in it is (1,) int64, the number of frames in all."""

    def step(self, chunk: np.ndarray, state: State) -> Step:
        """(1, chunk_samples) float32 -> frames (1, C, D), the next state, and the outputs of its heads."""


class Output(NamedTuple):
    """Frames (n, D) float32, the end of each one's audio (n,) in seconds since the stream began, and what heads say."""

    frames: np.ndarray
    end_s: np.ndarray
    events: tuple[Event, ...] = ()


@dataclass
class Counts:
    """What a stream has seen: samples at its own rate, and how many of them were not as they should be."""

    samples: int = 0
    replaced: int = 0  # NaN or infinite: taken as silence
    clipped: int = 0  # at or beyond full scale: left as they are, up to `samples.LOUDEST`
    rate_changes: int = 0


class StreamingExtractor:
    """One live stream: takes pieces of audio and returns frames as soon as their chunk is full.

    Args:
        engine: runs the model; several streams can share it.
        sample_rate: sample rate of the pieces; None: the model's own.
    """

    def __init__(self, engine: Engine, sample_rate: int | None = None) -> None:
        self.engine, self.spec = engine, engine.spec
        self._listeners = _listeners(engine.heads)
        self._first_rate = self.spec.sample_rate if sample_rate is None else sample_rate
        _check_rate(self._first_rate)
        self.reset()

    def reset(self) -> None:
        """Discard all audio so far; the next piece starts a new stream at time 0."""
        self.counts = Counts()
        self.state = self.engine.initial_state()
        for listener in self._listeners:
            listener.reset()
        self._ended = False
        self._pending: list[np.ndarray] = []
        self._heard = 0  # samples at the model's rate, the pending ones included
        self._next = self.spec.first_frame  # frame that the next chunk starts with
        # Not by `_hear`: silence that nobody sent must not count as time of the stream.
        self._pend(np.zeros(self.spec.silence_samples, np.float32))
        self._set_rate(self._first_rate)

    def _set_rate(self, rate: int) -> None:
        self.sample_rate = rate
        same = rate == self.spec.sample_rate
        self._resampler = None if same else _resampler(rate, self.spec.sample_rate)

    def latency(self) -> dict[str, Any]:
        """Worst-case latency in ms, including this stream's resampler, without the time to compute.

        Under "heads" each head has {"partial_ms", "final_ms"}: from the first frame that an event covers to its first
        report, and from the last one to its final event.
        """
        resampler_ms = resampler_delay_ms(self.sample_rate, self.spec.sample_rate)
        latency = self.spec.latency()
        latency |= {"resampler_ms": resampler_ms, "worst_age_ms": latency["worst_age_ms"] + resampler_ms}
        # An event is as late as the frame that brings it, counted from the end of that frame's hop.
        frame_ms = latency["worst_age_ms"] - 1000 * self.spec.hop_samples / self.spec.sample_rate
        return {**latency, "heads": {one.spec.name: one.latency(frame_ms) for one in self._listeners}}

    def push(self, samples: np.ndarray, sample_rate: int | None = None) -> Output:
        """Process one piece, (S,) or (S, channels) (averaged), and return the frames that are ready, often none.

        int16 and int32 are divided by their full scale; floats are used unchanged, and clipped at `samples.LOUDEST`.
        NaN and infinite samples become silence; they and samples at full scale are counted in `counts`. If
        `sample_rate` differs from the piece before (a headset was plugged in), the stream continues without a gap.
        Channels before samples, as (1, S), are an error.

        Raises:
            SpeechpressError: the stream was flushed, the array has another shape or type, or the rate is invalid.
        """
        if self._ended:
            raise SpeechpressError("this stream was flushed; call reset() before the next one")
        # Before anything changes, so that a piece that is refused leaves the stream as it was.
        piece = self._read(samples)
        if sample_rate is not None and sample_rate != self.sample_rate:
            _check_rate(sample_rate)
            self._hear(self._drain())
            self._set_rate(sample_rate)
            self.counts.rate_changes += 1
        self.counts.samples += len(piece)
        self._hear(piece if self._resampler is None else self._resampler.resample_chunk(piece))
        return self._run()

    def flush(self) -> Output:
        """End the stream; return the remaining frames, including those of the last, shorter chunk."""
        if self._ended:
            raise SpeechpressError("this stream was flushed already; call reset() before the next one")
        self._hear(self._drain())
        self._ended = True
        end = self.spec.frames(self._heard)
        # The model must know the last frame: what lies after it is our silence, not audio to attend to.
        self.state = {**self.state, "end": np.array([end], np.int64)}
        # Enough silence for every frame that is still to come, after whatever fills up the chunk.
        missing = (end - self._next) * self.spec.hop_samples - self._pending_samples()
        rest = max(0, math.ceil(missing / self.spec.chunk_samples)) * self.spec.chunk_samples
        self._pend(np.zeros(rest + -self._pending_samples() % self.spec.chunk_samples, np.float32))
        out = self._run(end)
        return out._replace(events=out.events + tuple(e for one in self._listeners for e in one.finish()))

    def _drain(self) -> np.ndarray:
        """What the resampler still holds."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        return self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    def _hear(self, piece: np.ndarray) -> None:
        self._heard += len(piece)
        self._pend(piece)

    def _pend(self, piece: np.ndarray) -> None:
        if len(piece):
            self._pending.append(piece)

    def _pending_samples(self) -> int:
        return sum(map(len, self._pending))

    def _run(self, end: int = NO_END) -> Output:
        """Run all full chunks; frames before the first and from `end` on are dropped."""
        size, parts = self.spec.chunk_samples, [np.zeros((0, self.spec.width), np.float32)]
        first, events = max(0, self._next), []
        if self._pending_samples() >= size:
            pending = np.concatenate(self._pending)
            full = len(pending) // size
            self._pending = [pending[full * size :].copy()]  # a copy, so that a long piece is not kept alive
            for chunk in pending[: full * size].reshape(full, 1, size):
                frames, self.state, answers = self.engine.step(chunk, self.state)
                # Numbers below 0 are frames before the audio; from `end` on they are of our own silence.
                kept = slice(max(0, -self._next), max(0, min(self.spec.chunk_frames, end - self._next)))
                parts.append(frames[0, kept])
                events += self._answers(answers, kept)
                self._next += self.spec.chunk_frames
        frames = np.concatenate(parts)
        return Output(frames, self.spec.end_s(np.arange(first, first + len(frames))), tuple(events))

    def _answers(self, answers: Mapping[str, Mapping[str, np.ndarray]], kept: slice) -> list[Event]:
        """What heads say of a chunk; they too speak of `lag_frames` ago, and never of before the stream."""
        lag = self.spec.lag_frames
        kept = slice(max(kept.start, min(kept.stop, lag - self._next)), kept.stop)
        first = self._next + kept.start - lag
        return [event for one in self._listeners for event in one.hear(answers, kept, first)]

    def _read(self, samples: np.ndarray) -> np.ndarray:
        """Any piece as (S,) float32, its bad samples mended and counted."""
        piece = read_piece(samples)
        # Once a stream: a broken driver would fill the log with every piece.
        if piece.replaced and not self.counts.replaced:
            import logging  # as with decoders: whoever needs none starts sooner

            logging.getLogger(__name__).warning(
                "the audio holds samples that are NaN or infinite; they are taken as silence"
            )
        self.counts.replaced += piece.replaced
        self.counts.clipped += piece.clipped
        return piece.wave


def _listeners(heads: Sequence[HeadSpec]) -> "list[Listener]":
    if not heads:
        return []
    from .answers.listener import Listener

    return [Listener(spec) for spec in heads]


def resampler_delay_ms(rate: int, to_rate: int) -> float:
    """How far the resampler's output lags behind its input at worst, found by running it on a second of silence."""
    if rate == to_rate:
        return 0.0
    # A millisecond at a time: larger pieces would hide how the lag changes within one.
    resampler, piece = _resampler(rate, to_rate), max(1, rate // 1000)
    heard, out, lag = 0, 0, 0.0
    while heard < rate:
        heard += piece
        lag = max(lag, heard / rate - out / to_rate)
        out += len(resampler.resample_chunk(np.zeros(piece, np.float32)))
    return 1000 * lag


def _resampler(rate: int, to_rate: int) -> Any:
    import soxr  # only who resamples needs it; a board that is profiled need not have it

    return soxr.ResampleStream(rate, to_rate, 1, quality=QUALITY)


def _check_rate(rate: int) -> None:
    low, high = RATES
    if not low <= rate <= high:
        raise SpeechpressError(f"sample rate {rate} Hz is not an audio rate; it must be {low} to {high} Hz")
