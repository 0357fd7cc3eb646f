import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.runtime.errors import SpeechpressError


def test_lines_come_back_in_order(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    events = [{"event": "train", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    for event in events:
        log.write(event)
    assert log.read() == events


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(-1, 20))
def test_a_restart_keeps_what_was_done_up_to_its_step(tmp_path_factory, steps, at):
    log = MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    for step in steps:
        log.write({"event": "train", "step": step})
    log.restart(at)
    assert log.read() == [{"event": "train", "step": step} for step in steps if step <= at]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = {"event": "train", "step": 1}
    path.write_text(json.dumps(whole) + "\n" + '{"event": "train", "step": 2, "lo')
    assert MetricsLog(path).read() == [whole]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "train"}',
        '{"step": "2", "event": "train"}',
        '{"step": 2, "event": 3}',
        '{"step": 2, "event": "train", "loss": []}',
        '{"step": 2, "event": "train", "layers": [1]}',
        '{"step": 2, "event": "train", "layers": {"1": {"cosine": "x"}}}',
        '{"step": 2, "event": "train", "more": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[2]",
    ],
)
def test_a_line_that_no_step_wrote_is_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line + '\n{"step": 3, "event": "train", "loss": NaN}\n')
    assert [event["step"] for event in MetricsLog(path).read()] == [3]


def test_a_log_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(SpeechpressError, match="cannot be written"):
        MetricsLog(tmp_path / "no" / "metrics.jsonl").write({"step": 1})
