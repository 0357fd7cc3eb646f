"""The demo where nobody watches: plain lines for people, one JSON object per chunk for programs."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from ..answers.event import Event
from ..answers.head_spec import HeadSpec
from ..json_file import json_text
from .lanes import Lane, Lanes, answer, shown
from .summary import summary
from .worker import Chunk, Stats

EVERY_S = 1.0


def show_json(chunks: Iterable[Chunk], out: TextIO) -> None:
    """One object per chunk, each on a line of its own, written at once."""
    with contextlib.suppress(KeyboardInterrupt):
        for chunk in chunks:
            out.write(json_text(chunk.to_dict()) + "\n")
            out.flush()


def show_lines(chunks: Iterable[Chunk], stats: Stats, out: TextIO, heads: Sequence[HeadSpec] = ()) -> None:
    """A line per second of audio, one for each head that answered in it, one per word, and the sum at the end."""
    # -100 dBFS is silence, the lowest level that the worker tells.
    due_s, peak_db, lanes, answers = EVERY_S, -100.0, Lanes(heads), list[Event]()
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to leave, and the sum is still wanted
        for chunk in chunks:
            stats.add(chunk)
            peak_db = max(peak_db, chunk.level_db)
            for word in lanes.add(chunk.events, chunk.words):
                out.write(f"{word.end_s:8.2f} s  heard “{shown(word.label)}”, score {word.score:.1f}\n")
            answers += [event for event in chunk.events if event.final]
            if chunk.t_s >= due_s or chunk.last:
                out.writelines(f"{chunk.t_s:8.2f} s  {line}\n" for line in _answered(lanes, answers))
                out.write(f"{chunk.t_s:8.2f} s  {peak_db:5.0f} dBFS  {_costs(stats)}\n" if chunk.t_s >= due_s else "")
                out.flush()
                due_s, peak_db, answers = max(due_s, chunk.t_s + EVERY_S), -100.0, []
    out.writelines(f"{line}\n" for line in summary(stats, heads))


def _answered(lanes: Lanes, answers: Sequence[Event]) -> Iterable[str]:
    for lane in lanes:
        events = [event for event in answers if event.head == lane.head]
        digest = DIGESTS[lane.look.draw](lane, events) if events else ""
        if digest:
            yield f"{lane.name}: {digest}"


def _labels(lane: Lane, events: Sequence[Event]) -> str:
    return ("" if lane.letters else " ").join(shown(event.label) for event in events)


def _times(lane: Lane, events: Sequence[Event]) -> str:
    return ", ".join(f"{shown(event.label)} {event.start_s:.2f} to {event.end_s:.2f} s" for event in events)


def _newest(lane: Lane, events: Sequence[Event]) -> str:
    return answer(events[-1])


def _nothing(lane: Lane, events: Sequence[Event]) -> str:
    """Words have their own lines at once, and units are for programs."""
    return ""


DIGESTS: dict[str, Callable[[Lane, Sequence[Event]], str]] = {
    "bar": _times,
    "text": _labels,
    "latest": _newest,
    "ribbon": _nothing,
    "map": _nothing,
}


def _costs(stats: Stats) -> str:
    return (
        f"chunk p50 {stats.percentile_ms(50):.1f} ms, p99 {stats.percentile_ms(99):.1f} ms of {stats.chunk_ms:g} ms, "
        f"rtf {stats.real_time_factor:.3f}, dropped {stats.dropped}"
    )
