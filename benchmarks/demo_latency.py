"""From a click in the microphone to its frame on the screen: `compress demo`'s own worker, terminal view and page.

    python benchmarks/demo_latency.py [--clicks 40] [--chunk-ms 80] [--view terminal page]

A virtual microphone (a pipe that PulseAudio takes for a sound card) hears short bursts of noise at known times. Shown
means: the terminal view has been drawn with the burst's frame, or the page in headless Chromium has drawn it. Goal:
chunk + 60 ms at most.

The time of a click is when it was written into the pipe, with nothing before it in the queue; what the sound server and
PortAudio take until the block is there is measured in the same way without a model and reported beside it. Writes
results/demo_latency.json.
"""

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import busy_s, write
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
from browser import Browser, wait_for
from sound_server import SoundServer

from speechpress.runtime.demo.microphone import Microphone, choose
from speechpress.runtime.demo.view_terminal import Facts, Screen
from speechpress.runtime.demo.web import Server, WebSource
from speechpress.runtime.demo.worker import SHIPPED, Stats, listen
from speechpress.runtime.engine import PteEngine

RATE, CLICK_S, PERIOD_S, LOUD_DB = 16_000, 0.04, 0.73, -40.0


class Clicker(threading.Thread):
    """Writes clicks into a pipe that is kept full of silence in real time; `times_s` says when (Unix time)."""

    def __init__(self, pipe: Path, clicks: int) -> None:
        super().__init__(daemon=True)
        self.clicks, self.times_s = clicks, []
        self._pipe, self._stopped = pipe.open("wb", buffering=0), threading.Event()

    @property
    def finished(self) -> bool:
        """All clicks were written, and the last one has had its time to be seen."""
        return len(self.times_s) == self.clicks and time.time() - self.times_s[-1] > PERIOD_S

    def run(self) -> None:
        step = RATE // 100
        noise = (np.random.default_rng(0).uniform(-1, 1, step) * 20_000).astype("<i2").tobytes()
        silence, start, period = bytes(2 * step), time.time(), round(PERIOD_S * 100)
        for tick in itertools.count(-2 * period):
            time.sleep(max(0.0, start + (tick + 2 * period) / 100 - time.time()))
            if self._stopped.is_set():
                break
            clicking = 0 <= tick < period * self.clicks
            if clicking and tick % period == 0:
                self.times_s.append(time.time())
            self._pipe.write(noise if clicking and tick % period < CLICK_S * 100 else silence)
        self._pipe.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class Seen:
    """When loud moments were first shown, after quiet ones."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self._loud = False

    def add(self, level_db: float, at_s: float) -> None:
        if level_db > LOUD_DB and not self._loud:
            self.times_s.append(at_s)
        self._loud = level_db > LOUD_DB


def delays_ms(clicks_s: list[float], shown_s: list[float]) -> list[float]:
    """For each click the first moment after it within a period."""
    found = []
    for click in clicks_s:
        after = [at for at in shown_s if 0 <= at - click < 0.9 * PERIOD_S]
        if after:
            found.append(1000 * (after[0] - click))
    return found


def summary(found: list[float], clicks: int) -> dict:
    p50, p99 = np.percentile(found, [50, 99]) if found else (float("nan"),) * 2
    return {"seen": len(found), "clicks": clicks, "p50_ms": float(p50), "p99_ms": float(p99), "all_ms": found}


def of_microphone(pipe: Path, clicks: int) -> dict:
    """The sound server's and PortAudio's own share: until the block with the click is in the queue."""
    microphone, clicker, seen = Microphone(choose("pulse")), Clicker(pipe, clicks), Seen()
    clicker.start()
    while not clicker.finished:
        block = microphone.read(0.2)
        if block is not None:
            seen.add(20 * np.log10(np.abs(block.samples).max() + 1e-6), time.time())
    clicker.stop()
    microphone.close()
    return summary(delays_ms(clicker.times_s, seen.times_s), clicks)


def of_terminal(engine: PteEngine, pipe: Path, clicks: int) -> dict:
    """The terminal view drawn into a file, as fast as a terminal would take it."""
    microphone, clicker, seen, stats = (
        Microphone(choose("pulse")),
        Clicker(pipe, clicks),
        Seen(),
        Stats(engine.spec.chunk_ms),
    )
    screen = Screen(Facts("virtual", "demo", 0.0, engine.spec.chunk_ms, 0.02), stats)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        console = Console(file=nowhere, force_terminal=True, width=110, color_system="truecolor")
        clicker.start()
        for chunk in listen(microphone, engine):
            screen.add(chunk)
            console.print(screen)
            seen.add(chunk.level_db, time.time())
            if clicker.finished:
                break
    clicker.stop()
    microphone.close()
    return summary(delays_ms(clicker.times_s, seen.times_s), clicks) | {"stats": stats.to_dict()}


def of_page(engine: PteEngine, pipe: Path, clicks: int) -> dict:
    """The page in Chromium, by the time at which it drew."""
    source = WebSource(Microphone(choose("pulse")))
    facts = {"model": "demo", "chunk_ms": engine.spec.chunk_ms, "frame_s": 0.02, "latency_ms": 0, "teaching": False}
    server, stats = Server(facts, source), Stats(engine.spec.chunk_ms)
    server.start()
    browser, clicker, seen, shown = Browser(Path(tempfile.mkdtemp())), Clicker(pipe, clicks), Seen(), []
    browser.open(server.address)
    wait_for(lambda: server.pages, "the page")
    clicker.start()
    for chunk in listen(source, engine):
        stats.add(chunk)
        server.show(chunk, stats, [])
        if clicker.finished:
            break
    shown = browser.evaluate("speechpress.shown")
    for drawn in shown:
        seen.add(drawn["level_db"], drawn["at"] / 1000)
    browser.close()
    clicker.stop()
    server.stop()
    source.close()
    kept = [click for click in clicker.times_s if click > shown[0]["at"] / 1000]
    return summary(delays_ms(kept, seen.times_s), len(kept)) | {"stats": stats.to_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--chunk-ms", type=float, default=80)
    parser.add_argument("--view", nargs="+", default=["terminal", "page"], choices=["terminal", "page"])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    pipe = folder / "microphone"
    server = SoundServer(folder / "run", pipe)
    os.environ.update(server.env)  # before PortAudio looks for devices
    engine = PteEngine(SHIPPED, given.chunk_ms, threads=1)
    views = {"terminal": of_terminal, "page": of_page}
    before, started = busy_s() - time.process_time(), time.time()
    found = {"microphone alone": of_microphone(pipe, given.clicks)}
    for name in given.view:
        found[name] = views[name](engine, pipe, given.clicks)
    others = (busy_s() - time.process_time() - before) / (time.time() - started)
    for name, row in found.items():
        print(f"{name:18} {row['seen']}/{row['clicks']} clicks, p50 {row['p50_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms")
    print(f"goal: {given.chunk_ms + 60:g} ms; other processes used {others:.2f} cores")
    write("demo_latency", {"chunk_ms": given.chunk_ms, "others_cpu_share": others, "views": found})
    server.stop()


if __name__ == "__main__":
    main()
