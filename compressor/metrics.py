"""metrics.jsonl: one JSON object per line, in the order of the steps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_text import json_text


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
        """All whole lines; one that a kill cut short is left out."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events
