"""What a person sees of a search: trials as they go and as they end, and the front."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from ..views.screen import BarView, Screen, progress_bar
from .rows import DONE, Row
from .space import described

BUSY_CORES = 0.2  # of other programs while chunks were timed: the median of such trials is not to be trusted


class SearchView(BarView):
    """Listens to a search's events: a bar with what is done now on a terminal, and a line for each trial that ends."""

    def __init__(self, screen: Screen, trials: int, notes: list[str]) -> None:
        self.screen = screen
        self.bar = progress_bar(screen, "search", MofNCompleteColumn(), elapsed=True)
        self.task = self.bar.add_task("", total=trials, state="")
        self.stages: dict[int | None, str] = {}
        for note in notes:
            self._note({"text": note})

    def _begin(self, event: dict[str, Any]) -> None:
        self.stages.clear()
        ended = f", {event['ended']} already done" if event["ended"] else ""
        self.screen.say(f"{counted(event['trials'], 'trial')}{ended}, in a space of {counted(event['size'], 'shape')}")
        self.bar.update(self.task, completed=event["ended"], state="")

    def _note(self, event: dict[str, Any]) -> None:
        self.screen.say(Text(f"note: {event['text']}", style="yellow"))

    def _stage(self, event: dict[str, Any]) -> None:
        self.stages[event["trial"]] = event["text"]
        self._show()

    def _trial(self, event: dict[str, Any]) -> None:
        self.stages.pop(event["row"]["trial"], None)
        self.screen.say(Text(trial_line(event["row"], event["ended"], event["trials"])))
        self.bar.update(self.task, completed=event["ended"])
        self._show()

    def _show(self) -> None:
        words = [text if number is None else f"trial {number}: {text}" for number, text in self.stages.items()]
        self.bar.update(self.task, state="  ".join(words))


def trial_line(row: Row, ended: int, trials: int) -> str:
    """What became of one trial."""
    said = f"{ended}/{trials}  trial {row['trial']}  {row['state']}"
    if row["p50_ms"] is not None:
        said += f"  {row['p50_ms']:.2f} ms"
    if row["state"] == DONE:
        said += f"  fidelity {row['fidelity']:.3f}"
    busy = f"  (other programs used {row['others_cores']:.1f} cores)" if is_busy(row) else ""
    reason = f"  {row['reason']}" if row["reason"] else ""
    return f"{said}  {described(row['shape'])}{busy}{reason}"


def is_busy(row: Row) -> bool:
    return row["others_cores"] is not None and row["others_cores"] > BUSY_CORES


def search_table(document: dict[str, Any]) -> RenderableType:
    """The front, and what has to be said of the search."""
    steps = counted(document["steps"], "step")
    title = f"{document['device']}, budget {document['budget_ms']:g} ms per chunk, {steps} each"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("trial", "fidelity", "p50 ms", "p99 ms", "ms/s", "GMAC/s", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("shape", ratio=1)
    for row in document["front"]:
        table.add_row(*_cells(row), described({**row["shape"], "chunk_ms": row["chunk_ms"]}))
    counts = ", ".join(f"{document[state]} {state}" for state in ("done", "skipped", "failed"))
    lines = [Text(f"{counted(document['trials'], 'trial')}: {counts}")]
    busy = [row for row in document["front"] if is_busy(row)]
    if busy:
        most = max(row["others_cores"] for row in busy)
        words = f"warning: other programs used up to {most:.1f} cores while {len(busy)} of these were timed; "
        lines.append(
            Text(words + "measure the best one again on a quiet machine, with compress profile", style="yellow")
        )
    return Group(table, *lines)


def _cells(row: Row) -> list[str]:
    figures = (row["fidelity"], 3), (row["p50_ms"], 2), (row["p99_ms"], 2), (row["ms_per_s"], 1)
    costs = (row["macs_per_s"] / 1e9, 2), (row["size_bytes"] / 1e6, 1)
    return [str(row["trial"]), *(f"{value:.{digits}f}" for value, digits in (*figures, *costs))]
