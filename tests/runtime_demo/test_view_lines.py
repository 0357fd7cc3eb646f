import io
import json

import numpy as np

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
    assert lines[0] == {"t_s": 0.08, "frames": 4, "infer_ms": 2.0, "dropped": 1, "level_db": -20.0, "words": []}


def test_a_line_per_second_one_per_word_and_the_sum():
    out = io.StringIO()
    show_lines(chunks(), Stats(80), out)
    lines = out.getvalue().splitlines()
    assert sum("heard “hé”" in line for line in lines) == 1 and len(lines) == 4
    assert (
        lines[-1].startswith("heard 2.40 s in 30 chunks, words found: 1.  chunk p50 2.0 ms")
        and "dropped 1" in lines[-1]
    )


def test_leaving_is_no_error():
    out = io.StringIO()
    show_lines(interrupted(), Stats(80), out)
    assert "heard 1.60 s" in out.getvalue()
    show_json(interrupted(), out)
