"""What a second of audio costs the processor: students with a words head, in chunks, and Google's speech embedding.

    python benchmarks/words_cost.py WHEELS

WHEELS is as for `taught_words.py`. Google's embedding gives one vector per 80 ms of a long recording in one call, the
cheapest that it can be had; the students of the package step in chunks of 80 ms. One thread each, alternating, on ten
seconds of noise. Writes results/words_cost.json.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import taught_ways as ways
from common import alternate, write

from speechpress.runtime.bundle import PROGRAM
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.students.shipped import shipped_students

SECONDS, ROUNDS, CHUNK_MS = 10, 15, 80.0
STUDENTS = ("pocket-words", "pocket-s")


def stepping(engine: PteEngine, wave: np.ndarray) -> Callable[[], None]:
    """A run through all whole chunks of a wave (S,)."""
    size = engine.spec.chunk_samples

    def run() -> None:
        state = engine.initial_state()
        for first in range(0, len(wave) - size + 1, size):
            state = engine.step(wave[None, first : first + size], state).state

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    given = parser.parse_args()
    wave = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * ways.RATE).astype(np.float32)
    google, shipped = ways.onnx(given.wheels / ways.GOOGLE), shipped_students()
    sides: dict[str, Any] = {name: stepping(PteEngine(shipped[name], CHUNK_MS, threads=1), wave) for name in STUDENTS}
    sides["google"] = lambda: google.run(None, {"samples:0": wave[None]})
    found = alternate(sides, ROUNDS)
    per_s = {name: found[name]["median_ms"] / SECONDS for name in sides}
    sizes = {name: (shipped[name] / PROGRAM).stat().st_size for name in STUDENTS}
    sizes["google"] = (given.wheels / ways.GOOGLE).stat().st_size
    write("words_cost", {"chunk_ms": CHUNK_MS, "ms_per_s": per_s, "size_bytes": sizes, "times": found})
    print(per_s, sizes)


if __name__ == "__main__":
    main()
