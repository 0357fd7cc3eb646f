"""Audio-seconds per second of `compress distill` with targets that were kept, against hearing the teacher each time.

    python benchmarks/kept_targets.py DATA [--whisper FOLDER] [--steps 12] [--batch 4] [--crop-s 8]

DATA is a folder of audio. For a HuBERT-base-shaped teacher (random weights, layers 4, 8 and 12) and, with --whisper,
for Whisper's encoder (layers 2, 4 and 6), with the students of `distilhubert` (3.4 GMAC/s) and of `pocket-conv-s`
(0.14), in fp32, the latter without standardised targets, whose statistics each run would measure. After one pass fills
the folder, both sides train on the very same batches (train.crops=fixed), each in its own process, in turn:

    heard    the teacher hears every batch
    kept     its targets are read, as from the second epoch on

Also written: the first pass's speed, what a second of audio takes on disk, and how far the losses of the sides differ.
The blocks are in the system's page cache, as they are after an epoch that fits the memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import busy_s, write

from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.lessons.keep import blocks
from speechpress.compressor.models.checkpoint import save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.json_file import json_text

RECIPES = ("distilhubert", "pocket-conv-s")
SKIPPED = 3  # steps that warm up


def run(given: argparse.Namespace) -> dict[str, Any]:
    """One run: audio-s/s without the first steps, and the losses of all."""
    sets = [f"teacher={given.teacher}", f"match.layers={given.layers}", f"train.steps={given.steps + SKIPPED}"]
    sets += [f"train.batch={given.batch}", f"train.crop_s={given.crop_s}", "train.crops=fixed"]
    sets += ["train.precision=fp32", "train.validate_every=100000", "match.standardise=false"]
    recipe = load_recipe(given.recipe, sets)
    marks: list[tuple[float, float, float]] = []

    def listen(event: dict) -> None:
        if event["event"] == "train":
            marks.append((time.perf_counter(), event["audio_s"], event["loss"]))

    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(
            (given.data,), Path(folder) / "run", given.device, keep_targets=given.keep, keep_targets_gb=1000
        )
        distill(recipe, options, listen)
    (start, before, _), (end, after, _) = marks[SKIPPED - 1], marks[-1]
    return {"audio_s_per_s": (after - before) / (end - start), "audio_s": after, "losses": [loss for *_, loss in marks]}


def measured(given: argparse.Namespace, recipe: str, teacher: Path, layers: str) -> dict[str, Any]:
    """Both sides in turn with one teacher and one student."""
    with tempfile.TemporaryDirectory() as place:
        keep = Path(place) / "kept"

        def side(folder: Path | None) -> dict[str, Any]:
            words = [sys.executable, __file__, *sys.argv[1:], "--teacher", str(teacher), "--layers", layers]
            words += ["--recipe", recipe]
            words += ["--keep", str(folder)] if folder else []
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            return json.loads(done.stdout.splitlines()[-1])

        first = side(keep)
        runs: dict[str, list[dict[str, Any]]] = {"heard": [], "kept": []}

        for _ in range(given.rounds):
            for name, found in runs.items():
                found.append(side(keep if name == "kept" else None))
                print(teacher.name, recipe, name, f"{found[-1]['audio_s_per_s']:.2f} audio-s/s", flush=True)
        held = sum(size for _, size in blocks(keep))
    speeds = {name: [one["audio_s_per_s"] for one in found] for name, found in runs.items()}
    pairs = zip(runs["heard"][0]["losses"], runs["kept"][0]["losses"], strict=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "layers": json.loads(layers),
        "audio_s_per_s": speeds,
        "median": medians,
        "ratio": medians["kept"] / medians["heard"],
        "first_pass_audio_s_per_s": first["audio_s_per_s"],
        "kept_bytes_per_audio_s": held / first["audio_s"],
        "largest_relative_difference_of_losses": max(abs(a - b) / abs(a) for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--whisper", type=Path, help="a folder with Whisper's encoder")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop-s", type=float, default=8.0)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--teacher", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--layers", help=argparse.SUPPRESS)
    parser.add_argument("--recipe", help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.teacher:
        print(json_text(run(given)))
        return
    started, before = time.perf_counter(), busy_s()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        save_encoder(Path(folder) / "hubert-base-shaped", Encoder(EncoderConfig()))
        teachers = {Path(folder) / "hubert-base-shaped": "[4,8,12]"}
        teachers |= {given.whisper: "[2,4,6]"} if given.whisper else {}
        for recipe in given.recipes:
            for teacher, layers in teachers.items():
                found[f"{recipe} of {teacher.name}"] = measured(given, recipe, teacher, layers)
    settings = {
        name: getattr(given, name) for name in ("steps", "batch", "crop_s", "recipes", "rounds", "threads", "device")
    }
    settings |= {"cores": os.cpu_count(), "omp_num_threads": os.environ.get("OMP_NUM_THREADS")}
    busy = (busy_s() - before) / (time.perf_counter() - started)
    card = torch.cuda.get_device_name() if given.device == "cuda" else None
    write("kept_targets", {**settings, "accelerator": card, "busy_cores": busy, "students": found})
    print({name: f"{one['ratio']:.2f}x" for name, one in found.items()})


if __name__ == "__main__":
    main()
