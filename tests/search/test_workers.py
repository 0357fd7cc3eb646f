"""Real processes; none of them loads torch."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_jobs import add, crash, fail, killed, listen_in_silence, wait_for, work

from speechpress.compressor.search.workers import Workers
from speechpress.runtime.errors import CheckFailed, SpeechpressError


def results(workers, wanted):
    """{call: what was heard last} once so many calls have ended."""
    found = {}
    while len(found) < wanted:
        found |= {heard.call: heard for heard in workers.wait(20) if heard.kind != "told"}
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with Workers(2, tmp_path_factory.mktemp("workers") / "log") as workers:
        yield workers


def test_calls_are_answered_and_what_they_tell_is_heard(pair):
    told = []
    assert pair.call(told.append, add, 2, 3) == 5 and told == ["adding"]
    assert "a word" in pair.log.read_text()  # not on our own output
    with pytest.raises(CheckFailed, match="not as it should be"):
        pair.call(told.append, fail)
    with pytest.raises(SpeechpressError, match=r"ZeroDivisionError: by zero"):
        pair.call(told.append, crash)
    assert pair.idle == 2


def test_nobody_works_while_one_wants_silence(pair, tmp_path):
    log, until = tmp_path / "log", tmp_path / "until"
    pair.start("work", work, log, until)
    pair.start("silence", listen_in_silence, log, until)
    found = results(pair, 2)
    assert found["silence"].value == 0 and log.stat().st_size > 0


def test_when_one_is_killed_all_start_afresh_and_what_was_lost_is_said(pair, tmp_path):
    pair.start("long", wait_for, tmp_path / "never")
    pair.start("killed", killed)
    found = results(pair, 2)
    assert {heard.kind for heard in found.values()} == {"lost"} and set(found) == {"long", "killed"}
    assert pair.call(print, add, 1, 1) == 2
    with pytest.raises(SpeechpressError, match="was killed: was it out of memory"):
        pair.call(print, killed)


SCRIPT = """
import sys, time; from pathlib import Path; sys.path.insert(0, {tests!r})
from speechpress.compressor.search.workers import Workers; from worker_jobs import wait_for
if __name__ == "__main__":
    with Workers(1, Path({log!r})) as workers:
        workers.start("long", wait_for, Path("never"))
        print(*[heard.value for heard in workers.wait(20)], workers.workers[0].process.pid, flush=True)
        time.sleep(60)
"""


def test_workers_end_when_their_owner_is_killed(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1] / "helpers"), log=str(tmp_path / "log")))
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    told, pid = owner.stdout.readline().split()
    assert told == "waiting" and alive(pid)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    for _ in range(200):
        if not alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("the worker is still there")


def alive(pid):
    """Not when it only waits for somebody to ask how it ended."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")
