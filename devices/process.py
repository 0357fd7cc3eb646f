"""Other programs: short ones with a time limit, long ones line by line with a limit on their silence."""

import queue
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..runtime.errors import SpeechpressError

# Enough for the end of a traceback; a program that complains for ever fills no memory.
LAST_LINES = 40


@dataclass(frozen=True)
class Done:
    """How a program ended: exit code (negative: the signal that killed it), and what it wrote."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def words(self) -> str:
        """Its last line of any sense, for an error message."""
        lines = [line.strip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"


class TimedOut(SpeechpressError):
    """A program was silent for too long, or did not end in time."""


def run(words: Sequence[str], timeout_s: float = 30.0) -> Done:
    """Run a program to its end.

    Raises:
        SpeechpressError: it is not installed.
        TimedOut: it took longer; it was ended.
    """
    try:
        done = subprocess.run(
            words,
            # A program that asks something gets an end of file instead of waiting for ever.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise SpeechpressError(f"{words[0]} is not installed, or not on PATH; `compress doctor` says how") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"`{words[0]}` did not end within {timeout_s:g} s: {' '.join(words)[:200]}") from error
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Lines:
    """A running program's lines of output, as they come.

    It has a session of its own, so that Ctrl-C reaches us only: we end it by ending its input, and hear its last words.
    """

    words: Sequence[str]
    silence_s: float = 120.0
    _queue: "queue.Queue[str | None]" = field(default_factory=queue.Queue)
    _errors: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def __post_init__(self) -> None:
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                self.words,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                text=True,
                errors="replace",
                bufsize=1,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise SpeechpressError(f"{self.words[0]} is not installed, or not on PATH") from error
        # Both outputs at once: a pipe that nobody reads fills up and stops the program.
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read_out(self) -> None:
        for line in self.process.stdout or ():
            self._queue.put(line.rstrip("\n"))
        # The end, told apart from silence.
        self._queue.put(None)

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            self._errors.append(line)

    def __iter__(self) -> Iterator[str]:
        """Raises TimedOut after `silence_s` without a line."""
        while True:
            try:
                line = self._queue.get(timeout=self.silence_s)
            except queue.Empty:
                raise TimedOut(f"nothing was heard for {self.silence_s:g} s") from None
            if line is None:
                return
            yield line

    def stop(self) -> None:
        """Let it end by itself, soon."""
        # It was asked to end: if it hangs, nobody wants to wait two minutes for that.
        self.silence_s = min(self.silence_s, 20.0)
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    def end(self, patience_s: float = 10.0) -> Done:
        """End it in any case, by itself if it does so in time; how it ended."""
        self.stop()
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            # A grandchild may hold the pipe open after the program has ended.
            thread.join(timeout=2)
        for stream in (self.process.stdout, self.process.stderr):
            # Closing a pipe that a thread still reads would wait for that thread.
            if stream is not None and not any(thread.is_alive() for thread in self._threads):
                stream.close()
        return Done(self.process.returncode, "", "".join(self._errors))
