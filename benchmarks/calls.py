"""Calls of XNNPACK per chunk, and milliseconds per chunk on one thread, of a student as it is lowered now and before.

    python benchmarks/calls.py make FOLDER [--recipe pocket-conv] [--schemes int8 none]
    python benchmarks/calls.py make FOLDER --variants                # of each shape below, in a folder of its name
    python benchmarks/calls.py measure BEFORE NOW [--rounds 300] [--variants FOLDER]
    python benchmarks/calls.py tables                                # those of docs/runtime.md, from the results

`make` lowers the student of a recipe, with random weights of a seed: a program for each scheme and for chunks of 80,
160 and 320 ms. It needs only what older checkouts have as well, so it can be copied to one, with common.py, and run
there. `measure` runs the programs of both folders in turn, so that both meet the same machine, through
`runtime.engine.Program`: what Python and copies of the state cost is in the time. With --variants it also runs the
int8 programs of all shapes in turn; each then finds the others' weights in the caches, so that its own come from
further away than in a loop of one. Closeness is that of frames of 5 s of noise, as loud as speech, to those of the
encoder in PyTorch. Writes results/calls.json.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, alternate, fill_table, read, stamp

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import lower
from speechpress.compressor.models.checkpoint import parameters
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.json_file import json_text
from speechpress.runtime.parity import compare

CHUNKS, SECONDS = (4, 8, 16), 5
MADE = "made.json"
PATCH_320 = ("width=320", "num_heads=5", "ffn_widths=960", "conv_channels=[512,512,320]")
WIDTH_256 = ("width=256", "num_heads=4", "ffn_widths=1024", "conv_channels=[96,96,96,192,192,192,256]")
# Shapes by name: what they are called, a recipe, and what its student has instead.
VARIANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "pocket-conv": ("`pocket-conv`", "pocket-conv", ()),
    "ffn-960": ("FFN 960", "pocket-conv", ("ffn_widths=960",)),
    "ffn-960-rms": ("FFN 960, norm rms", "pocket-conv", ("ffn_widths=960", "norm=rms")),
    "ffn-960-dyt": ("FFN 960, norm dyt", "pocket-conv", ("ffn_widths=960", "norm=dyt")),
    "patch": ("FFN 960, patches", "pocket-patch", ("ffn_widths=960",)),
    "patch-rms": ("FFN 960, patches, norm rms", "pocket-patch", ("ffn_widths=960", "norm=rms")),
    "patch-320": ("FFN 960, patches, width 320", "pocket-patch", PATCH_320),
    "width-256": ("FFN 1024, width 256", "pocket-conv", WIDTH_256),
    "pocket-conv-s": ("`pocket-conv-s`", "pocket-conv-s", ()),
}
PAGE = "docs/runtime.md"
BEFORE_AFTER = "| `pocket-conv` in int8, one thread | before | after |"
SHAPES = "| int8, one thread | 80 ms | 160 ms | 320 ms | dB | calls | kernels beside | M parameters | MB |"


def encoder_of(recipe: str, changes: Sequence[str] = ()) -> Encoder:
    torch.manual_seed(0)
    base = EncoderConfig()
    # Older checkouts, where there are no changes, may not take any.
    loaded = load_recipe(recipe, [f"student.{change}" for change in changes]) if changes else load_recipe(recipe)
    encoder = Encoder(student_config(loaded, base, base.width)[0]).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    return encoder


def make(folder: Path, recipe: str, schemes: list[str], chunks: list[int], changes: Sequence[str] = ()) -> None:
    """Programs, and of each the calls of the backend and the kernels beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder, path = encoder_of(recipe, changes), folder / MADE
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
    made = {side: json.loads((folder / MADE).read_text()) for side, folder in folders.items()}
    both = [
        name for name in made["now"] if "-" in name and isinstance(made["now"][name], dict) and name in made["before"]
    ]
    encoder, found = encoder_of(made["now"]["recipe"]), {}
    for name in both:
        paths = {side: folder / f"{name}.pte" for side, folder in folders.items()}
        found[name] = in_turn(paths, dict.fromkeys(paths, encoder), int(name.split("-")[-1]), rounds)
        for side in paths:
            found[name][side] |= made[side][name]
        print(name, found[name])
    return found


def measure_variants(folder: Path, rounds: int) -> dict[str, Any]:
    """{"made": {shape: commit}, "parameters": {shape: number}, "int8-CHUNK": as of `measure`, a side for a shape}."""
    made = {name: json.loads((folder / name / MADE).read_text()) for name in VARIANTS}
    encoders = {name: encoder_of(recipe, changes) for name, (_, recipe, changes) in VARIANTS.items()}
    found: dict[str, Any] = {
        "made": {name: {key: one[key] for key in ("commit", "dirty")} for name, one in made.items()},
        "parameters": {name: parameters(encoder) for name, encoder in encoders.items()},
    }
    for chunk in CHUNKS:
        key = f"int8-{chunk}"
        paths = {name: folder / name / f"{key}.pte" for name in VARIANTS if key in made[name]}
        found[key] = in_turn(paths, encoders, chunk, rounds)
        for name in paths:
            found[key][name] |= made[name][key]
            print(key, name, found[key][name], flush=True)
    return found


def in_turn(paths: dict[str, Path], encoders: dict[str, Encoder], chunk: int, rounds: int) -> dict[str, Any]:
    """Time, closeness and size of programs for one size of chunks, by their names."""
    programs = {name: Program(path, threads=1) for name, path in paths.items()}
    sides = {}
    for name, program in programs.items():
        step = StreamingEncoder(encoders[name], chunk)
        inputs = [np.zeros((1, step.spec.chunk_samples), np.float32)]
        inputs += [tensor.numpy() for tensor in step.initial_state().values()]
        sides[name] = partial(program.run, program.method_names[0], *inputs)
    times = alternate(sides, rounds, warmup=5)
    found: dict[str, Any] = {"others_cpu_share": times["others_cpu_share"], "chunk_ms": 20 * chunk}
    found["engine"] = next(iter(programs.values())).library.name
    for name, program in programs.items():
        row = {key: times[name][key] for key in ("median_ms", "q1_ms")} | {"min_ms": min(times[name]["all_ms"])}
        size = {"program_bytes": paths[name].stat().st_size}
        found[name] = {**row, **closeness(program, chunk, encoders[name]), **size}
    return found


def tables() -> None:
    """Fill the tables of docs/runtime.md from results/light.json and results/calls.json."""
    light, found = read("light"), read("calls")
    sides = ("bindings", "native")
    rows = [
        ["cold process to the first frames, s", *(f"{light[side]['first_ms'] / 1e3:.2f}" for side in sides)],
        ["its memory then, MB", *(f"{light[side]['rss_bytes'] / 1e6:.0f}" for side in sides)],
    ]
    size = "" if "torch_bytes" not in light else f"{light['torch_bytes'] / 1e6:.0f}"
    rows.append(["installed without numpy, MB", size, f"{light['installed_bytes'] / 1e6:.1f}"])
    if "demo_s" in light:
        rows.append(["`pip install ./runtime` into a new environment, s", "", f"{light['install_s']:.0f}"])
        label = f"`speechpress-demo BUNDLE --wav FILE` on {light['demo_audio_s']:g} s of audio at its own pace, s"
        rows.append([label, "", f"{light['demo_s']:.2f}"])
    for chunk in reversed(CHUNKS):
        if (one := found["chunks"].get(f"int8-{chunk}")) is not None:
            pair, ms = [one[side] for side in ("before", "now")], 20 * chunk
            rows.append([f"chunk of {ms} ms, ms", *(f"{side['median_ms']:.2f}" for side in pair)])
            calls = (f"{side['calls']}, {side['kernels_beside']}" for side in pair)
            rows.append([f"chunk of {ms} ms: calls of the backend, kernels beside them", *calls])
    fill_table(PAGE, BEFORE_AFTER, rows)
    fill_table(PAGE, SHAPES, _shape_rows(found.get("variants")))


def _shape_rows(found: dict[str, Any] | None) -> list[list[str]]:
    rows = []
    for name, (label, _, _) in VARIANTS.items() if found else ():
        chunks = [found[f"int8-{chunk}"].get(name) for chunk in CHUNKS]
        times = ["" if one is None else f"{one['median_ms']:.2f}" for one in chunks]
        least = min((one for one in chunks if one), key=lambda one: one["snr_db"])
        counts = str(least["calls"]), str(least["kernels_beside"])
        sizes = f"{found['parameters'][name] / 1e6:.2f}", f"{least['program_bytes'] / 1e6:.1f}"
        rows.append([label, *times, f"{least['snr_db']:.1f}", *counts, *sizes])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = parser.add_subparsers(dest="word", required=True)
    making = words.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--recipe", default="pocket-conv")
    making.add_argument("--schemes", nargs="+", default=["int8", "none"])
    making.add_argument("--chunks", nargs="+", type=int, default=list(CHUNKS), help="in frames")
    making.add_argument("--variants", action="store_true", help="int8 of every shape, instead of one recipe")
    measuring = words.add_parser("measure")
    measuring.add_argument("before", type=Path)
    measuring.add_argument("now", type=Path)
    measuring.add_argument("--rounds", type=int, default=300)
    measuring.add_argument("--variants", type=Path, help="where `make --variants` wrote")
    words.add_parser("tables")
    given = parser.parse_args()
    if given.word == "tables":
        tables()
    elif given.word == "measure":
        measure_all({"before": given.before, "now": given.now}, given.variants, given.rounds)
    elif given.variants:
        for name, (_, recipe, changes) in VARIANTS.items():
            make(given.folder / name, recipe, ["int8"], given.chunks, changes)
    else:
        make(given.folder, given.recipe, given.schemes, given.chunks)


def measure_all(folders: dict[str, Path], variants: Path | None, rounds: int) -> None:
    set_threads(1)
    said = {side: json.loads((folder / MADE).read_text()) for side, folder in folders.items()}
    commits = {side: {key: found[key] for key in ("commit", "dirty")} for side, found in said.items()}
    document = Parts("calls")
    document.put(threads=1, made=commits, chunks=measure(folders, rounds))
    if variants is not None:
        # A part of its own: what is measured first stays when this fails.
        document.put(variants=measure_variants(variants, rounds))


if __name__ == "__main__":
    main()
