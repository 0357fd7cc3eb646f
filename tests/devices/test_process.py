import sys

import pytest

from speechpress.devices.process import Done, Lines, TimedOut, run
from speechpress.runtime.errors import SpeechpressError


def test_what_a_program_wrote_and_how_it_ended():
    done = run(["sh", "-c", "echo one; echo two >&2; exit 3"])
    assert (done.code, done.out, done.err) == (3, "one\n", "two\n") and done.words == "two"
    assert Done(0).words == "it said nothing"


def test_a_program_that_does_not_end():
    with pytest.raises(TimedOut, match=r"did not end within 0\.2 s"):
        run(["sleep", "60"], timeout_s=0.2)


def test_a_program_that_is_not_there():
    for start in (run, Lines):
        with pytest.raises(SpeechpressError, match="not installed, or not on PATH"):
            start(["no-such-program-at-all"])


def test_lines_come_one_by_one():
    lines = Lines([sys.executable, "-c", "print('a'); print('b'); raise SystemExit(4)"])
    assert list(lines) == ["a", "b"] and lines.end().code == 4


def test_silence_is_noticed():
    lines = Lines(["sh", "-c", "echo a; exec sleep 60"], silence_s=0.3)
    with pytest.raises(TimedOut, match="nothing was heard"):
        list(lines)
    lines.process.kill()
    assert lines.end().code != 0


def test_a_program_that_is_told_to_stop_may_finish():
    lines = Lines(["sh", "-c", "echo begun; cat > /dev/null; echo ended"])
    heard = iter(lines)
    assert next(heard) == "begun"
    lines.stop()
    assert list(lines) == ["ended"] and lines.end().code == 0
