"""How `compress distill` scales: its parts measured here, and from them, on paper, 64 GPUs and 60,000 hours.

    python benchmarks/scale.py [--rounds 3] [--steps 20]

Measured (one thread a process; the machine's load stands in the file):

    processes    audio-seconds per second of `compress distill` in 1 and 2 processes under torchrun, in turn; the same
                 global batch, a teacher of 6 layers x 256 with random weights
    exchange     an all-reduce of DistilHuBERT's gradients between 2 processes (gloo, loopback)
    checkpoint   DistilHuBERT's state to resume from, with AdamW's moments, written and read
    shar         the starter speech as Shar: bytes, and CPU seconds to read it into batches, per second of audio
    listing      a manifest of many recordings opened: seconds and memory for each of them

Derived: what follows for 64 GPUs from these and from the assumptions in ASSUMED, none of which was measured here. There
is no GPU in it.
"""

import argparse
import gzip
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import Parts
from lightning_fabric import Fabric

from speechpress.compressor.cluster.executor import Job, open_executor, run_jobs
from speechpress.compressor.cluster.jobs import Desk
from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.to_shar import SharOptions, write_shar
from speechpress.compressor.distill.loop import Progress
from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.distill.resume import load_state, save_state
from speechpress.compressor.distill.step import Distiller, make_optimizer
from speechpress.compressor.models.checkpoint import STATE, save_encoder
from speechpress.compressor.models.config import SAMPLE_RATE, EncoderConfig
from speechpress.compressor.models.costs import macs_per_s
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.starter import SPEECH
from speechpress.runtime.json_file import json_text
from speechpress.runtime.machine import resident_bytes

ASSUMED = {
    "gpus": 64,
    "gpus_per_host": 8,
    "corpus_h": 60_000,
    "recording_s": 12.0,
    "flops_per_gpu": 100e12,  # sustained in bf16: a quarter of what such a chip may do
    "batch_s_per_gpu": 375.0,  # the recipe's 24 rows of 15.625 s
    "network_bytes_per_s": 12.5e9,  # 100 Gbit/s a host
    "disk_bytes_per_s": 1e9,  # shared, for a checkpoint
}
MANIFEST_CUTS, CLIPS = 20_000, 40


def processes(rounds: int, steps: int, folder: Path) -> dict[str, Any]:
    """audio-s/s by number of processes, in turn."""
    torch.manual_seed(0)
    config = EncoderConfig(width=256, num_heads=(4,) * 6, ffn_widths=(1024,) * 6, conv_channels=(128,) * 7)
    save_encoder(folder / "teacher", Encoder(config))
    (folder / "clips").mkdir()
    for number, path in enumerate(sorted((SPEECH / "audio").rglob("*.opus"))[: 20 * CLIPS : 20]):
        shutil.copy(path, folder / "clips" / f"{number}.opus")
    sets = ["student.layers=2", "match.layers=[3,6]", "match.depth=6", f"train.steps={steps}", "train.batch=8"]
    sets += ["train.crop_s=1", "train.precision=fp32", "train.validate_every=100000", "train.checkpoint_every=100000"]
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count in speeds:
            out = folder / f"run-{count}-{number}"
            words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            words += ["-m", "speechpress.compressor.cli.main", "distill", "--recipe", "distilhubert"]
            words += [
                "--data",
                str(folder / "clips"),
                "--teacher",
                str(folder / "teacher"),
                "--device",
                "cpu",
                "--out",
                str(out),
            ]
            words += [word for one in sets for word in ("--set", one)]
            env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            subprocess.run(words, check=True, capture_output=True, env=env)
            speeds[count].append(json.loads((out / "card.json").read_text())["audio_s_per_s"])
            print(count, f"{speeds[count][-1]:.1f} audio-s/s", flush=True)
    medians = {count: statistics.median(values) for count, values in speeds.items()}
    return {"audio_s_per_s": speeds, "median": medians, "two_against_one": medians[2] / medians[1]}


def student() -> tuple[Distiller, torch.optim.Optimizer, int]:
    """DistilHuBERT with its heads and its optimizer after a step, and the bytes of its gradients."""
    recipe = load_recipe("distilhubert")
    config, _ = student_config(recipe, EncoderConfig(), EncoderConfig().width)
    module = Distiller(Encoder(config), PredictionHeads(recipe.match.layers, config.width, config.width))
    optimizer = make_optimizer(module, recipe.train, scaled=False)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    gradients = sum(parameter.numel() * 4 for parameter in module.parameters() if parameter.requires_grad)
    return module, optimizer, gradients


def exchange(size_bytes: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds of an all-reduce of so many bytes between two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jobs = [Job(f"rank {rank}", reduce_all, (rank, port, size_bytes, rounds)) for rank in range(2)]
    with open_executor("processes", 2, folder / "exchange.log") as workers:
        seconds = run_jobs(workers, jobs)["rank 0"]
    return {"bytes": size_bytes, "seconds": seconds, "median_s": statistics.median(seconds)}


def reduce_all(desk: Desk, rank: int, port: int, size_bytes: int, rounds: int) -> list[float]:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    values, seconds = torch.ones(size_bytes // 4), []
    for _ in range(rounds + 1):
        torch.distributed.barrier()
        started = time.perf_counter()
        torch.distributed.all_reduce(values)
        seconds.append(time.perf_counter() - started)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return seconds[1:]


def checkpoint(module: Distiller, optimizer: torch.optim.Optimizer, rounds: int, folder: Path) -> dict[str, Any]:
    """Size of the state of an unfinished run, and seconds to write it and to read it back."""
    fabric, written, read = Fabric(accelerator="cpu", devices=1), [], []
    for _ in range(rounds):
        started = time.perf_counter()
        save_state(folder, module, optimizer, fabric, Progress(step=1, loss_ema=1.0, best_ema=1.0), {}, {})
        written.append(time.perf_counter() - started)
        started = time.perf_counter()
        load_state(folder, module, optimizer, fabric, {})
        read.append(time.perf_counter() - started)
    return {
        "bytes": (folder / STATE).stat().st_size,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "write_s": statistics.median(written),
        "read_s": statistics.median(read),
    }


def shar(folder: Path) -> dict[str, Any]:
    """What the starter speech takes as Shar, and what it costs to read one epoch of it."""
    write_shar([SPEECH], SharOptions(folder / "shar", workers=1))
    size = sum(path.stat().st_size for path in (folder / "shar").rglob("*") if path.is_file())
    corpus = open_corpus(folder / "shar")
    audio_s, started = 0.0, time.process_time()
    stream = Batches(corpus.cuts, batch=8, crop_s=15.0, seed=0, workers=1).start(0)
    for batch in stream:
        if batch.epoch:
            break
        audio_s += batch.waves.numel() / SAMPLE_RATE
    cpu_s = time.process_time() - started
    stream.close()
    return {
        "hours": corpus.hours,
        "bytes_per_audio_s": size / (3600 * corpus.hours),
        "cpu_s_per_audio_s": cpu_s / audio_s,
    }


def listing(folder: Path, count: int) -> dict[str, Any]:
    """A manifest of so many recordings opened, in a process of its own."""
    path = folder / "cuts.jsonl.gz"
    lines = [json_text(cut.to_dict()) for cut in open_corpus(SPEECH).cuts]
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(count):
            document = json.loads(lines[number % len(lines)])
            document["id"] = document["recording"]["id"] = f"cut-{number}"
            file.write(json_text(document) + "\n")
    with open_executor("processes", 1, folder / "listing.log") as workers:
        seconds, held_bytes, found = run_jobs(workers, [Job("listing", open_it, (path,))])["listing"]
    assert found == count, found
    return {"recordings": count, "s_per_recording": seconds / count, "bytes_per_recording": held_bytes / count}


def open_it(desk: Desk, path: Path) -> tuple[float, int, int]:
    before, started = resident_bytes() or 0, time.process_time()
    corpus = open_corpus(path)
    stream = Batches(corpus.cuts, batch=8, crop_s=15.0, seed=0, workers=1).start(0)
    next(stream)  # which plans the epoch
    spent, held = time.process_time() - started, (resident_bytes() or 0) - before
    stream.close()
    return spent, held, len(corpus.cuts)


def derived(measured: Mapping[str, Any], assumed: dict[str, Any]) -> dict[str, Any]:
    """What follows for many GPUs: arithmetic alone."""
    teacher, (config, _) = EncoderConfig(), student_config(load_recipe("distilhubert"), EncoderConfig(), 768)
    # Forward through the teacher; forward and twice as much backward through the student; 2 operations each.
    flops = 2 * (macs_per_s(teacher) + 3 * macs_per_s(config))
    rate = assumed["flops_per_gpu"] / flops
    step_s = assumed["batch_s_per_gpu"] / rate
    gpus, hosts = assumed["gpus"], assumed["gpus"] // assumed["gpus_per_host"]
    gradients, state = measured["exchange"]["bytes"], measured["checkpoint"]["bytes"]
    # A ring: each host sends and receives twice its share of what all others have.
    sent = 2 * gradients * (hosts - 1) / hosts
    recordings = 3600 * assumed["corpus_h"] / assumed["recording_s"]
    shar_bytes, listed = measured["shar"]["bytes_per_audio_s"], measured["listing"]
    return {
        "gflop_per_audio_s": flops / 1e9,
        "audio_s_per_s_per_gpu": rate,
        "step_s": step_s,
        "epoch_h": assumed["corpus_h"] / (gpus * rate),
        "shar_mb_per_s_per_gpu": rate * shar_bytes / 1e6,
        "shar_gb_per_s": gpus * rate * shar_bytes / 1e9,
        "shar_tb": 3600 * assumed["corpus_h"] * shar_bytes / 1e12,
        "decoding_cores_per_gpu": rate * measured["shar"]["cpu_s_per_audio_s"],
        "all_reduce_mb": gradients / 1e6,
        "all_reduce_sent_mb_per_host": sent / 1e6,
        "all_reduce_ms": 1000 * sent / assumed["network_bytes_per_s"],
        "all_reduce_share_of_step": sent / assumed["network_bytes_per_s"] / step_s,
        "checkpoint_mb": state / 1e6,
        "checkpoint_s": max(state / assumed["disk_bytes_per_s"], measured["checkpoint"]["write_s"]),
        "recordings_million": recordings / 1e6,
        "listing_min_per_process": recordings * listed["s_per_recording"] / 60,
        "listing_gb_per_process": recordings * listed["bytes_per_recording"] / 1e9,
        "listing_gb_per_host": recordings * listed["bytes_per_recording"] * assumed["gpus_per_host"] / 1e9,
        "hosts": hosts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", action="append", help="Only these parts; the others stay as they were measured.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = Parts("scale")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module, optimizer, gradients = student()
        measuring: dict[str, Callable[[], dict[str, Any]]] = {
            "checkpoint": lambda: checkpoint(module, optimizer, given.rounds, folder),
            "exchange": lambda: exchange(gradients, given.rounds, folder),
            "shar": lambda: shar(folder),
            "listing": lambda: listing(folder, MANIFEST_CUTS),
            "processes": lambda: processes(given.rounds, given.steps, folder),
        }
        for part, measure in measuring.items():
            if not given.only or part in given.only:
                # As soon as it is there: a run that is cut off leaves what it has.
                parts.put(**{part: measure()})
                print(part, json_text(parts[part]), flush=True)
    found = derived(parts, ASSUMED)
    assert all(math.isfinite(value) for value in found.values())
    parts.put(assumed=ASSUMED, derived=found)
    print(json_text(found, indent=1))


if __name__ == "__main__":
    main()
