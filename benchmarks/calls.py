"""Calls of XNNPACK per chunk, and milliseconds per chunk on one thread, of a student as it is lowered now and before.

    python benchmarks/calls.py make FOLDER [--recipe pocket] [--schemes int8 none]
    python benchmarks/calls.py measure BEFORE NOW [--rounds 300]

`make` lowers the student of a recipe, with random weights of a seed: a program for each scheme and for chunks of 80,
160 and 320 ms. It needs only what older checkouts have as well, so it can be copied to one and run there. `measure`
runs the programs of both folders in turn, so that both meet the same machine, through `runtime.engine.Program`: what
Python and copies of the state cost is in the time. Closeness is that of frames of 5 s of noise, as loud as speech, to
those of the encoder in PyTorch. Writes results/calls.json.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, alternate, stamp

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import lower
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.json_file import json_text
from speechpress.runtime.parity import compare

CHUNKS, SECONDS = (4, 8, 16), 5
MADE = "made.json"


def encoder_of(recipe: str) -> Encoder:
    torch.manual_seed(0)
    base = EncoderConfig()
    encoder = Encoder(student_config(load_recipe(recipe), base, base.width)[0]).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    return encoder


def make(folder: Path, recipe: str, schemes: list[str], chunks: list[int]) -> None:
    """Programs, and of each the calls of the backend and the kernels beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder, path = encoder_of(recipe), folder / MADE
    said: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    said |= {"recipe": recipe, **stamp()}
    for scheme in schemes:
        for chunk in chunks:
            lowered = lower({f"step_{chunk}": step_method(encoder, chunk, scheme == "fp16")}, {}, "xnnpack", scheme)
            (folder / f"{scheme}-{chunk}.pte").write_bytes(lowered.program)
            beside = sum(map(len, lowered.fallback[f"step_{chunk}"].values()))
            said[f"{scheme}-{chunk}"] = {"calls": len(lowered.partitions[f"step_{chunk}"]), "kernels_beside": beside}
            path.write_text(json_text(said, indent=1))


def closeness(program: Program, chunk: int, encoder: Encoder) -> dict[str, float]:
    """Of the frames of a stream."""
    step = StreamingEncoder(encoder, chunk)
    generator = np.random.default_rng(0)
    given = {name: tensor.numpy() for name, tensor in step.initial_state().items()}
    wanted, ours, theirs = step.initial_state(), [], []
    for _ in range(SECONDS * 50 // chunk):
        audio = generator.normal(0, 0.05, (1, step.spec.chunk_samples)).astype(np.float32)
        frames, *rest = program.run(program.method_names[0], audio, *given.values())
        given = dict(zip(given, rest, strict=True))
        with torch.no_grad():
            expected, wanted = step.step(torch.from_numpy(audio), wanted)
        ours.append(frames[0])
        theirs.append(expected[0].numpy())
    found = compare(np.concatenate(ours), np.concatenate(theirs))
    return {name: float(found[name]) for name in ("max_abs", "snr_db")}


def measure(folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """{"SCHEME-CHUNK": {side: {calls, kernels_beside, median_ms, q1_ms, min_ms, max_abs, snr_db}}}."""
    set_threads(1)
    made = {side: json.loads((folder / MADE).read_text()) for side, folder in folders.items()}
    both = [
        name for name in made["now"] if "-" in name and isinstance(made["now"][name], dict) and name in made["before"]
    ]
    encoder, found = encoder_of(made["now"]["recipe"]), {}
    for name in both:
        chunk = int(name.split("-")[-1])
        programs = {side: Program(folder / f"{name}.pte", threads=1) for side, folder in folders.items()}
        step = StreamingEncoder(encoder, chunk)
        inputs = [np.zeros((1, step.spec.chunk_samples), np.float32)]
        inputs += [tensor.numpy() for tensor in step.initial_state().values()]
        sides = {side: partial(program.run, program.method_names[0], *inputs) for side, program in programs.items()}
        times = alternate(sides, rounds, warmup=5)
        found[name] = {"others_cpu_share": times["others_cpu_share"], "chunk_ms": 20 * chunk}
        for side, program in programs.items():
            row = {key: times[side][key] for key in ("median_ms", "q1_ms")} | {"min_ms": min(times[side]["all_ms"])}
            found[name][side] = {**made[side][name], **row, **closeness(program, chunk, encoder)}
        print(name, found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = parser.add_subparsers(dest="word", required=True)
    making = words.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--recipe", default="pocket")
    making.add_argument("--schemes", nargs="+", default=["int8", "none"])
    making.add_argument("--chunks", nargs="+", type=int, default=list(CHUNKS), help="in frames")
    measuring = words.add_parser("measure")
    measuring.add_argument("before", type=Path)
    measuring.add_argument("now", type=Path)
    measuring.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    if given.word == "make":
        make(given.folder, given.recipe, given.schemes, given.chunks)
        return
    folders = {"before": given.before, "now": given.now}
    said = {side: json.loads((folder / MADE).read_text()) for side, folder in folders.items()}
    commits = {side: {key: found[key] for key in ("commit", "dirty")} for side, found in said.items()}
    Parts("calls").put(threads=1, made=commits, chunks=measure(folders, given.rounds))


if __name__ == "__main__":
    main()
