"""Android phones behind the system's own adb."""

import shutil
from pathlib import Path
from typing import Any

from ..runtime.errors import SpeechpressError
from .device import DeviceError
from .process import Done, Lines, TimedOut, run

INSTALL = "install it with: sudo apt-get install adb (Debian, Ubuntu) or brew install android-platform-tools (macOS)"
START_S = 30.0  # the first call also starts adb's server
# What a phone's state, or adb, says, and what to do about it.
# Looked through in this order, so the more telling words stand first.
MEANINGS = {
    "unauthorized": "does not trust this computer yet: unlock it and confirm the question on its screen",
    "no permissions": "is not accessible to you: add udev rules (sudo apt-get install "
    "android-sdk-platform-tools-common), then plug it in again",
    "offline": "is offline: unplug it, plug it in again, and run: adb reconnect",
    "not found": "is not connected (any more); `adb devices` lists what is. Check the cable and USB debugging",
    "no devices": "is not connected; plug it in and switch on USB debugging in its developer options",
    "device still": "is still starting up or being authorised; try again in a moment",
    "closed": "closed the connection; check the cable",
    "protocol fault": "lost the connection; check the cable",
    "No space left": "has no space left; free some on the phone",
    "Read-only file system": "does not allow writing to /data/local/tmp",
}


class AdbDevice:
    """A phone by its serial number. It has no Python, so `python` is None and a native runner is used."""

    # The one folder in which adb's user may both write and start programs.
    base = "/data/local/tmp"
    python: str | None = None

    def __init__(self, serial: str) -> None:
        self.serial, self.address = serial, f"adb:{serial}"

    def shell(self, script: str, timeout_s: float = 30.0) -> Done:
        done = self._run(["shell", script], timeout_s)
        # adb's own errors and a script's have the same exit codes: only what it says tells them apart.
        problem = self.explain(done)
        if problem is not None:
            raise problem
        return done

    def start(self, script: str, silence_s: float) -> Lines:
        need_adb()
        return Lines(["adb", "-s", self.serial, "shell", script], silence_s)

    def push(self, paths: list[Path], folder: str) -> None:
        self._copy(["push", *(str(path.resolve()) for path in paths), f"{folder}/"])

    def pull(self, path: str, to: Path) -> None:
        self._copy(["pull", path, str(to)])

    def _copy(self, words: list[str]) -> None:
        # Half an hour: a program may have hundreds of megabytes.
        done = self._run(words, 1800)
        if done.code:
            raise self._meaning(f"{done.out}\n{done.err}") or DeviceError(
                f"{self.address}: {words[0]} failed ({done.words})"
            )

    def _run(self, words: list[str], timeout_s: float) -> Done:
        need_adb()
        try:
            # -s always: with two phones connected, adb refuses to choose.
            return run(["adb", "-s", self.serial, *words], timeout_s + START_S)
        except TimedOut as error:
            raise DeviceError(f"{self.address}: {error}; run `adb kill-server`, plug the phone in again") from error

    def explain(self, done: Done) -> DeviceError | None:
        said = [line for line in done.err.splitlines() if line.startswith(("error:", "adb:"))]
        return self._meaning("\n".join(said)) if done.code and said else None

    def _meaning(self, said: str) -> DeviceError | None:
        for words, meaning in MEANINGS.items():
            if words in said:
                return DeviceError(f"{self.address}: the phone {meaning}")
        return None


def need_adb() -> None:
    """Raises SpeechpressError when adb is not installed."""
    if shutil.which("adb") is None:
        raise SpeechpressError(f"adb is not installed; {INSTALL}")


def connected() -> list[dict[str, Any]]:
    """The phones that adb sees: {address, state, model, fix}; asking starts adb's server.

    Raises SpeechpressError when adb is not installed or its server does not start.
    """
    need_adb()
    done = run(["adb", "devices", "-l"], START_S)
    if done.code:
        raise SpeechpressError(f"adb: its server does not start ({done.words}); run: adb kill-server")
    return parse_devices(done.out)


def parse_devices(text: str) -> list[dict[str, Any]]:
    """What `adb devices -l` prints."""
    rows = []
    for line in text.splitlines():
        serial, _, rest = line.strip().partition(" ")
        # The heading, and "* daemon started", which adb writes to the same output.
        if not serial or serial == "List" or line.startswith("*"):
            continue
        # "[http://...]" is a link to help that adb prints; its colon divides no key from a value.
        facts = dict(word.split(":", 1) for word in rest.split() if ":" in word and "[" not in word)
        known = (words for words in ("unauthorized", "offline", "no permissions") if words in rest)
        state = next(known, rest.split()[0] if rest.split() else "unknown")
        fix = f"the phone {MEANINGS[state]}" if state in MEANINGS else ""
        model = facts.get("model", "").replace("_", " ")
        rows.append({"address": f"adb:{serial}", "state": state, "model": model, "fix": fix})
    return rows
