"""Hears the events of a run and hands their numbers to a tracker; whatever goes wrong there, the run goes on."""

import logging
import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import Fields, Text, fits

from .writers import NONE, Place, Writer, library_of, open_writer

logger = logging.getLogger(__name__)
FOLDER, IDENTITY = "track", "run.json"
_SAVED = Fields({"id": Text(100, pattern="[A-Za-z0-9]+")})


def scalars(event: dict[str, Any]) -> dict[str, float]:
    """The numbers of an event, each under its path: {"train/loss": ..., "valid/layers/4/cosine": ...}."""
    return dict(_numbers(event["event"], {key: value for key, value in event.items() if key not in ("event", "step")}))


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{path}/{key}", inner)
    # A truth value is no measurement, and a number that is none cannot be drawn.
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, float(value)


@dataclass
class Tracker:
    """Listens to the events of a run, or of the two runs of one with gates; as a context, closed at its end.

    Nothing is written before the run itself has begun to write its folder: that may still be refused or replaced.
    """

    kind: str
    writer: Writer | None = field(default=None, init=False)
    plan: dict[str, Any] = field(default_factory=dict, init=False)
    off: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        # Under torchrun the first process tracks; the others train the same.
        self.off = self.kind == NONE or bool(int(os.environ.get("RANK", "0")))

    def __call__(self, event: dict[str, Any]) -> None:
        if self.off:
            return
        try:
            self._hear(event)
        # Whatever a foreign library raises: hours of training are not lost for a curve.
        except Exception as error:
            self.off = True
            logger.warning("%s failed and is off from here on; the run continues: %r", self.kind, error)

    def _hear(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "plan":
            self._close()
            self.plan = event
        elif name == "resumed":
            self.writer = self._open(event["step"])
        elif name in ("train", "valid"):
            # The first event of a run that begins is its validation at step 0.
            self.writer = self.writer or self._open(None)
            self.writer.write(scalars(event), event["step"])

    def _open(self, resumed_at: int | None) -> Writer:
        out = Path(self.plan["out"])
        place = Place(out / FOLDER, out.name, identity(out / FOLDER, resumed_at is not None), resumed_at)
        about: dict[str, Any] = {key: self.plan[key] for key in ("recipe", "steps") if key in self.plan}
        return open_writer(self.kind, place, about)

    def _close(self) -> None:
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except Exception as trouble:
            logger.warning("%s could not be closed: %r", self.kind, trouble)


def identity(folder: Path, resumed: bool) -> str:
    """The name by which a tracker knows a run; a resumed run has that of its beginning."""
    path = folder / IDENTITY
    if resumed and path.is_file():
        try:
            found = read_json(path)
        except SpeechpressError:
            found = {}
        if fits(found, _SAVED):
            return found["id"]
    name = uuid.uuid4().hex[:16]
    write_json(path, {"id": name})
    return name


def tracker(kind: str) -> Tracker:
    """Raises SpeechpressError for an unknown tracker, and when its package is not installed."""
    library_of(kind)
    return Tracker(kind)
