"""What workers are told to do in tests; here, because a worker imports it by its name."""

import os
import signal
import sys
import time

from speechpress.compressor.search.quiet import Quiet
from speechpress.runtime.errors import CheckFailed


def add(desk, one, two):
    desk.tell("adding")
    sys.stdout.write("a word\n")
    return one + two


def fail(desk):
    raise CheckFailed("not as it should be")


def unpicklable(desk):
    return desk.tell


def crash(desk):
    raise ZeroDivisionError("by zero")


def killed(desk, done):
    """Die, as when memory is short."""
    _note(done, "begun")
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(desk, done):
    """Die at the first attempt."""
    first = not done.exists()
    _note(done, "begun")
    if first:
        desk.tell("x" * 200_000)  # more than a pipe holds: the owner has to listen meanwhile
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def once(desk, done):
    """Leave a line for each time that it is done."""
    time.sleep(0.3)
    _note(done, "done")
    return os.getpid()


def _note(path, word):
    with path.open("a") as file:
        file.write(f"{word}\n")


def wait_for(desk, path):
    desk.tell("waiting")
    while not path.exists():
        time.sleep(0.01)
    return "seen"


def work(desk, folder, log, until):
    """Write a line every now and then, and step aside."""
    quiet = Quiet(folder)
    with quiet.working():
        while not until.exists():
            with log.open("a") as file:
                file.write("w")
            time.sleep(0.005)
            quiet.step_aside()


def listen_in_silence(desk, folder, log, until):
    """How much is written while there is silence."""
    quiet = Quiet(folder)
    with quiet.working():
        while not log.exists():
            time.sleep(0.01)
        with quiet.silence():
            before = log.stat().st_size
            time.sleep(0.2)
            written = log.stat().st_size - before
    until.touch()
    return written


def die_at_work(desk, folder, log):
    """Be killed while working, and while somebody else might want silence."""
    first = not log.exists()
    quiet = Quiet(folder)
    with quiet.working():
        log.touch()
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
    return "done"
