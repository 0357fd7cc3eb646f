"""Real processes; none of them loads torch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_jobs import add, crash, fail, killed, killed_once, once, unpicklable, wait_for

from speechpress.compressor.cluster.executor import Job, call, check_executor, open_executor, run_jobs
from speechpress.compressor.cluster.jobs import ATTEMPTS, reason
from speechpress.runtime.errors import CheckFailed, SpeechpressError


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with open_executor("processes", 2, tmp_path_factory.mktemp("workers") / "log") as workers:
        yield workers


def test_calls_are_answered_and_what_they_tell_is_heard(pair):
    told = []
    assert call(pair, told.append, add, 2, 3) == 5 and told == ["adding"]
    assert "a word" in pair.log.read_text()  # not on our own output
    with pytest.raises(CheckFailed, match=r"^not as it should be"):
        call(pair, told.append, fail)
    with pytest.raises(SpeechpressError, match=r"ZeroDivisionError: by zero"):
        call(pair, told.append, crash)
    with pytest.raises(SpeechpressError, match=r"a worker process ended: .*pickle"):
        call(pair, told.append, unpicklable)
    assert pair.idle == 2 and not pair.calls and pair.wait() == []


def test_only_the_job_of_a_killed_process_is_done_again(pair, tmp_path):
    jobs = [Job("killed", killed_once, (tmp_path / "killed",))]
    jobs += [Job(f"job {number}", once, (tmp_path / f"{number}",)) for number in range(4)]
    ended = []
    found = run_jobs(pair, jobs, done=lambda name, value: ended.append(name))
    assert sorted(found) == sorted(ended) == sorted(job.name for job in jobs) and found["killed"] == "done"
    assert (tmp_path / "killed").read_text() == "begun\n" * 2
    assert [(tmp_path / f"{number}").read_text() for number in range(4)] == ["done\n"] * 4


def test_a_job_that_kills_each_process_is_named_and_takes_no_other_along(pair, tmp_path):
    pair.start("long", wait_for, tmp_path / "end")
    pair.start("killed", killed, tmp_path / "killed")
    heard = next(item for item in iter(lambda: pair.wait(20)[-1], None) if item.kind != "told")
    assert (heard.kind, heard.call, reason(heard)) == ("lost", "killed", "it was killed 3 times: was it out of memory?")
    assert (tmp_path / "killed").read_text() == "begun\n" * ATTEMPTS and pair.calls == ["long"]
    (tmp_path / "end").touch()
    assert [item.value for item in pair.wait(20)] == ["seen"]
    with pytest.raises(SpeechpressError, match=r"^trial 7: a worker process ended: it was killed 3 times"):
        run_jobs(pair, [Job("trial 7", killed, (tmp_path / "again",))])


def test_a_job_that_fails_names_itself(pair):
    with pytest.raises(CheckFailed, match=r"^shard 3/4: not as it should be"):
        run_jobs(pair, [Job("shard 3/4", fail)])


@pytest.mark.parametrize("address", ["rays", "ray:", "processes:4", "threads", ""])
def test_an_executor_that_there_is_not_is_refused(address):
    with pytest.raises(SpeechpressError, match=r"must be processes, ray, or ray:ADDRESS"):
        check_executor(address)


SCRIPT = """
import sys, time; from pathlib import Path; sys.path.insert(0, {tests!r})
from speechpress.compressor.cluster.executor import Job, open_executor, run_jobs; from worker_jobs import wait_for
if __name__ == "__main__":
    with open_executor("processes", 2, Path({log!r})) as workers:
        hear = lambda name, words: print(words, *workers.pids, flush=True)
        run_jobs(workers, [Job(name, wait_for, (Path("never"),)) for name in "ab"], hear)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_owner(tmp_path, end):
    script = tmp_path / "owner.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1] / "helpers"), log=str(tmp_path / "log")))
    owner = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    owner.stdout.readline()
    told, *pids = owner.stdout.readline().split()
    assert told == "waiting" and len(pids) == 2 and all(map(alive, pids))
    os.killpg(owner.pid, end)  # Ctrl-C reaches the whole group of a terminal
    owner.communicate()
    for _ in range(200):
        if not any(map(alive, pids)):
            return
        time.sleep(0.05)
    pytest.fail("a worker is still there")


def alive(pid):
    """Not when it only waits for somebody to ask how it ended."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")
