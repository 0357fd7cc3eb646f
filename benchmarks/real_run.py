"""A real run: the Whisper encoder -> 2-layer students, `distilhubert` beside the paper's two baselines, at equal steps.

    python benchmarks/real_run.py TEACHER CORPORA OUT [--steps 600]

TEACHER is the folder of a Whisper encoder (supervised, not self-supervised); CORPORA holds the unpacked folders
speechocean762 and arabic_speech_commands (audio/ and labels.tsv, whose splits keep test speakers out of training).
The students have a thin waveform front end and start from random weights, because Whisper has none to give. Everything
else is the recipes' own but for the number of steps, the learning rate that so few steps need, and crops of 4 s.

Writes fidelity over time and the probes (keywords: Arabic, unseen speakers; speakers: 50-way, speechocean762) of
teacher, students, a random copy and log-mel to results/real_run.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from common import write

from speechpress.compressor.checkpoint import read_json
from speechpress.compressor.metrics import MetricsLog

RECIPES = ("distilhubert", "distill-last", "distill-hidden")
STUDENT = [
    "student.conv_channels=[128,128,128,256,256,256,256]",
    "student.conv_norm=layer",
    "student.projection_norm=true",
    "student.width=256",
    "student.num_heads=4",
    "student.ffn_widths=1024",
    "student.pos_conv_kernel=64",
    "student.init=random",
]
TRAIN = ["train.lr=1e-3", "train.crop_s=4", "train.precision=bf16", "train.batch=24"]


def compress(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "speechpress.compressor.cli", *map(str, words)], check=True)


def train(recipe: str, teacher: Path, corpora: Path, out: Path, steps: int) -> None:
    settings = [*STUDENT, *TRAIN, f"train.steps={steps}", f"train.validate_every={max(1, steps // 6)}"]
    sets = [word for setting in settings for word in ("--set", setting)]
    data = [word for name in ("speechocean762", "arabic_speech_commands") for word in ("--data", corpora / name)]
    compress("distill", "--recipe", recipe, "--teacher", teacher, *data, "--out", out, *sets)


def probe(out: Path, corpora: Path, task: str, corpus: str) -> dict:
    words = [sys.executable, "-m", "speechpress.compressor.cli", "eval", out, "--data", corpora / corpus]
    done = subprocess.run([*map(str, words), "--tasks", task, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["tasks"][task]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    results = {}
    for recipe in RECIPES:
        out = given.out / recipe
        if not (out / "card.json").exists():
            train(recipe, given.teacher, given.corpora, out, given.steps)
        card = read_json(out / "card.json")
        curve = [event for event in MetricsLog(out / "metrics.jsonl").read() if event["event"] == "valid"]
        results[recipe] = {
            "parameters": card["parameters"],
            "macs_per_s": card["macs_per_s"],
            "steps": card["steps"],
            "audio_h": card["audio_h"],
            "train_s": card["train_s"],
            "fidelity": [{"step": event["step"], **event["layers"]} for event in curve],
            "ks": probe(out, given.corpora, "ks", "arabic_speech_commands"),
            "sid": probe(out, given.corpora, "sid", "speechocean762"),
        }
        write("real_run", {"results": results})
    for recipe, result in results.items():
        print(recipe, {task: {k: v for k, v in result[task].items() if isinstance(v, float)} for task in ("ks", "sid")})


if __name__ == "__main__":
    main()
