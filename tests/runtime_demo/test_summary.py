import pytest
import talked

from speechpress.runtime.demo.summary import summary
from speechpress.runtime.demo.worker import Stats


@pytest.fixture
def stats():
    stats = Stats(80)
    for chunk in talked.chunks(6.0):
        stats.add(chunk)
    return stats


def test_what_was_heard_what_it_cost_and_what_was_found(stats):
    lines = summary(stats, talked.HEADS)
    assert lines[0].split(maxsplit=1) == ["heard", "6.00 s in 75 chunks of 80 ms"]
    assert "median 3.0 ms, 99th percentile 3.0 ms" in lines[1] and "dropped blocks 0" in lines[2]
    assert [line.split()[0] for line in lines[3:-1]] == [head.name for head in talked.HEADS]
    assert summary(Stats(80), talked.HEADS[-1:])[-1] == "words found  0"
    phones = next(line for line in lines if line.startswith("phones"))
    assert phones.split(maxsplit=1)[1].startswith(f"{stats.events['phones']} events, 2")
    assert lines[-1] == "words found  2: computer 2"


def test_a_head_that_said_nothing_is_told_and_so_is_a_stream_of_nothing():
    lines = summary(Stats(80), talked.HEADS[1:2])
    assert "0.00 s in 0 chunks" in lines[0] and lines[3].split(maxsplit=1) == ["phones", "0 events"]
    assert lines[-1].endswith(" 0")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_it_is_broken_between_items_only(stats, width):
    stats.words.update({f"word number {k}": k for k in range(1, 20)})
    lines = summary(stats, (), width)
    names = [item for line in lines for item in line[13:].removeprefix("210: ").split(", ") if "word number" in item]
    assert len(lines) > 8 and max(map(len, lines)) <= max(width, 56)
    assert [name.rstrip(",").rsplit(" ", 1)[0] for name in names if name] == sorted(
        f"word number {k}" for k in range(1, 20)
    )
