import io
import json
from dataclasses import replace

import numpy as np
import talked

from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.demo.spotting import Hit
from speechpress.runtime.demo.view_lines import show_json, show_lines
from speechpress.runtime.demo.worker import Chunk, Stats


def chunks(count=30):
    for number in range(count):
        words = (Hit("hé", 6.5, 0.9, 1.3),) if number == 15 else ()
        frames, levels = np.zeros((4, 8), np.float32), np.full(4, -20.0, np.float32)
        yield Chunk(0.08 * (number + 1), frames, levels, np.zeros((4, 3), np.uint8), 2.0, 1, words, 0.0)


def interrupted():
    yield from chunks(20)
    raise KeyboardInterrupt


def test_one_object_per_chunk():
    out = io.StringIO()
    show_json(chunks(), out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 30 and lines[15]["words"] == [{"word": "hé", "score": 6.5, "start_s": 0.9, "end_s": 1.3}]
    assert lines[0] == {
        **{"t_s": 0.08, "frames": 4, "infer_ms": 2.0, "dropped": 1, "level_db": -20.0, "words": []},
        **{"heard_s": 0.0, "events": []},
    }


def test_a_line_per_second_one_per_word_and_the_sum():
    out = io.StringIO()
    show_lines(chunks(), Stats(80), out)
    lines = out.getvalue().splitlines()
    assert sum("heard “hé”" in line for line in lines) == 1 and sum("dBFS" in line for line in lines) == 2
    assert lines[-4:] == [
        "heard        2.40 s in 30 chunks of 80 ms",
        "per chunk    median 2.0 ms, 99th percentile 2.0 ms",
        "load         real-time factor 0.025, dropped blocks 1",
        "words found  1: hé 1",
    ]


def test_leaving_is_no_error():
    out = io.StringIO()
    show_lines(interrupted(), Stats(80), out)
    assert "heard        1.60 s" in out.getvalue()
    show_json(interrupted(), out)


LAST_S = 37 * talked.CHUNK_S + 0.08  # of the whole chunks in three seconds


def test_the_events_of_all_heads_are_in_the_objects():
    out = io.StringIO()
    show_json(talked.chunks(3.0), out)
    told = [event for line in out.getvalue().splitlines() for event in json.loads(line)["events"]]
    wanted = [event.to_dict() for event in talked.spoken(3.0) if event.end_s + talked.LATE_S <= LAST_S]
    assert sorted(told, key=json.dumps) == sorted(wanted, key=json.dumps) and {e["head"] for e in told} == {
        head.name for head in talked.HEADS
    }


def test_a_line_for_each_head_that_answered():
    out = io.StringIO()
    show_lines(talked.chunks(4.0), Stats(80), out, talked.HEADS)
    text = out.getvalue()
    assert "1.04 s  letters: the qui\n" in text
    assert " s  phones: DH AH0 K W IH1" in text and " s  voice: speech 0.30 to 1.70 s" in text
    assert " s  mood: happy 0.61" in text and "heard “computer”, score 0.9" in text
    assert text.count("heard “computer”") == 1 and "units:" not in text
    # Every label is told once, whichever second it falls into.
    letters = "".join(line.split("letters: ", 1)[1] for line in text.splitlines() if "letters: " in line)
    assert letters == "the quick brown fox jumps over the lazy dog the"[: len(letters)] and len(letters) > 35
    last = text.splitlines()[-1]
    assert last == "words found  1: computer 1", text


def test_labels_of_a_bundle_cannot_steer_a_terminal():
    head = HeadSpec("a\x1b[2J", "ctc", ("", "\x1b]0;x\x07"))
    said = Event(head.name, "ctc", 0, head.labels[1], 0.1, 0.2, 0.5)
    out = io.StringIO()
    show_lines([next(chunks(1)), replace(next(chunks(1)), events=(said,), last=True)], Stats(80), out, (head,))
    assert (
        "\x1b" not in out.getvalue()
        and "\x07" not in out.getvalue()
        and "a\ufffd[2J: \ufffd]0;x\ufffd" in out.getvalue()
    )
