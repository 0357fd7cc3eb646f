"""What workers are told to do in tests; here, because a worker imports it by its name."""

import os
import signal
import sys
import time

from speechpress.runtime.errors import CheckFailed


def add(desk, one, two):
    desk.tell("adding")
    sys.stdout.write("a word\n")
    return one + two


def fail(desk):
    raise CheckFailed("not as it should be")


def crash(desk):
    raise ZeroDivisionError("by zero")


def killed(desk):
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(desk, path):
    desk.tell("waiting")
    while not path.exists():
        time.sleep(0.01)
    return "seen"


def work(desk, log, until):
    """Write a line every now and then, and step aside."""
    while not until.exists():
        with log.open("a") as file:
            file.write("w")
        time.sleep(0.005)
        desk.quiet.step_aside()


def listen_in_silence(desk, log, until):
    """How much is written while there is silence."""
    while not log.exists():
        time.sleep(0.01)
    with desk.quiet.silence():
        before = log.stat().st_size
        time.sleep(0.2)
        written = log.stat().st_size - before
    until.touch()
    return written
