"""What a person sees of a distillation: a live bar or lines, its plan, and its fidelity."""

import time
from datetime import timedelta
from typing import Any

from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from ..views.numbers import millions
from ..views.screen import BarView, Screen, progress_bar


class RunView(BarView):
    """Listens to a run's events: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.live = screen.console.is_terminal
        self.bar = progress_bar(screen, "distil", MofNCompleteColumn())
        self.task = self.bar.add_task("", total=None, state="")
        self.steps, self.saved = 0, -1
        self.state = self.held_out = ""
        self.first_step, self.started = 0, time.monotonic()

    def _plan(self, event: dict[str, Any]) -> None:
        self.steps = event["steps"]
        self.bar.update(self.task, total=self.steps)
        self.screen.say(Text(plan_line(event)))
        # A log keeps the notes; on a terminal they would bury the one line that says what is done.
        if not self.live:
            for note in event["notes"]:
                self.screen.say(Text(f"note: {note}"))

    def _resumed(self, event: dict[str, Any]) -> None:
        self.bar.update(self.task, completed=event["step"])
        self.first_step = event["step"]
        self.screen.say(f"resumed at step {event['step']}")

    def _train(self, event: dict[str, Any]) -> None:
        speed = f"{event['audio_s_per_s']:.0f} s of audio per s"
        state = f"loss {event['loss']:.3f}  {event['audio_s'] / 3600:.2f} h  {speed}"
        if "sparsity" in event:
            state += f"  sparsity {event['sparsity']:.3f} of {event['target_sparsity']:.3f}"
        self.state = state
        self.bar.update(self.task, completed=event["step"], state=f"{state}{self.held_out}")
        # Without a bar (a log file) each event is a line.
        if not self.live:
            self.screen.say(f"step {event['step']}/{self.steps}  {state}  {self._left(event['step'])} left")

    def _left(self, step: int) -> str:
        # A resumed run counts from where it went on: earlier steps took none of this time.
        per_step_s = (time.monotonic() - self.started) / max(1, step - self.first_step)
        return str(timedelta(seconds=round(per_step_s * (self.steps - step))))

    def _valid(self, event: dict[str, Any]) -> None:
        cosines = [layer["cosine"] for layer in event["layers"].values()]
        # Under the bar there is room for one figure; the table at the end has them by layer.
        self.held_out = f"  held-out cosine {sum(cosines) / len(cosines):.3f}" if cosines else ""
        if self.live:
            self.bar.update(self.task, state=f"{self.state}{self.held_out}")
            return
        layers = "  ".join(f"layer {n} cos {v['cosine']:.3f} L1 {v['l1']:.3f}" for n, v in event["layers"].items())
        units = "  ".join(f"units of layer {n} {v['accuracy']:.1%}" for n, v in event.get("units", {}).items())
        self.screen.say(f"held out, step {event['step']}:  {'  '.join(filter(None, (layers, units)))}")

    def _saved(self, event: dict[str, Any]) -> None:
        # A run that ends at a step that is saved anyway tells it twice.
        if not self.live and event["step"] != self.saved:
            self.screen.say(f"saved at step {event['step']}")
        self.saved = event["step"]

    def _kept(self, event: dict[str, Any]) -> None:
        damaged = f", {event['damaged']} damaged ones computed again" if event["damaged"] else ""
        room = f", no room for {event['left_out']}" if event["left_out"] else ""
        self.screen.say(
            f"targets in {event['folder']}: {event['written']} written, {event['read']} read{damaged}{room}"
        )

    def _end(self, event: dict[str, Any]) -> None:
        if event["finished"]:
            self.bar.update(self.task, completed=self.steps)


def plan_line(event: dict[str, Any]) -> str:
    """What a run is about to do, in one line."""
    teacher, student = event["teacher"], event["student"]
    source = teacher["source"].rstrip("/").rpartition("/")[2]
    sizes = f"{source} ({millions(teacher['parameters'])}) → student ({millions(student['parameters'])})"
    place = event["device"] if event["processes"] == 1 else f"{event['processes']} × {event['device']}"
    return f"{event['recipe']}: {sizes}, {counted(event['steps'], 'step')} on {event['train_h']:.2f} h, {place}"


def plan_table(event: dict[str, Any]) -> Table:
    """Teacher, student, data and length of a run."""
    teacher, student, data = event["teacher"], event["student"], event["data"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("recipe", event["recipe"])
    kind = "supervised" if teacher["supervised"] else "self-supervised"
    table.add_row(
        "teacher",
        f"{teacher['source']}: {teacher['family']}, {counted(teacher['depth'], 'layer')} × {teacher['width']}, "
        f"{teacher['parameters'] / 1e6:.2f} M parameters, {kind}",
    )
    heads = (
        f" (+ {student['heads_parameters'] / 1e6:.2f} M in heads while training)" if student["heads_parameters"] else ""
    )
    table.add_row(
        "student",
        f"{counted(student['layers'], 'layer')} × {student['width']}, {student['parameters'] / 1e6:.2f} M "
        f"parameters{heads}, {student['macs_per_s'] / 1e9:.2f} GMAC per second of audio",
    )
    match = event["match"]
    layers = match["layers"] or [f"{student}→{teacher}" for student, teacher in match["pairs"]]
    table.add_row("matches", f"teacher layers {', '.join(map(str, layers))} ({match['style']})")
    skipped = f", {data['skipped']} skipped" if data["skipped"] else ""
    speakers = f", {counted(data['speakers'], 'speaker')}" if data["speakers"] else ""
    table.add_row(
        "speech",
        f"{event['train_h']:.2f} h to train on, {event['valid_h'] * 60:.1f} min held out"
        f" ({event['train_recordings']} of {data['recordings']} recordings to train on{speakers}{skipped})",
    )
    processes = counted(event["processes"], "process", "processes")
    table.add_row("run", f"{counted(event['steps'], 'step')} on {event['device']}, {processes}")
    return table


def fidelity_table(valid: dict[str, Any]) -> Table:
    """Fidelity on held-out speech before and after training."""
    table = Table(title="fidelity to the teacher on held-out speech", title_justify="left")
    for column in ("teacher layer", "cosine, start", "cosine, end", "L1, start", "L1, end"):
        table.add_column(column, justify="right")
    end, chunked = valid.get("end", valid["start"]), valid.get("end_chunked", valid.get("start_chunked"))
    if chunked is not None:
        table.add_column(f"cosine in chunks of {valid['chunk_ms']:g} ms", justify="right")
    for layer, before in valid["start"].items():
        after = end[layer]
        numbers = [before["cosine"], after["cosine"], before["l1"], after["l1"]]
        if chunked is not None:
            numbers.append(chunked[layer]["cosine"])
        table.add_row(layer, *(f"{number:.3f}" for number in numbers))
    told = valid.get("units", {})
    for layer, after in told.get("end", told.get("start", {})).items():
        before = told["start"][layer]["accuracy"]
        table.add_row(f"{layer}: units predicted", f"{before:.1%}", f"{after['accuracy']:.1%}")
    return table


def dry_run_table(document: dict[str, Any]) -> Table:
    """What a run would take."""
    table = plan_table(document)
    lookahead = document["lookahead_ms"]
    table.add_row("look-ahead", "the whole utterance" if lookahead is None else f"{lookahead:.0f} ms")
    for row in document["streaming"][:: max(1, len(document["streaming"]) - 1)]:
        table.add_row("live", f"a sample is at most {row['worst_age_ms']:g} ms old in chunks of {row['chunk_ms']:g} ms")
    table.add_row("first batch", f"{document['batch_s']:.1f} s of audio, loss {document['first_loss']:.3f}")
    table.add_row("peak memory", f"{document['peak_memory_bytes'] / 2**30:.2f} GiB with this batch")
    table.add_row("written", "nothing (dry run)")
    return table
