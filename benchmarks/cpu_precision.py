"""A step of training on a processor: in float32 and bfloat16, with and without frames whose channels lie side by side.

    python benchmarks/cpu_precision.py [--rounds 7]

Forward, loss and backward of `pocket-conv` and `pocket-conv-s` with their recipes' heads on 20 s of noise in four rows,
targets at random; one thread, all sides in turn, CPU time. "plain" has `nn.Conv1d` in the front end, as before. Also
how close the last layer in bfloat16 is to float32, which would show an operator that is wrong. Writes
results/cpu_precision.json.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from beside import in_turn
from common import write
from torch import Tensor, nn

from speechpress.compressor.distill.objectives import PredictionHeads, loss_sums
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.front_end import StridedConv
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.schema import Match
from speechpress.runtime.parity import compare

LAYERS, WIDTH, ROWS, ROW_S = (4, 8, 12), 768, 4, 5.0


@contextmanager
def plain() -> Iterator[None]:
    """The front end's convolutions as `nn.Conv1d` has them."""
    ours = StridedConv.applied
    StridedConv.applied = lambda self, x, weight, bias: F.conv1d(x, weight, bias, self.stride)
    try:
        yield
    finally:
        StridedConv.applied = ours


def student(name: str) -> Encoder:
    torch.manual_seed(0)
    config, _ = student_config(load_recipe(name), EncoderConfig(), WIDTH)
    return Encoder(config).train()


def step(encoder: Encoder, heads: nn.Module, waves: Tensor, targets: dict[int, Tensor], half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss, _ = loss_sums(heads(encoder.hidden_states(waves, chunk_frames=16)), targets, Match("heads", LAYERS))
    loss.backward()


def sides_of(encoder: Encoder) -> dict[str, Callable[[], None]]:
    heads, waves = PredictionHeads(LAYERS, encoder.config.width, WIDTH), 0.1 * torch.randn(ROWS, int(ROW_S * 16_000))
    frames = int(encoder.config.frames(waves.shape[1]))
    targets = {layer: torch.randn(ROWS, frames, WIDTH) for layer in LAYERS}

    def side(half: bool, before: bool) -> Callable[[], None]:
        def call() -> None:
            with plain() if before else nullcontext():
                step(encoder, heads, waves, targets, half)

        return call

    ways = {"fp32, plain": (False, True), "fp32": (False, False), "bf16, plain": (True, True), "bf16": (True, False)}
    return {name: side(*way) for name, way in ways.items()}


@torch.no_grad()
def snr_db(encoder: Encoder) -> float:
    """Of the last layer in bfloat16."""
    waves = 0.1 * torch.randn(1, 48_000)
    with torch.autocast("cpu", torch.bfloat16):
        halves = encoder.hidden_states(waves)[-1]
    return float(compare(halves.float()[0].numpy(), encoder.hidden_states(waves)[-1][0].numpy())["snr_db"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in ("pocket-conv", "pocket-conv-s"):
        encoder = student(name)
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # its random numbers cost the same in all
        sides = in_turn(sides_of(encoder), ROWS * ROW_S, given.rounds)
        found[name] = {"sides": sides, "bf16_snr_db": snr_db(encoder.eval())}
        print(name, {way: round(1000 / one["cpu_ms_per_s"], 1) for way, one in sides.items()}, flush=True)
    features = torch.cpu.get_capabilities()
    about = {"amx_bf16": features.get("amx_bf16"), "avx512_bf16": features.get("avx512_bf16"), "threads": 1}
    write("cpu_precision", {**about, "rounds": given.rounds, "load_1min": os.getloadavg()[0], "students": found})


if __name__ == "__main__":
    main()
