import os
import signal
import subprocess
import sys
import termios

import pytest
from terminal import Terminal

from speechpress.runtime.demo.keyboard import HeldKey, read_keys

SCRIPT = """
import sys, time
from speechpress.runtime.demo.keyboard import keys, read_keys
with keys() as terminal:
    print("ready", flush=True)
    found = ""
    while len(found) < 3:
        found += read_keys(terminal)
        time.sleep(0.01)
    print("read", found, flush=True)
    if found == "bad":
        raise ValueError
    if found == "zzz":
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("typed", "number", "code"),
    [
        ("abc", None, 0),
        ("bad", None, 1),
        ("zzz", signal.SIGTERM, 143),
        ("zzz", signal.SIGHUP, 129),
        ("zzz", signal.SIGINT, -2),
    ],
)
def test_the_terminal_is_left_as_it_was(typed, number, code):
    terminal = Terminal(SCRIPT)
    terminal.until("ready")
    assert not termios.tcgetattr(terminal.main)[3] & (termios.ECHO | termios.ICANON)
    terminal.write(typed)
    terminal.until(f"read {typed}")
    if number:
        terminal.process.send_signal(number)
    assert terminal.close()[:2] == (code, True)


def test_without_a_terminal():
    code = "import os; os.setsid()\nfrom speechpress.runtime.demo.keyboard import keys\nwith keys() as k: print(k)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.stdout == "None\n", done.stderr


def test_arrows_are_no_keys():
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"\x1b[A")
    assert read_keys(read) == "" == read_keys(read)
    os.write(write, "é q".encode())
    assert read_keys(read) == "é q"
    os.close(read)
    os.close(write)


def test_a_held_key_is_let_go_when_it_repeats_no_more():
    key = HeldKey()
    assert key.press(0.0) and not key.press(0.5) and not key.press(0.53)
    assert not key.poll(1.0) and key.held
    assert key.poll(1.3) and not key.poll(1.4) and not key.held
    assert key.press(2.0)


def test_a_tapped_key_holds_for_the_length_of_a_word():
    key = HeldKey()
    key.press(0.0)
    assert not key.poll(1.1)
    assert key.poll(1.3)
