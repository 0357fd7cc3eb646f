"""A device behind the system's own ssh and scp: keys, agents, jump hosts and config are the user's, as they are.

Host keys are checked as the user's config says; nothing here switches that off. ssh asks no questions (BatchMode),
because nobody may be there to answer: a host key that is not known is an error that says what to do.
"""

import shlex
from pathlib import Path

from .device import Address, DeviceError
from .process import Done, Lines, TimedOut, run

CONNECT_S = 15
LOST = 255  # ssh's own exit code when it, and not the program, failed
# ServerAliveInterval: ssh gives up after three that stay unanswered, so within about 15 s.
OPTIONS = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=5")
# What ssh says, and what to do about it.
# In this order: a changed host key also ends with "Host key verification failed".
MEANINGS = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key has changed since the last connection. If that is right "
    "(it was reinstalled), run: ssh-keygen -R {host}",
    "Host key verification failed": "its host key is not known. Run `{hand}` once, compare the fingerprint, say yes",
    "Too many authentication failures": "too many keys were offered; name the right one in ~/.ssh/config",
    "Permission denied": "none of your keys is accepted there. Bring one with: ssh-copy-id {target}",
    "Could not resolve hostname": "there is no machine of this name; check the spelling, or ~/.ssh/config",
    "Connection refused": "it is there, but nothing answers at that port; is sshd running, and the port right?",
    "No route to host": "it cannot be reached; is it on, and in the same network?",
    "Network is unreachable": "it cannot be reached; is this machine online?",
    "timed out": "it did not answer; is it on, and in the same network?",
    "not responding": "it stopped answering; is it still on?",
    "Connection reset": "the connection was lost",
    "Connection closed": "the connection was closed from there",
    "Broken pipe": "the connection was lost",
}


class SshDevice:
    """Python with ExecuTorch is looked for on the far side, `python3` unless told otherwise."""

    base = '"${TMPDIR:-/tmp}"'

    def __init__(self, address: Address, python: str | None = None) -> None:
        self.address = address.text
        self.python: str | None = python or "python3"
        self._host, self._port = address.host, address.port
        self._target = f"{address.user}@{address.host}" if address.user else address.host

    def _words(self, script: str) -> list[str]:
        port = ["-p", str(self._port)] if self._port else []
        # sh -c: the user's own shell there may be fish or csh. "--": a host name is never an option.
        return ["ssh", *OPTIONS, *port, "--", self._target, f"sh -c {shlex.quote(script)}"]

    def shell(self, script: str, timeout_s: float = 30.0) -> Done:
        try:
            done = run(self._words(script), timeout_s + CONNECT_S)
        except TimedOut as error:
            raise DeviceError(f"{self.address}: {error}; is the device overloaded, or the network slow?") from error
        problem = self.explain(done)
        if problem is not None:
            raise problem
        return done

    def start(self, script: str, silence_s: float) -> Lines:
        return Lines(self._words(script), silence_s)

    def push(self, paths: list[Path], folder: str) -> None:
        self._copy([*(str(path.resolve()) for path in paths), self._remote(folder + "/")])

    def pull(self, path: str, to: Path) -> None:
        self._copy([self._remote(path), str(to)])

    def _remote(self, path: str) -> str:
        # scp divides host and path at the first colon, also within an IPv6 address.
        host = f"[{self._host}]" if ":" in self._host else self._host
        return self._target.removesuffix(self._host) + f"{host}:{path}"

    def _copy(self, words: list[str]) -> None:
        # scp's -p keeps times; its port is -P.
        port = ["-P", str(self._port)] if self._port else []
        try:
            done = run(["scp", "-q", *OPTIONS, *port, "--", *words], timeout_s=1800)
        except TimedOut as error:
            raise DeviceError(f"{self.address}: copying took more than half an hour; is the network slow?") from error
        if done.code == 0:
            return
        if "No space left" in done.err or "Disk quota" in done.err or "write remote" in done.err:
            raise DeviceError(
                f"{self.address}: no space is left on the device ({done.words}); free some, or set TMPDIR there to "
                "another folder"
            )
        # scp's exit code is 1 for lost connections too, so that only its words tell.
        known = self.explain(Done(LOST, done.out, done.err))
        raise known or DeviceError(f"{self.address}: copying failed ({done.words})")

    def explain(self, done: Done) -> DeviceError | None:
        if done.code != LOST:
            return None
        hand = f"ssh {f'-p {self._port} ' if self._port else ''}{self._target}"
        for words, meaning in MEANINGS.items():
            if words in done.err:
                meant = meaning.format(host=self._host, target=self._target, hand=hand)
                return DeviceError(f"{self.address}: {meant}")
        return DeviceError(f"{self.address}: the connection failed ({done.words}); does `{hand} true` work?")
