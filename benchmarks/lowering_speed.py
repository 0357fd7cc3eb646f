"""How long `export.lower.lower` takes with what `quick` does, and without it, and whether the programs are the same.

    python benchmarks/lowering_speed.py [--recipe pocket-heads] [--rounds 3]

Random weights; a chunk of 320 ms and a recording of any length in one program, in float32 and in int8, one thread, with
and without in turn. Writes results/lowering_speed.json.
"""

import argparse
import contextlib
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from common import alternate, write
from export_speed import config_of

from speechpress.compressor.export import lower as lowering
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare import Offline
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.models.encoder import Encoder

CHUNK_FRAMES, SCHEMES = 16, ("none", "int8")


def methods_of(encoder: Encoder) -> dict[str, Method]:
    step = prepared_step(encoder, CHUNK_FRAMES)
    chunk = torch.zeros(1, CHUNK_FRAMES * encoder.config.hop_samples)
    length = torch.export.Dim("samples", min=1600, max=160_000)
    return {
        "step_16": Method(step, (chunk, *step.initial_state().values())),
        "offline": Method(Offline(encoder), (torch.zeros(1, 32_000),), ({1: length},), unproven=True),
    }


def program(encoder: Encoder, scheme: str) -> bytes:
    return lower(methods_of(encoder), {}, "xnnpack", scheme).program


def plainly(make: Callable[[], bytes]) -> bytes:
    with mock.patch.object(lowering, "quick", contextlib.nullcontext):
        return make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pocket-heads")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = Encoder(config_of(given.recipe)).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    found = {}
    for scheme in SCHEMES:
        make = partial(program, encoder, scheme)
        if make() != plainly(make):
            raise SystemExit(f"{scheme}: the two programs are not the same")
        times = alternate({"quick": make, "plain": partial(plainly, make)}, given.rounds, warmup=0)
        found[scheme] = {**times, "ratio": times["quick"]["median_ms"] / times["plain"]["median_ms"]}
        print(scheme, found[scheme], flush=True)
    write("lowering_speed", {"recipe": given.recipe, "same_programs": True, "schemes": found})


if __name__ == "__main__":
    main()
