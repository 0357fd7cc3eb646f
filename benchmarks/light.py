"""The light runtime beside ExecuTorch's Python bindings: a cold process to its first frames, memory, installed size.

    python benchmarks/light.py [--rounds 9] [--bundle FOLDER] [--scheme int8]

Both sides run the same bundle, of `pocket-conv`'s shape with random weights, which are as fast as trained ones, in
chunks of 320 ms with one thread, without the method for whole recordings. `speechpress-runtime` is built with `pip
install ./runtime` into a fresh environment that has nothing else; the bindings are those of this environment. Every
round starts one new process of each side, in turn. `process_ms` is the whole process as its parent sees it, up to its
end; `first_ms` up to the first frames, measured from the moment at which the parent started it; `cpu_ms` is the
processor's time in it, which other programs disturb less. Memory is what the process itself holds when the first frames
are there (`rss_bytes`), after 20 more chunks, and at its peak. Goals: 150 ms, 60 MB, 30 MB. `install_s` is `pip install
./runtime` into the fresh environment, with the engine's compilation; `demo_s` the command `speechpress-demo BUNDLE
--wav FILE` on speech, which it hears at the pace of audio, from start to end, median of as many runs; `torch_bytes`
what torch and ExecuTorch alone have installed here. Writes results/light.json; `calls.py tables` fills the table of
docs/runtime.md from it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import wave
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, busy_s, write

CHUNK_MS, DEMO_S = 320.0, 4.0
PROGRAM = """
import sys, time
from {package} import StreamingExtractor, load_bundle
imported = time.time()
engine = load_bundle(sys.argv[1], {chunk_ms}, 1)
loaded = time.time()
import numpy as np
stream, piece = StreamingExtractor(engine), np.zeros(engine.spec.chunk_samples, np.float32)
frames = stream.push(piece).frames
while not len(frames):
    frames = stream.push(piece).frames
first, cpu_ms = time.time(), 1000 * time.process_time()
def status():
    lines = open("/proc/self/status").read().splitlines()
    return {{line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}}
early = status()
times = []
for _ in range(20):
    start = time.perf_counter()
    stream.push(piece)
    times.append(time.perf_counter() - start)
late = status()
heavy = [name for name in ("torch", "transformers", "sympy", "executorch") if name in sys.modules]
import json
print(json.dumps(dict(
    started_s=float(sys.argv[2]), import_ms=1000 * (imported - float(sys.argv[2])), load_ms=1000 * (loaded - imported),
    chunk1_ms=1000 * (first - loaded), cpu_ms=cpu_ms, first_ms=1000 * (first - float(sys.argv[2])),
    rss_bytes=early["VmRSS"],
    later_rss_bytes=late["VmRSS"], peak_rss_bytes=late["VmHWM"], chunk_ms=1000 * sorted(times)[len(times) // 2],
    engine=engine.program.library.name, heavy=heavy)))
"""


def make_bundle(folder: Path, scheme: str) -> Path:
    """A bundle of `pocket-conv`'s shape."""
    from heads_cost import student

    from speechpress.compressor.export.export import export, plan
    from speechpress.compressor.export.source import open_source
    from speechpress.compressor.models.checkpoint import save_encoder, write_json
    from speechpress.compressor.targets import target_of

    save_encoder(folder / "student", student())
    write_json(folder / "student" / "card.json", {"recipe": {"name": "pocket-conv"}})
    host = target_of("host")
    # Random weights have outliers that trained ones have not, and 8 bits suit them less; their speed is the same.
    loose = replace(host, tolerances={**host.tolerances, scheme: {"cosine": 0.9}})
    order = plan(open_source(folder / "student"), loose, scheme, (CHUNK_MS,), offline_s=0)
    export(order, folder / "bundle", allow_fallback=True)
    return folder / "bundle"


def install(folder: Path) -> tuple[Path, dict[str, int], float]:
    """The Python of a fresh environment with speechpress-runtime; the bytes installed, by package, and the seconds."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # pip and setuptools are the environment's own; what comes after is what is installed.
    before = sizes(folder)
    started = time.perf_counter()
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-compile", str(ROOT / "runtime")], check=True)
    seconds = time.perf_counter() - started
    return python, {name: size for name, size in sizes(folder).items() if name not in before}, seconds


def torch_bytes() -> int:
    """What torch and ExecuTorch, without what they depend on, have installed here."""
    files = [path for name in ("torch", "executorch") for path in distribution(name).files or ()]
    places = [Path(str(path.locate())) for path in files if "__pycache__" not in path.parts]
    return sum(place.stat().st_size for place in places if place.is_file())


def write_speech(path: Path) -> None:
    """DEMO_S of speech as a plain WAV."""
    from speechpress.compressor.data.golden import golden_clip

    samples = (np.clip(golden_clip(DEMO_S), -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


def demo_s(python: Path, bundle: Path, speech: Path) -> float:
    """Seconds of the demo's command on a file."""
    words = [str(python.parent / "speechpress-demo"), str(bundle), "--wav", str(speech)]
    started = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True, env={"OMP_NUM_THREADS": "1"}, cwd="/")
    return time.perf_counter() - started


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every entry of site-packages, without what Python compiles by itself."""
    (place,) = folder.glob("lib/python3*/site-packages")
    found = {}
    for entry in place.iterdir():
        files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
        found[entry.name] = sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)
    return found


def once(python: str | Path, package: str, bundle: Path, engine: str) -> dict[str, Any]:
    code, env = (
        PROGRAM.format(package=package, chunk_ms=CHUNK_MS),
        {"SPEECHPRESS_ENGINE": engine, "OMP_NUM_THREADS": "1"},
    )
    started = time.time()
    words = [str(python), "-c", code, str(bundle), repr(started)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env, cwd="/")
    found = json.loads(done.stdout)
    assert found.pop("engine") == engine
    del found["started_s"]
    return {**found, "process_ms": 1000 * (time.time() - started)}


def numpy_alone() -> dict[str, Any]:
    """A cold process that imports numpy and nothing else: what both sides pay on this machine at this moment."""
    code = "import sys, time, numpy; print(1000 * (time.time() - float(sys.argv[1])), 1000 * time.process_time())"
    words = [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}", repr(time.time())]
    first_ms, cpu_ms = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout.split()
    return {"first_ms": float(first_ms), "cpu_ms": float(cpu_ms), "heavy": []}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in rows[0] if name != "heavy"]
    medians = {name: statistics.median(row[name] for row in rows) for name in names}
    return {**medians, "first_ms_all": [round(row["first_ms"]) for row in rows], "heavy": rows[0]["heavy"]}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=9)
    words.add_argument("--bundle", type=Path, help="instead of one with random weights")
    words.add_argument("--scheme", default="int8")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = (given.bundle or make_bundle(Path(scratch), given.scheme)).resolve()
        python, installed, install_s = install(Path(scratch) / "venv")
        speech = Path(scratch) / "speech.wav"
        write_speech(speech)
        sides = {"bindings": (sys.executable, "speechpress"), "native": (python, "speechpress_runtime")}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*sides, "numpy_alone")}
        busy, began = busy_s(), time.perf_counter()
        for number in range(given.rounds + 1):
            for name, (interpreter, package) in sides.items():
                found = once(interpreter, package, bundle, name)
                # The first one reads files from the disk and compiles Python's.
                rows[name] += [found] if number else []
            rows["numpy_alone"] += [numpy_alone()] if number else []
        cores_busy = (busy_s() - busy) / (time.perf_counter() - began)
        demos = [demo_s(python, bundle, speech) for _ in range(given.rounds)]
        program_bytes = (bundle / "encoder.pte").stat().st_size
    own = {name: size for name, size in installed.items() if not name.startswith("numpy")}
    document: dict[str, Any] = {
        "rounds": given.rounds,
        "chunk_ms": CHUNK_MS,
        "scheme": given.scheme,
        "program_bytes": program_bytes,
        "cores_busy": cores_busy,
        "installed_bytes": sum(own.values()),
        "installed": installed,
        "torch_bytes": torch_bytes(),
        "install_s": install_s,
        "demo_s": statistics.median(demos),
        "demo_audio_s": DEMO_S,
        **{name: summary(found) for name, found in rows.items()},
    }
    for name in rows:
        print(name, {key: round(value) for key, value in document[name].items() if isinstance(value, float | int)})
    print("installed without numpy:", document["installed_bytes"])
    write("light", document)


if __name__ == "__main__":
    main()
