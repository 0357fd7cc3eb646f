"""What is drawn once the work is safe: a plot or report that fails costs nobody the run that it is about."""

import logging
from collections.abc import Callable
from typing import TypeVar

from speechpress.runtime.errors import SpeechpressError

logger = logging.getLogger(__name__)
Drawn = TypeVar("Drawn")


def attempt(what: str, draw: Callable[[], Drawn]) -> Drawn | None:
    """What `draw` returns; whatever goes wrong in it is a warning, and None."""
    try:
        return draw()
    # Whatever a library for drawing raises: the weights are written by now, and no plot is worth losing a run.
    except Exception as error:
        reason = str(error) if isinstance(error, SpeechpressError) else repr(error)
        logger.warning("%s could not be drawn; all else is written: %s", what, reason)
        return None
