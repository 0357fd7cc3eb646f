"""Processes that train together, on one host or several: each says what it has, and all refuse what does not fit.

Nothing here, nor anywhere else in training, compares times of two hosts: their clocks may be hours apart.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from speechpress.runtime.errors import SpeechpressError


def world_size() -> int:
    """How many processes there are: torchrun says so, and without it there is one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is."""
    return int(os.environ.get("RANK", "0"))


def gathered(value: Any) -> list[Any]:
    """What each process has, by rank; the process group has been made where there is more than one."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, value)
    return found


def from_first(value: Any) -> Any:
    """What the first process has."""
    return gathered(value)[0]


def require_same(facts: Mapping[str, Any], advice: str) -> None:
    """Raises SpeechpressError, on every process alike, for the first rank of which a fact is not that of rank 0."""
    everybody = gathered((socket.gethostname(), dict(facts)))
    first_host, wanted = everybody[0]
    for number, (host, found) in enumerate(everybody):
        lines = differences(wanted, found)
        if lines:
            shown = "\n  ".join(lines)
            raise SpeechpressError(f"rank {number} on {host} does not fit rank 0 on {first_host}:\n  {shown}\n{advice}")


def require_all(there: bool, what: str, advice: str) -> None:
    """Raises SpeechpressError, on every process alike, with the ranks that do not have what they should."""
    everybody = gathered((socket.gethostname(), there))
    lacking = [f"rank {number} on {host}" for number, (host, has) in enumerate(everybody) if not has]
    if lacking:
        raise SpeechpressError(f"{', '.join(lacking)}: {what}; {advice}")


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """A line for each value in which two documents differ, by its dotted name."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = sorted(wanted.keys() | found.keys())
        lines = [differences(wanted.get(key), found.get(key), f"{path}.{key}" if path else str(key)) for key in keys]
        return [line for some in lines for line in some]
    return [] if wanted == found else [f"{path}: it has {found!r}, rank 0 has {wanted!r}"]
