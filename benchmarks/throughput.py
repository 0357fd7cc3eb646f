"""Audio-seconds per second of `compress distill --recipe distilhubert`, against a floor and against a plain loop.

    python benchmarks/throughput.py DATA [--steps 12] [--batch 4] [--crop-s 8]

DATA is a folder of audio. Full-size HuBERT-base (random weights) and DistilHuBERT, fp32, the same recordings for all:

    ours     what `compress distill` runs: reading, batching, loss, clipping, AdamW, logging
    floor    teacher forward, student forward and backward on waves that are already in memory, nothing else
    plain    a straightforward loop over `transformers` modules: HubertModel teacher with output_hidden_states,
             HubertModel student, three heads, files read in the loop in random order, padded to the longest in a batch

Each side runs in its own process (an allocator setting of one must not help the others), in turn, several times. Ours
and plain are charged for the seconds of real audio that they saw; padding is not audio.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import busy_s, write
from torch import nn
from transformers import HubertConfig, HubertModel

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.objectives import PredictionHeads, loss_sums
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.models.checkpoint import save_encoder
from speechpress.compressor.models.config import SAMPLE_RATE, EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.schema import Match
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.json_file import json_text

LAYERS = (4, 8, 12)
SKIPPED = 3  # steps that warm up


def ours(data: Path, steps: int, batch: int, crop_s: float, teacher: Path) -> float:
    """audio-s/s of the product itself, from its own log, without the first steps."""
    sets = [f"teacher={teacher}", f"train.steps={steps + SKIPPED}", f"train.batch={batch}", f"train.crop_s={crop_s}"]
    recipe = load_recipe("distilhubert", [*sets, "train.precision=fp32", "train.validate_every=100000"])
    marks: list[tuple[float, float]] = []

    def listen(event: dict) -> None:
        if event["event"] == "train":
            marks.append((time.perf_counter(), event["audio_s"]))

    with tempfile.TemporaryDirectory() as folder:
        distill(recipe, RunOptions((data,), Path(folder) / "run", "cpu"), listen)
    (start, before), (end, after) = marks[SKIPPED - 1], marks[-1]
    return (after - before) / (end - start)


def floor(data: Path, steps: int, batch: int, crop_s: float, teacher_folder: Path) -> float:
    """audio-s/s of the arithmetic alone, on the very batches that ours gets."""
    keep_freed_memory()  # ours has it; the floor must not be lower for the lack of it
    teacher = load_teacher(str(teacher_folder))
    config, _ = student_config(load_recipe("distilhubert"), teacher.card.encoder, teacher.card.width)
    student, heads = Encoder(config).train(), PredictionHeads(LAYERS, config.width, config.width)
    stream = Batches(open_corpus(data).cuts, batch=batch, crop_s=crop_s, seed=0).start(0)
    waves = [next(stream).waves for _ in range(steps + SKIPPED)]
    for index, wave in enumerate(waves):
        if index == SKIPPED:
            started = time.perf_counter()
        targets = teacher.hidden_states(wave, layers=LAYERS)
        loss, _ = loss_sums(heads(student.hidden_states(wave)), targets, Match("heads", LAYERS))
        loss.backward()
    return sum(wave.numel() for wave in waves[SKIPPED:]) / SAMPLE_RATE / (time.perf_counter() - started)


def plain(data: Path, steps: int, batch: int, crop_s: float, teacher_folder: Path) -> float:
    """audio-s/s of a loop as one would first write it over `transformers`."""
    base = HubertConfig(**EncoderConfig().to_hubert())
    teacher = HubertModel.from_pretrained(teacher_folder).eval()
    small = HubertConfig(**{**base.to_dict(), "num_hidden_layers": 2, "feat_proj_layer_norm": False})
    student = HubertModel(small).train()
    heads = nn.ModuleList(nn.Sequential(nn.Linear(768, 768), nn.GELU(), nn.Linear(768, 768)) for _ in LAYERS)
    optimizer = torch.optim.AdamW([*student.parameters(), *heads.parameters()], lr=2e-4)
    files = sorted(path for path in data.rglob("*") if path.suffix in (".opus", ".wav", ".flac"))
    order, audio_s = random.Random(0), 0.0
    for step in range(steps + SKIPPED):
        if step == SKIPPED:
            started, audio_s = time.perf_counter(), 0.0
        clips = [torch.from_numpy(read_audio(path))[: int(crop_s * SAMPLE_RATE)] for path in order.sample(files, batch)]
        waves = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        with torch.no_grad():
            targets = teacher(waves, output_hidden_states=True).hidden_states
        hidden = student(waves).last_hidden_state
        loss = torch.zeros(())
        for head, layer in zip(heads, LAYERS, strict=True):
            prediction = head(hidden)
            cosine = F.cosine_similarity(prediction, targets[layer], dim=-1)
            loss = loss + F.l1_loss(prediction, targets[layer]) - F.logsigmoid(cosine).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        audio_s += sum(len(clip) for clip in clips) / SAMPLE_RATE
    return audio_s / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop-s", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=("ours", "floor", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--teacher", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sides = {"ours": ours, "floor": floor, "plain": plain}
    if given.side:
        speed = sides[given.side](given.data, given.steps, given.batch, given.crop_s, given.teacher)
        print(json_text(speed))
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        save_encoder(Path(folder), Encoder(EncoderConfig()))
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        before, started = busy_s(), time.perf_counter()
        for _ in range(given.rounds):
            for name in sides:
                words = [sys.executable, __file__, *sys.argv[1:], "--side", name, "--teacher", folder]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                speeds[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(name, f"{speeds[name][-1]:.2f} audio-s/s", flush=True)
        busy = (busy_s() - before) / (time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {f"ours/{name}": medians["ours"] / medians[name] for name in ("floor", "plain")}
    print(medians, ratios)
    settings = {name: getattr(given, name) for name in ("steps", "batch", "crop_s", "rounds", "threads")}
    write("throughput", {**settings, "audio_s_per_s": speeds, "median": medians, "ratio": ratios, "busy_cores": busy})
    assert np.isfinite(list(ratios.values())).all()


if __name__ == "__main__":
    main()
