"""The 960 h recipe at full model size, on synthetic speech: how fast it goes, and how long 200,000 steps would take.

    python benchmarks/full_size.py WORK [--device cuda] [--steps 60] [--precisions fp16 bf16 fp32] [--batch 24]

Teacher is HuBERT-base with random weights, the recipe `distilhubert` as it is but for its number of steps: 24 crops of
15.6 s of noise a step, read from WAV files. The run is `compress distill` itself, so reading, validation and saving
work as in the real one; speed is that of the last half of its log. On a GPU `nvidia-smi` is asked twice a second for
utilisation and memory. The real run differs in its teacher and data alone:

    torchrun --nproc-per-node 8 -m speechpress.compressor.cli.main distill --recipe distilhubert --data shar/ --out RUN

Writes results/full_size.json.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import Parts
from side_by_side import Job, Place, command

from speechpress.compressor.models.checkpoint import save_encoder
from speechpress.compressor.models.config import SAMPLE_RATE, EncoderConfig
from speechpress.compressor.models.encoder import Encoder

RECIPE, REAL_STEPS = "distilhubert", 200_000
CLIPS, CLIP_S, CROP_S = 256, 16.0, 15.625
SETTINGS = ("train.validate_every=1000000", "train.checkpoint_every=1000000")


def make_inputs(work: Path) -> tuple[Path, Path]:
    """A teacher and a folder of speech, unless they are there."""
    teacher, speech = work / "teacher", work / "speech"
    if not (teacher / "config.json").exists():
        save_encoder(teacher, Encoder(EncoderConfig()))
    if not speech.exists():
        part = speech.with_name("speech.part")
        part.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0)
        for index in range(CLIPS):
            wave = 0.1 * draw.standard_normal(int(CLIP_S * SAMPLE_RATE)).astype(np.float32)
            soundfile.write(part / f"{index}.wav", wave, SAMPLE_RATE, subtype="PCM_16")
        part.rename(speech)
    return teacher, speech


class Watch(threading.Thread):
    """Utilisation (%) and memory (MiB) of the first GPU, twice a second, until `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over, self.values = threading.Event(), []

    def run(self) -> None:
        words = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not self.over.wait(0.5):
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            if said.strip():
                self.values.append([float(value) for value in said.split(",")])

    def stop(self) -> dict[str, float]:
        self.over.set()
        self.join()
        busy = [values for values in self.values if values[0] > 0]
        if not busy:
            return {}
        late = busy[len(busy) // 2 :]
        return {
            "utilisation_percent": statistics.median(value for value, _ in late),
            "memory_mib": max(value for _, value in late),
        }


def measure(work: Path, device: str, precision: str, steps: int, batch: int) -> dict[str, Any]:
    teacher, speech = make_inputs(work)
    settings = (*SETTINGS, f"train.precision={precision}", f"train.steps={steps}", f"train.batch={batch}")
    job = Job(f"run-{precision}", RECIPE, settings)
    shutil.rmtree(work / job.name, ignore_errors=True)
    watch = Watch()
    if device == "cuda" and shutil.which("nvidia-smi"):
        watch.start()
    place = Place((speech,), str(teacher), work, device)
    subprocess.run(command(place, job), check=True)
    watched = watch.stop() if watch.ident is not None else {}
    lines = [json.loads(line) for line in (work / job.name / "metrics.jsonl").read_text().splitlines()]
    rates = [line["audio_s_per_s"] for line in lines if line["event"] == "train"]
    rate = statistics.median(rates[len(rates) // 2 :])
    hours = REAL_STEPS * batch * CROP_S / rate / 3600
    return {"steps": steps, "batch": batch, "audio_s_per_s": rate, **watched, "hours_for_200k_steps": hours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--precisions", nargs="+", default=["fp16", "bf16", "fp32"])
    given = parser.parse_args()
    parts = Parts("full_size")
    for precision in given.precisions:
        found = measure(given.work, given.device, precision, given.steps, given.batch)
        parts.put(**{f"{given.device}, {precision}": {**found, "device": device_name(given.device)}})
        print(precision, found, flush=True)


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


if __name__ == "__main__":
    main()
