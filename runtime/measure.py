"""Measures a bundle on the machine that it runs on; this is what `compress profile` starts on the far side.

    python -m speechpress.runtime.measure golden|time|trace SETTINGS.json

Needs numpy, and speechpress-runtime's native engine or else torch and ExecuTorch. Prints one JSON object a line as it
goes, so that whoever listens has everything that was measured when the connection breaks. Each phase is a process of
its own, because what one loads would count as the other's memory. It ends early when its standard input ends: then
nobody listens any more, or has enough.

Settings: bundle (folder), chunk_ms, threads, cores (list or null), paces ("real", "flat"), chunks ({pace: count}),
duration_s (of each pace, instead of chunks), warmup (chunks), trace (file to write).

Shapes: S samples.
"""

import itertools
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import SpeechpressError
from .json_file import json_text

Settings = dict[str, Any]
Emit = Callable[..., None]
TELL_EVERY_S, SAMPLE_EVERY_S = 0.5, 1.0
# Enough for a median of each operator; a trace grows with every chunk.
TRACED_CHUNKS = 30


class Model:
    """A bundle as something that is fed one chunk at a time: chunks of a stream, or windows when it does not stream."""

    def __init__(self, settings: Settings, emit: Emit, trace: bool = False) -> None:
        from .bundle import read_bundle
        from .engine import PteEngine, PteModel
        from .stream import StreamingExtractor

        self.bundle = read_bundle(settings["bundle"])
        self.rate = self.bundle.document["audio"]["sample_rate"]
        if self.bundle.document["streams"]:
            entry = self.bundle.stream(settings["chunk_ms"])
            engine = PteEngine(self.bundle, entry["chunk_ms"], settings["threads"], trace)
            self.method, self.samples, self.program = entry["method"], entry["chunk_samples"], engine.program
            self.push: Callable[[Any], Any] = StreamingExtractor(engine).push
            self.engine: PteEngine | PteModel = engine
        else:
            self.engine = PteModel(self.bundle, settings["threads"], trace)
            self.method, self.samples = "window", self.bundle.document["window"]["samples"]
            self.program, self.push = self.engine.program, self.engine.window
            # An engine loads its method by itself; without this the first window would pay for it.
            self.program.load(self.method)
        library = self.program.library
        emit("engine", name=library.name, about=library.about, executorch=library.executorch)

    @property
    def chunk_s(self) -> float:
        return self.samples / self.rate

    def chunks(self) -> Iterator[Any]:
        """The golden clip's speech, over and over, in pieces (S,) that each make the model run once."""
        import numpy as np

        audio = self.bundle.golden["audio"]
        for start in itertools.count(0, self.samples):
            # Wrapped, so that the model hears speech for as long as it is timed, never silence.
            yield np.take(audio, range(start, start + self.samples), mode="wrap")


def golden(settings: Settings, emit: Emit, stop: threading.Event) -> None:
    """Whether this machine computes what the checkpoint did, by the method that is to be timed."""
    from .bundle import check_hashes
    from .engine import PteEngine
    from .parity import within
    from .program_checks import Heard, against_golden, far, heard

    model = Model(settings, emit)
    check_hashes(model.bundle)
    audio, tolerance = model.bundle.golden["audio"], model.bundle.document["tolerance"]
    if isinstance(model.engine, PteEngine):
        said = heard(model.engine, audio)
    else:
        said = Heard(*model.engine.hear_window(audio[-model.samples :]))
    found = against_golden(model.bundle, model.method, said)
    wrong = far(model.bundle, found)
    ok = within(found.frames, tolerance) and not wrong
    # Only of a bundle with heads: what reads these events knows no others.
    more = {"far": wrong} if model.bundle.heads else {}
    emit("golden", method=model.method, **found.frames, ok=ok, tolerance=tolerance, **more)


def timing(settings: Settings, emit: Emit, stop: threading.Event) -> None:
    """Load, first chunk, warm-up, then every pace."""
    from .machine import peak_rss_bytes, resident_bytes

    # First, so that the memory of torch and ExecuTorch is not taken for the model's.
    import_runtime()
    base_rss_bytes = resident_bytes()
    model = Model(settings, emit)
    chunks = model.chunks()
    first_ms = _timed_ms(model.push, next(chunks))
    emit("load", load_ms=1000 * model.engine.load_s, first_chunk_ms=first_ms, base_rss_bytes=base_rss_bytes)
    # The first calls allocate, fill caches and bring the clock up.
    for chunk in itertools.islice(chunks, settings["warmup"]):
        model.push(chunk)
    for pace in settings["paces"]:
        run_pace(pace, model, settings, emit, stop)
    emit("end", peak_rss_bytes=peak_rss_bytes(), stopped=stop.is_set())


def run_pace(pace: str, model: Model, settings: Settings, emit: Emit, stop: threading.Event) -> None:
    """Time chunks as they would come from a microphone ("real"), or one right after the other ("flat")."""
    from .machine import Watch

    watch, pending = Watch(), []
    count, duration_s = settings["chunks"][pace], settings["duration_s"]
    emit("pace", pace=pace)
    cpu_started, started = time.process_time(), time.perf_counter()
    told = sampled = started
    for index, chunk in enumerate(model.chunks()):
        if pace == "real":
            # A chunk can only begin when its audio has been heard.
            # Not sleep: who listens may go away, and then the wait must end.
            stop.wait(max(0.0, started + (index + 1) * model.chunk_s - time.perf_counter()))
        begin = time.perf_counter()
        if stop.is_set() or (begin - started >= duration_s if duration_s is not None else index >= count):
            break
        model.push(chunk)
        end = time.perf_counter()
        pending.append((begin - started, 1000 * (end - begin)))
        if end - told >= TELL_EVERY_S:
            told, pending = end, _tell(pace, pending, emit)
        if end - sampled >= SAMPLE_EVERY_S:
            sampled = end
            emit("sample", pace=pace, **watch.sample())
    # Before the rest is told: that is no work of this pace.
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    _tell(pace, pending, emit)
    emit("sample", pace=pace, **watch.sample())
    emit("paced", pace=pace, wall_s=wall_s, cpu_s=cpu_s)


def trace(settings: Settings, emit: Emit, stop: threading.Event) -> None:
    """Run some chunks with ExecuTorch's own clock on every operator; never those that are timed."""
    model = Model(settings, emit, trace=True)
    for chunk in itertools.islice(model.chunks(), TRACED_CHUNKS):
        if not stop.is_set():
            model.push(chunk)
    model.program.write_trace(settings["trace"])
    emit("traced", method=model.method, path=settings["trace"])


def import_runtime() -> None:
    from .native.choose import library

    library()


def pin(cores: list[int] | None) -> None:
    """Keep this process to these cores; raises SpeechpressError where that cannot be."""
    if cores is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SpeechpressError(f"--cores: {platform.system()} does not let programs choose their cores; leave it out")
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError) as error:
        allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise SpeechpressError(
            f"--cores: {cores} are not available ({error}); this process may use {allowed}"
        ) from error


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("executorch", "torch", "numpy", "speechpress-runtime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _timed_ms(call: Callable[[Any], Any], chunk: Any) -> float:
    started = time.perf_counter()
    call(chunk)
    return 1000 * (time.perf_counter() - started)


def _tell(pace: str, pending: list[tuple[float, float]], emit: Emit) -> list[tuple[float, float]]:
    if pending:
        emit("chunks", pace=pace, start_s=[start for start, _ in pending], ms=[ms for _, ms in pending])
    return []


def _emit(event: str, **values: Any) -> None:
    sys.stdout.write(json_text({"event": event, **values}, ascii=True) + "\n")
    sys.stdout.flush()


def _stop_with_input(stop: threading.Event) -> None:
    """os.read and not sys.stdin: the thread must not hold the interpreter's lock on that file at exit."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        stop.set()

    threading.Thread(target=wait, daemon=True).start()


PHASES = {"golden": golden, "time": timing, "trace": trace}


def main(arguments: list[str]) -> int:
    """Run one phase; exit code 1 after an event "error"."""
    phase, path = arguments
    settings, stop = json.loads(Path(path).read_text(encoding="utf-8")), threading.Event()
    _stop_with_input(stop)
    try:
        # Before torch is imported: threads that exist already would stay where they are.
        pin(settings["cores"])
        _emit("start", phase=phase, pid=os.getpid(), versions=versions())
        PHASES[phase](settings, _emit, stop)
    except SpeechpressError as error:
        _emit("error", message=str(error), exit_code=error.exit_code)
        return error.exit_code
    # Told as an event: on a small board memory runs out, and a traceback says nothing to its user.
    except (MemoryError, OSError) as error:
        _emit("error", message=f"{type(error).__name__}: {error}", exit_code=1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
