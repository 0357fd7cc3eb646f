"""What a person sees of an extraction: a bar or lines, and what was written."""

import time
from typing import Any

from rich.console import RenderableType
from rich.progress import TaskProgressColumn
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from ..views.screen import BarView, Screen, progress_bar

LISTED = 5
LINE_S = 10.0  # between two lines in a log


class ExtractView(BarView):
    """Listens to the events of an extraction: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.live = screen.console.is_terminal
        self.bar = progress_bar(screen, "extract", TaskProgressColumn())
        self.task = self.bar.add_task("", total=None, state="")
        self.total_s = self.done_s = 0.0
        self.started = self.said = time.monotonic()

    def _plan(self, event: dict[str, Any]) -> None:
        self.total_s = event["audio_s"]
        self.started = self.said = time.monotonic()
        self.bar.update(self.task, total=self.total_s)
        corpus = event["corpus"]
        words = f"{corpus['source']}: {counted(event['recordings'], 'recording')}"
        words += f", {event['kept']} already done" if event["kept"] else ""
        words += f"; {event['skipped']} skipped" if event["skipped"] else ""
        self.screen.say(Text(words))
        if event["damaged"]:
            files = counted(event["damaged"], "file")
            self.screen.say(Text(f"note: {files} missing or damaged; extracted again", style="yellow"))

    def _part(self, event: dict[str, Any]) -> None:
        # Shards say what they have to do as they begin, so the bar's end is not known before the last one.
        self.total_s += event["audio_s"]
        self.bar.update(self.task, total=self.total_s)

    def _shard(self, event: dict[str, Any]) -> None:
        self.screen.say(Text(f"shard {event['shard']} has ended: {event['recordings']} recordings"))

    def _done(self, event: dict[str, Any]) -> None:
        self.done_s += event["audio_s"]
        speed = self.done_s / max(1e-9, time.monotonic() - self.started)
        state = f"{counted(event['recordings'], 'recording')}  {speed:.1f} s of audio per s"
        state += f"  {event['skipped']} skipped" if event["skipped"] else ""
        self.bar.update(self.task, completed=self.done_s, state=state)
        # In a log file, a line now and then; a large corpus would fill it.
        if not self.live and time.monotonic() - self.said >= LINE_S:
            self.said = time.monotonic()
            self.screen.say(f"{self.done_s / 60:.1f} of {self.total_s / 60:.1f} min  {state}")


def extract_tables(document: dict[str, Any]) -> list[RenderableType]:
    """What was written, and the first of what was not."""
    table = Table(title=str(document["model"]["name"]), title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("what", _what(document))
    table.add_row(
        "recordings",
        f"{document['recordings']}, {document['audio_s'] / 3600:.2f} h, {document['frames']} frames; "
        f"{document['written']} written now, {document['kept']} before",
    )
    table.add_row("size", f"{document['size_bytes'] / 1e6:.1f} MB, {document['format']}")
    table.add_row(
        "speed", f"{document['audio_s_per_s']:.1f} s of audio per second, {counted(document['workers'], 'worker')}"
    )
    if document["renamed"]:
        table.add_row("names", f"{counted(document['renamed'], 'file')} renamed; the index has the recordings' names")
    skipped = document["skipped"]
    shown = [Text(f"skipped: {item['path']}: {item['reason']}", style="yellow") for item in skipped[:LISTED]]
    if len(skipped) > LISTED:
        shown.append(Text(f"skipped: {len(skipped) - LISTED} more, listed in skipped.jsonl", style="yellow"))
    return [table, *shown]


def _what(document: dict[str, Any]) -> str:
    if document["what"] == "features":
        layers = ", ".join(map(str, document["layers"]))
        return f"layer {layers} × {document['width']}, {document['dtype']}"
    events = f": {counted(document['events'], 'event')}" if document["what"] == "answers" else ""
    return f"{document['what']} of {', '.join(document['heads'])}{events}"
