"""What a second of audio costs the processor: a bundle with a words head, in chunks, and Google's speech embedding.

    python benchmarks/words_cost.py BUNDLE WHEELS

WHEELS is as for `taught_words.py`. Google's embedding gives one vector per 80 ms of a long recording in one call, the
cheapest that it can be had; the bundle steps in its own chunks. One thread each, alternating, on ten seconds of noise.
Writes results/words_cost.json.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import taught_ways as ways
from common import alternate, write

from speechpress.runtime.bundle import PROGRAM
from speechpress.runtime.engine import PteEngine

SECONDS, ROUNDS = 10, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("wheels", type=Path)
    given = parser.parse_args()
    engine = PteEngine(given.bundle, threads=1)
    size = engine.spec.chunk_samples
    wave = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * ways.RATE).astype(np.float32)
    google = ways.onnx(given.wheels / ways.GOOGLE)

    def ours() -> None:
        state = engine.initial_state()
        for first in range(0, len(wave) - size + 1, size):
            state = engine.step(wave[None, first : first + size], state).state

    sides: dict[str, Any] = {"head": ours, "google": lambda: google.run(None, {"samples:0": wave[None]})}
    found = alternate(sides, ROUNDS)
    per_s = {name: found[name]["median_ms"] / SECONDS for name in sides}
    sizes = {
        "head": (given.bundle / PROGRAM).stat().st_size,
        "google": (given.wheels / ways.GOOGLE).stat().st_size,
    }
    chunk_ms = 1000 * size / ways.RATE
    write("words_cost", {"chunk_ms": chunk_ms, "ms_per_s": per_s, "size_bytes": sizes, "times": found})
    print(per_s, sizes)


if __name__ == "__main__":
    main()
