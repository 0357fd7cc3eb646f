"""What long work tells while it goes on: one type of event, and of those who hear it.

An event is a plain dict whose "event" names its kind, so that it can be written as a line of JSON as it is.
"""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
OnEvent = Callable[[Event], None]
OnText = Callable[[str], None]


def to_all(*listeners: OnEvent) -> OnEvent:
    """One listener that tells several, in their order."""

    def hear(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return hear


def silent(event: Event) -> None:
    """For work that nobody listens to, such as that of every process but the first."""
