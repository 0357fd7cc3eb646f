"""The sum of a run of the demo, for people: what was heard, what it cost, and what was found."""

from collections.abc import Iterable

from ..answers.head_spec import HeadSpec
from ..escape import counted
from .lanes import LOOKS, shown
from .worker import Stats


def summary(stats: Stats, heads: Iterable[HeadSpec] = (), width: int = 78) -> list[str]:
    """Lines of at most `width` characters.

    Args:
        heads: of the bundle, so that one that said nothing is told as well; those for words have the line of words.
        width: lists are broken between their items; a single item that is longer stays whole.
    """
    facts = [
        ("heard", [f"{stats.heard_s:.2f} s in {counted(stats.chunks, 'chunk')} of {stats.chunk_ms:g} ms"]),
        ("per chunk", [f"median {stats.overall_ms(50):.1f} ms,", f"99th percentile {stats.overall_ms(99):.1f} ms"]),
        ("load", [f"real-time factor {stats.real_time_factor:.3f},", f"dropped blocks {stats.dropped}"]),
    ]
    own = [head.name for head in heads if LOOKS[head.kind].draw != "map"]
    names = list(dict.fromkeys([*own, *stats.events]))
    facts += [(shown(name), [_answers(stats, name)]) for name in names]
    found = [f"{shown(word)} {count}," for word, count in sorted(stats.words.items())]
    facts.append(("words found", [f"{stats.words.total()}:" if found else "0", *found]))
    room = max(len(name) for name, _ in facts) + 2
    return [line for name, items in facts for line in _wrapped(name, items, room, width)]


def _answers(stats: Stats, head: str) -> str:
    late_ms, count = stats.answer_ms(head), stats.events[head]
    when = "" if late_ms is None else f", {late_ms:.0f} ms after their end (median)"
    return f"{counted(count, 'event')}{when}"


def _wrapped(name: str, items: list[str], room: int, width: int) -> Iterable[str]:
    line = name.ljust(room)
    for number, item in enumerate(items):
        if number and len(line) + 1 + len(item) > width:
            yield line
            line = " " * room + item
        else:
            line += (" " if number else "") + item
    yield line.rstrip(",")
