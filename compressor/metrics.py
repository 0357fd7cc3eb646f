"""metrics.jsonl: one JSON object per line, in the order of the steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json_lines
from speechpress.runtime.json_text import json_text
from speechpress.runtime.schema import Fields, Maybe, Real, Table, Text, Whole, fits

_NUMBER = Maybe(Real(measured=True))
EVENT = Fields({"step": Whole(), "event": Text(100)}, {"loss": _NUMBER, "layers": Table(Table(_NUMBER))})


@dataclass(frozen=True)
class MetricsLog:
    """Appends events; after a resume, lines beyond the restored step are dropped, so that no step stands twice."""

    path: Path

    def write(self, event: dict[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(event, ascii=True) + "\n")
        except OSError as error:
            raise SpeechpressError(f"{self.path}: cannot be written ({error})") from error

    def restart(self, at_step: int) -> None:
        kept = [event for event in self.read() if event["step"] <= at_step]
        write_text(self.path, "".join(json_text(event, ascii=True) + "\n" for event in kept))

    def read(self) -> list[dict[str, Any]]:
        """All whole lines of steps; one that a kill cut short is left out."""
        if not self.path.exists():
            return []
        found = (event for _, event in read_json_lines(self.path) if "step" in event)
        return [event for event in found if fits(event, EVENT)]
