"""Audio-seconds per second of `compress extract` against a plain loop over `transformers`, on two threads.

    python benchmarks/extract_throughput.py [--rounds 3] [--threads 2] [--clips 4]

Recordings made of the starter speech, 2 to 8 s; random weights in the shapes of HuBERT-base (12 layers x 768) and of
a DistilHuBERT student (2 layers x 768), float32. Both sides read FLAC files and write the last layer as .npy:

    plain   one file at a time: soundfile, HubertModel under no_grad with PyTorch's threads, numpy.save
    ours    what `compress extract` runs, with its index, hashes and workers, from its plan to its summary

Loading the model is in neither. Each side runs in its own process, in turn, several times; the ratio is that of the
medians, and also given for each round. `cpu_s` is what the process used on all cores: it hardly depends on others.
`batched` compares recordings one by one with padded batches of up to 20 s, on short recordings (0.6 to 2.5 s) and a
student whose frames do not depend on padding.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import busy_s, write

from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.options import ExtractOptions
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.config import SAMPLE_RATE, EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.runtime.json_file import json_text

BASE = EncoderConfig()
STUDENT = replace(EncoderConfig().with_layers(2), projection_norm=True)
PADDED = replace(STUDENT, conv_norm="static")
SHAPES = {"hubert-base": BASE, "student": STUDENT}


def plain(model: Path, speech: Path, out: Path) -> float:
    """Seconds that a loop takes which anybody would write."""
    from transformers import HubertModel

    hubert = HubertModel.from_pretrained(model).eval()
    out.mkdir()
    with torch.no_grad():
        hubert(torch.zeros(1, SAMPLE_RATE))
        started, CPU[0] = time.perf_counter(), time.process_time()
        for path in sorted(speech.iterdir()):
            wave, _ = soundfile.read(path, dtype="float32")
            frames = hubert(torch.from_numpy(wave)[None]).last_hidden_state
            np.save(out / f"{path.name}.npy", frames[0].numpy())
    return time.perf_counter() - started


def ours(model: Path, speech: Path, out: Path, batch_s: float | None = None) -> float:
    """Seconds from the plan to the summary."""
    marks = []

    def listen(event: dict) -> None:
        if event["event"] == "plan":
            marks.append(time.perf_counter())
            CPU[0] = time.process_time()

    extract(str(model), [speech], ExtractOptions(out, device="cpu", batch_s=batch_s), listen)
    return time.perf_counter() - marks[0]


def single(model: Path, speech: Path, out: Path) -> float:
    return ours(model, speech, out, 0)


def batched(model: Path, speech: Path, out: Path) -> float:
    return ours(model, speech, out, 20)


CPU = [0.0]  # of the process when the work began
SIDES = {"plain": plain, "ours": ours, "single": single, "batched": batched}


def recordings(folder: Path, seconds: np.ndarray) -> float:
    """Write clips of these lengths; how long all are."""
    folder.mkdir()
    clip = golden_clip(60)
    for number, length_s in enumerate(seconds):
        samples = round(length_s * SAMPLE_RATE)
        start = number * 31_000 % (len(clip) - samples)
        soundfile.write(folder / f"{number:03d}.flac", clip[start : start + samples], SAMPLE_RATE)
    return float(seconds.sum())


def save(folder: Path, config: EncoderConfig) -> Path:
    torch.manual_seed(0)
    save_encoder(folder, Encoder(config))
    write_json(folder / "card.json", {})
    return folder


def compare(sides: tuple[str, str], model: Path, speech: Path, audio_s: float, given: argparse.Namespace) -> dict:
    """Both sides in turn, each in its own process."""
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    before, started = busy_s(), time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    for _ in range(given.rounds):
        for side in sides:
            with tempfile.TemporaryDirectory() as out:
                words = [sys.executable, __file__, "--side", side, str(model), str(speech), f"{out}/out"]
                done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
            took = json.loads(done.stdout.splitlines()[-1])
            speeds[side].append(audio_s / took["wall_s"])
            cpu[side].append(took["cpu_s"])
            print(model.name, side, f"{speeds[side][-1]:.2f} audio-s/s, {cpu[side][-1]:.1f} s of CPU", flush=True)
    first, second = sides
    ratios = [b / a for a, b in zip(speeds[first], speeds[second], strict=True)]
    medians = {side: statistics.median(values) for side, values in speeds.items()}
    return {
        "audio_s_per_s": speeds,
        "median": medians,
        "ratio": f"{second}/{first}",
        "ratio_of_medians": medians[second] / medians[first],
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "cpu_s": cpu,
        "cpu_ratio": statistics.median(cpu[first]) / statistics.median(cpu[second]),
        # Of all processes: beyond the threads of the side that runs, it is the load of others.
        "busy_cores": (busy_s() - before) / (time.perf_counter() - started),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side, *paths = given.side
        wall_s = SIDES[side](*map(Path, paths))
        print(json_text({"wall_s": wall_s, "cpu_s": time.process_time() - CPU[0]}))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        long_s = recordings(root / "long", np.linspace(2, 8, given.clips).round(2))
        short_s = recordings(root / "short", np.linspace(0.6, 2.5, 5 * given.clips).round(2))
        found = {
            name: compare(("plain", "ours"), save(root / name, config), root / "long", long_s, given)
            for name, config in SHAPES.items()
        }
        padded = save(root / "padded", PADDED)
        found["batched"] = compare(("single", "batched"), padded, root / "short", short_s, given)
    settings = {name: getattr(given, name) for name in ("rounds", "threads", "clips")}
    write("extract_throughput", {**settings, "audio_s": {"long": long_s, "short": short_s}, **found})


if __name__ == "__main__":
    main()
