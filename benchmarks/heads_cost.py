"""What heads cost a streaming student: ms per chunk with and without them, and the size of the program.

    python benchmarks/heads_cost.py [--rounds 200] [--schemes none,int8]

A student of `pocket-conv`'s shape with random weights; three heads with random weights on a learned sum of all its
layers: phones (CTC, 40 labels), voice activity, and a classifier of 12 words. One thread, chunks of 80 and 320 ms,
programs in turn, so that a disturbance of the machine meets all of them; what the heads cost is the median of the
differences of neighbouring calls. Numbers of random weights are as fast as those of trained ones. Goal: under 5 % of
the encoder's. Writes results/heads_cost.json.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import alternate, write

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import lower
from speechpress.compressor.export.pt2e import as_prepared
from speechpress.compressor.heads.files import KeptHead
from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.models.answering import with_heads
from speechpress.compressor.models.checkpoint import parameters
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import chunk_frames_of
from speechpress.compressor.quantize.scheme import Quantization
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.engine import Program, set_threads

CHUNKS_MS = (80.0, 320.0)
HEADS: dict[str, tuple[str, dict[str, int]]] = {
    "phones": ("ctc", {"tokens": 40, "kernel": 1, "hidden": 0}),
    "vad": ("vad", {"hidden": 32, "kernel": 5}),
    "command": ("classify", {"classes": 12}),
}


def student() -> Encoder:
    """`pocket-conv`'s shape."""
    base = EncoderConfig()
    config, _ = student_config(load_recipe("pocket-conv"), base, base.width)
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    return encoder


def heads(encoder: Encoder) -> dict[str, KeptHead]:
    """Heads with random weights, whose sums weigh all layers."""
    made, config = {}, encoder.config
    for name, (kind, arguments) in HEADS.items():
        module = KINDS[kind].make(config.num_layers + 1, config.width, **arguments).eval()
        made[name] = KeptHead(name, kind, module, tuple(map(str, range(module.widths[0]))))
    return made


def programs(encoder: Encoder, scheme: str, folder: Path) -> dict[str, Any]:
    """{"without" and "with": (path, {chunk_ms: what the step takes})}."""
    found = {}
    for name, side in (("without", encoder), ("with", with_heads(encoder, heads(encoder)))):
        chunks = [chunk_frames_of(encoder.config, chunk_ms) for chunk_ms in CHUNKS_MS]
        methods = {f"step_{chunk}": step_method(side, chunk, scheme == "fp16") for chunk in chunks}
        lowered = lower(methods, {}, "xnnpack", as_prepared(Quantization(scheme), encoder.config))
        path = folder / f"{scheme}-{name}.pte"
        path.write_bytes(lowered.program)
        found[name] = path, {method: _arrays(made.example) for method, made in methods.items()}
    return found


def _arrays(example: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    chunk = torch.randn(example[0].shape, generator=torch.Generator().manual_seed(0)) * 0.1
    return [chunk.numpy(), *(tensor.numpy() for tensor in example[1:])]


def timed(made: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Per step: ms of both sides, what heads cost, and their share of the encoder's time."""
    loaded = {name: Program(path, threads=1) for name, (path, _) in made.items()}
    found = {}
    for method in made["without"][1]:
        calls = {
            name: lambda program=program, of=method, arrays=made[name][1][method]: program.run(of, *arrays)
            for name, program in loaded.items()
        }
        times = alternate(calls, rounds, warmup=5)
        without, beside = times["without"]["all_ms"], times["with"]["all_ms"]
        cost_ms = median(b - a for a, b in zip(without, beside, strict=True))
        found[method] = {
            **{name: {key: ms for key, ms in times[name].items() if key != "all_ms"} for name in calls},
            "heads_ms": cost_ms,
            "share": cost_ms / times["without"]["median_ms"],
            "others_cpu_share": times["others_cpu_share"],
        }
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--rounds", type=int, default=200)
    words.add_argument("--schemes", default="none,int8")
    given = words.parse_args()
    set_threads(1)
    encoder = student()
    told = {name: {"kind": kept.kind, "parameters": parameters(kept.module)} for name, kept in heads(encoder).items()}
    found: dict[str, Any] = {"heads": told}
    with tempfile.TemporaryDirectory() as folder:
        for scheme in given.schemes.split(","):
            made = programs(encoder, scheme, Path(folder))
            sizes = {name: path.stat().st_size for name, (path, _) in made.items()}
            found[scheme] = {"size_bytes": sizes, "steps": timed(made, given.rounds)}
            for method, row in found[scheme]["steps"].items():
                print(
                    f"{scheme}, {method}: {row['without']['median_ms']:.2f} ms without, {row['with']['median_ms']:.2f} "
                    f"with heads, {row['heads_ms']:.3f} ms or {row['share']:.1%} for them; "
                    f"{sizes['without'] / 1e6:.2f} and {sizes['with'] / 1e6:.2f} MB; others used "
                    f"{row['others_cpu_share']:.2f} cores",
                    flush=True,
                )
    write("heads_cost", found)


if __name__ == "__main__":
    main()
