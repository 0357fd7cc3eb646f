"""An hour of the demo with the other core kept busy: does it drop a block, does memory stay flat?

    python benchmarks/demo_hour.py [--minutes 60] [--fast] [--load 1]

A virtual microphone (PulseAudio's null sink) plays the starter speech in real time into the demo's own worker, with a
taught word searched for and the terminal view drawn. --fast reads the same speech from memory, faster than it was said:
that tells about memory, not about drops. --load processes compute all the time beside it; 0 where the machine is busy
enough by itself. What all other processes used is written down.

Writes results/demo_hour.json.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import busy_s, write
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
from sound_server import SoundServer

from speechpress.compressor.data.background import background_clips
from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.microphone import Microphone, choose
from speechpress.runtime.demo.sources import Block
from speechpress.runtime.demo.spotting import Background, Spotter, learn
from speechpress.runtime.demo.view_terminal import Facts, Screen
from speechpress.runtime.demo.worker import SHIPPED, Stats, listen
from speechpress.runtime.engine import PteEngine

RATE, ROWS = 16_000, 10


class Memory:
    """A source of recordings over and over, as fast as they are taken."""

    name, sample_rate, dropped, overruns = "memory", RATE, 0, 0

    def __init__(self, wave: np.ndarray) -> None:
        self._pieces: Iterator[np.ndarray] = itertools.cycle(np.split(wave, range(320, len(wave), 320)))

    def read(self, timeout_s: float) -> Block:
        return Block(next(self._pieces), RATE, time.perf_counter())

    def close(self) -> None: ...


def compute_forever() -> None:
    table = np.random.default_rng(0).standard_normal((300, 300))
    while True:
        table = np.tanh(table @ table / 300)


def play_forever(wave: np.ndarray) -> subprocess.Popen:
    """Speech into the virtual microphone, until it is killed."""
    raw = Path(tempfile.mkdtemp()) / "speech.raw"
    raw.write_bytes((wave * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    play = f"while true; do cat {raw}; done | pacat --device=virtual --rate={RATE} --channels=1 --format=s16le --raw"
    return subprocess.Popen(["bash", "-c", play], start_new_session=True)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(engine: PteEngine, source: Microphone | Memory, spotter: Spotter, minutes: float) -> list[dict]:
    """A row for every tenth of the time."""
    stats, due_s, rows = Stats(engine.spec.chunk_ms), 6 * minutes, []
    others_s, started = busy_s() - time.process_time(), time.perf_counter()
    screen = Screen(Facts(source.name, "demo", 0.0, engine.spec.chunk_ms, 0.02), stats, spotter)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        console = Console(file=nowhere, force_terminal=True, width=110, color_system="truecolor")
        for chunk in listen(source, engine, spotter):
            screen.add(chunk)
            console.print(screen)
            if chunk.t_s >= due_s * (len(rows) + 1):
                rows.append({"minute": chunk.t_s / 60, "rss_bytes": resident_bytes(), **stats.to_dict()})
                others = (busy_s() - time.process_time() - others_s) / (time.perf_counter() - started)
                rows[-1] |= {"overruns": source.overruns, "others_cores": others}
                print({key: round(value, 2) for key, value in rows[-1].items()}, flush=True)
            if len(rows) == ROWS:
                return rows
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--load", type=int, default=1)
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    engine, clips = PteEngine(SHIPPED, threads=1), background_clips()
    frames = stream_frames(engine, clips)
    spotter = Spotter(
        [learn("a word", [frames[700 + k : 735 + k] for k in range(3)], Background(frames))], Background(frames)
    )
    wave = np.concatenate(clips)
    others = [multiprocessing.Process(target=compute_forever, daemon=True) for _ in range(given.load)]
    for other in others:
        other.start()
    if given.fast:
        rows = run(engine, Memory(wave), spotter, given.minutes)
    else:
        server = SoundServer(Path(tempfile.mkdtemp()) / "run")
        os.environ.update(server.env)  # before PortAudio looks for devices
        player = play_forever(wave)
        microphone = Microphone(choose("pulse"))
        rows = run(engine, microphone, spotter, given.minutes)
        microphone.close()
        os.killpg(player.pid, 9)
        server.stop()
    for other in others:
        other.kill()
    grown = (rows[-1]["rss_bytes"] - rows[0]["rss_bytes"]) / 2**20
    print(
        f"dropped {rows[-1]['dropped']}, overruns {rows[-1]['overruns']}, memory {grown:+.1f} MiB after the first tenth"
    )
    write("demo_hour", {"minutes": given.minutes, "fast": given.fast, "load": given.load, "rows": rows})


if __name__ == "__main__":
    main()
