"""A program in a terminal of its own, as a person runs it."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, code, *words, env=None, columns=100):
        self.main, name = pty.openpty()
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.before = termios.tcgetattr(self.main)
        take = f"import os, fcntl, termios; os.setsid(); fcntl.ioctl({name}, termios.TIOCSCTTY, 0)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", take + code, *map(str, words)],
            stdin=name,
            stdout=name,
            stderr=name,
            pass_fds=(name,),
            env=env,
        )
        os.close(name)

    def until(self, word):
        found = ""
        while word not in found:
            assert select.select([self.main], [], [], 30)[0], found
            found += os.read(self.main, 65536).decode(errors="ignore")
        return found

    def write(self, text):
        os.write(self.main, text.encode())

    def close(self):
        """Its exit code, whether the terminal is as it was, and what it wrote at last."""
        last = ""
        with contextlib.suppress(OSError):  # how a terminal says that nobody has it open any more
            while select.select([self.main], [], [], 30)[0]:
                last += os.read(self.main, 65536).decode(errors="ignore")
        code = self.process.wait(30)
        same = termios.tcgetattr(self.main) == self.before
        os.close(self.main)
        return code, same, last
