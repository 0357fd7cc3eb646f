"""A temporary folder on a device: made with enough room, and gone afterwards, also when the device was lost."""

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ..runtime.errors import SpeechpressError
from .device import Device, DeviceError

# A watcher on the device ends what still runs and removes the folder when we cannot: after the connection broke, say.
# It goes away with the folder.
MAKE = r"""
base={base}
[ -d "$base" ] && [ -w "$base" ] || {{ echo "$base cannot be written"; exit 3; }}
set -- $(df -Pk "$base" 2>/dev/null | tail -n 1)
[ -n "$4" ] && [ "$4" -lt {needed_kib} ] && {{ echo "$base has $4 KiB left, {needed_kib} are needed"; exit 4; }}
dir=$(mktemp -d "$base/speechpress.XXXXXX") || exit 3
(
  trap '' HUP
  left={ticks}
  while [ -d "$dir" ] && [ $left -gt 0 ]; do sleep {tick_s}; left=$((left-1)); done
  [ -f "$dir/pid" ] && kill -9 "$(cat "$dir/pid")"
  rm -rf "$dir"
) </dev/null >/dev/null 2>&1 &
echo "$dir"
"""
# The program first: a file that is open, or written again, keeps the folder from going.
REMOVE = r"""
[ -f {folder}/pid ] && kill -9 "$(cat {folder}/pid)" 2>/dev/null
rm -rf {folder}
[ ! -e {folder} ]
"""
TICK_S = 10
OnEvent = Callable[[dict[str, Any]], None]
NO_ROOM = 4


@contextlib.contextmanager
def workspace(device: Device, needed_bytes: int, life_s: float, listen: OnEvent) -> Iterator[str]:
    """A new folder on the device.

    Args:
        device: where.
        needed_bytes: that will be copied there.
        life_s: after which the device removes it by itself.
        listen: hears {"event": "say", "text"} when it could not be removed.

    Raises:
        DeviceError: the device cannot be reached.
        SpeechpressError: it has too little space, or no folder that can be written.
    """
    folder = _make(device, needed_bytes, life_s)
    try:
        yield folder
    finally:
        left = _remove(device, folder, life_s)
        if left is not None:
            listen({"event": "say", "text": left})


def _make(device: Device, needed_bytes: int, life_s: float) -> str:
    ticks = int(life_s / TICK_S) + 1
    script = MAKE.format(base=device.base, needed_kib=needed_bytes // 1024 + 1, ticks=ticks, tick_s=TICK_S)
    done = device.shell(script)
    if done.code == NO_ROOM:
        raise SpeechpressError(
            f"{device.address}: no space is left there: {done.words}. Free some, or set TMPDIR there"
        )
    # The last line: a login shell may greet first.
    folder = done.out.strip().splitlines()[-1] if done.out.strip() else ""
    # The path goes into `rm -rf` later: nothing else than what mktemp makes is taken.
    if done.code or not re.fullmatch(r"/[^\n]*/speechpress\.\w+", folder):
        raise SpeechpressError(f"{device.address}: no temporary folder could be made there ({done.words})")
    return folder


def _remove(device: Device, folder: str, life_s: float) -> str | None:
    """What to say when it could not be."""
    try:
        done = device.shell(REMOVE.format(folder=shlex.quote(folder)))
    except SpeechpressError as error:
        return f"{folder} is still on the device ({error}); it removes it by itself within {life_s / 60:.0f} min"
    if done.code:
        return f"{folder} could not be removed from {device.address} ({done.words})"
    return None


def check_end(device: Device, code: int, error_words: str, done_words: str) -> DeviceError:
    """What to say of a program that ended by itself, and not well."""
    # A shell tells a signal as 128 + n, subprocess as -n.
    number = code - 128 if code > 128 else -code
    # Nobody here sends it but the watcher: mostly it is the kernel, out of memory.
    if number == 9:
        return DeviceError(f"{device.address}: the program was killed; was it out of memory? ({done_words})")
    names = {
        4: "illegal instruction: built for another processor",
        6: "abort",
        7: "bus error",
        11: "segmentation fault",
    }
    if code < 0 or code > 128:
        why = names.get(number, f"signal {number}")
        return DeviceError(f"{device.address}: the program crashed ({why}). {error_words}")
    return DeviceError(f"{device.address}: the program failed with exit code {code} ({done_words}). {error_words}")
