"""Single keys from the terminal, which is left as it was on every way out."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

HOLD_GAP_S = 0.7  # keyboards repeat a held key after up to so long; terminals do not say when it is let go
TAP_S = 1.2  # a key that is only tapped holds for so long
ESCAPE, ENTER, BACKSPACE = "\x1b", ("\r", "\n"), ("\x7f", "\b")


@contextlib.contextmanager
def keys() -> Iterator[int | None]:
    """The terminal, giving every key at once and showing none, as a file descriptor; None where there is no terminal.

    It is opened by itself, so that stdin may carry audio. Signals that end the program (hang-up, termination) raise
    SystemExit within, so that everything is put back on the way out.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(ending_signals())
        try:
            import termios
            import tty

            # Non-blocking: whoever draws also asks for keys, and must not wait for one.
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NONBLOCK)
        except (ImportError, OSError):
            yield None
            return
        stack.callback(os.close, terminal)
        before = termios.tcgetattr(terminal)
        # TCSAFLUSH also throws away the repeats of a key that is still held.
        stack.callback(termios.tcsetattr, terminal, termios.TCSAFLUSH, before)
        # cbreak and not raw: Ctrl-C still interrupts, and output keeps its ends of lines.
        tty.setcbreak(terminal)
        yield terminal


def read_keys(terminal: int) -> str:
    """What was pressed since the last time, often nothing; arrow and function keys are left out."""
    try:
        found = os.read(terminal, 1024).decode("utf-8", errors="ignore")
    except (BlockingIOError, OSError):
        return ""
    # A lone Escape is the key; more after it is the code of an arrow or function key.
    return "" if found.startswith(ESCAPE) and len(found) > 1 else found


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Hang-up and termination raise SystemExit within, instead of ending the program at once."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # SIGHUP is not on Windows.
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    try:
        for number in before:
            signal.signal(number, leave)
    except ValueError:  # not the main thread, whose business signals are
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class HeldKey:
    """Whether a key is held, from its repeats; all times are in seconds of any one clock."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_s = 0.0
        self._repeats = 0

    @property
    def held(self) -> bool:
        return self._since_s is not None

    def press(self, now_s: float) -> bool:
        """The key came; True when that is the beginning."""
        begins = self._since_s is None
        if begins:
            self._since_s, self._repeats = now_s, 0
        self._repeats += not begins
        self._last_s = now_s
        return begins

    def poll(self, now_s: float) -> bool:
        """True, once, when the key was let go."""
        if self._since_s is None:
            return False
        # A tap has no repeats, so its end is only known by a time that suffices for a word.
        over = now_s - self._last_s > HOLD_GAP_S and (self._repeats > 0 or now_s - self._since_s > TAP_S)
        if over:
            self._since_s = None
        return over
