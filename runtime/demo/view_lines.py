"""The demo where nobody watches: plain lines for people, one JSON object per chunk for programs."""

import contextlib
from collections.abc import Iterable
from typing import TextIO

from ..json_file import json_text
from .worker import Chunk, Stats

EVERY_S = 1.0


def show_json(chunks: Iterable[Chunk], out: TextIO) -> None:
    """One object per chunk, each on a line of its own, written at once."""
    with contextlib.suppress(KeyboardInterrupt):
        for chunk in chunks:
            out.write(json_text(chunk.to_dict()) + "\n")
            out.flush()


def show_lines(chunks: Iterable[Chunk], stats: Stats, out: TextIO) -> None:
    """A line per second of audio and one per word, and the sum of it at the end."""
    # -100 dBFS is silence, the lowest level that the worker tells.
    due_s, t_s, peak_db, hits = EVERY_S, 0.0, -100.0, 0
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to leave, and the sum is still wanted
        for chunk in chunks:
            stats.add(chunk)
            t_s, peak_db = chunk.t_s, max(peak_db, chunk.level_db)
            hits += len(chunk.words)
            for hit in chunk.words:
                out.write(f"{hit.end_s:8.2f} s  heard “{hit.word}”, score {hit.score:.1f}\n")
            if t_s >= due_s:
                out.write(f"{t_s:8.2f} s  {peak_db:5.0f} dBFS  {_costs(stats)}\n")
                out.flush()
                due_s, peak_db = t_s + EVERY_S, -100.0
    out.write(f"heard {t_s:.2f} s in {stats.chunks} chunks, words found: {hits}.  {_costs(stats)}\n")


def _costs(stats: Stats) -> str:
    return (
        f"chunk p50 {stats.percentile_ms(50):.1f} ms, p99 {stats.percentile_ms(99):.1f} ms of {stats.chunk_ms:g} ms, "
        f"rtf {stats.real_time_factor:.3f}, dropped {stats.dropped}"
    )
