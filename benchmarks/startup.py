"""From a cold process to the first frames of a bundle: the Python runtime, and the C++ runner when it is given.

    python benchmarks/startup.py BUNDLE [--runner speechpress-run] [--rounds 9]

Every round starts one new process of each side, in turn; medians. Python's time is split into importing torch, which
ExecuTorch's Python library needs, importing the rest, loading the bundle, and the first chunk. A process that only
starts Python and imports torch runs beside them. Writes results/startup.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

from common import busy_s, write

STAGES = ("torch_ms", "import_ms", "load_ms", "first_chunk_ms", "total_ms", "peak_rss_bytes")
PROGRAM = """
import json, pathlib, sys, time
start = time.perf_counter()
import torch
torch_at = time.perf_counter()
import numpy as np
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.stream import StreamingExtractor
imported = time.perf_counter()
engine = PteEngine(sys.argv[1], threads=1)
loaded = time.perf_counter()
stream = StreamingExtractor(engine)
frames = np.zeros((0, 1))
while not len(frames):
    frames = stream.push(np.zeros(engine.spec.chunk_samples, np.float32)).frames
end = time.perf_counter()
assert not {"transformers", "speechpress.compressor"} & set(sys.modules)
stages = [torch_at - start, imported - torch_at, loaded - imported, end - loaded, end - start]
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
print(json.dumps([1000 * s for s in stages] + [peak]))
"""


def python_once(bundle: Path) -> dict[str, float]:
    started = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall = 1000 * (time.perf_counter() - started)
    return dict(zip(STAGES, json.loads(done.stdout), strict=True)) | {"process_ms": wall}


def runner_once(runner: Path, bundle: Path, audio: Path) -> dict[str, float]:
    started = time.perf_counter()
    command = [str(runner), str(bundle / "encoder.pte"), "--wav", str(audio), "--threads", "1", "--out", "/dev/null"]
    subprocess.run(command, capture_output=True, check=True)
    return {"process_ms": 1000 * (time.perf_counter() - started)}


def one_second(folder: Path) -> Path:
    with wave.open(str(folder / "second.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    return folder / "second.wav"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runner", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    busy, started = busy_s(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        audio = one_second(Path(folder))
        for _ in range(given.rounds + 1):
            rows.setdefault("python", []).append(python_once(given.bundle))
            if given.runner:
                rows.setdefault("c++", []).append(runner_once(given.runner, given.bundle, audio))
    document: dict[str, Any] = {"cores_busy": (busy_s() - busy) / (time.perf_counter() - started)}
    for side, measured in rows.items():
        document[side] = {key: statistics.median(row[key] for row in measured[1:]) for key in measured[0]}
        print(side, {key: round(value) for key, value in document[side].items()})
    write("startup", document)


if __name__ == "__main__":
    main()
