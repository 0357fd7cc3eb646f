"""Searches that share one study, as jobs of processes: what they draw, and what they make of it."""

import os
import signal
import time

from speechpress.compressor.search.rows import blank
from speechpress.compressor.search.shared import Place, SharedSampler
from speechpress.compressor.search.space import Space

SPACE = Space(layers=(1, 2, 3), width=(32, 64, 96), quantize=("none", "int8"))
OF = {
    "space": SPACE.to_dict(),
    "teacher": "t" * 64,
    "data": "d" * 64,
    "budget_ms": 10.0,
    "recipe": {"train": {"lr": 1}},
}


def made(number, shape, state="done"):
    figures = {"state": state, "p50_ms": 1.0, "over_ms": -9.0, "fidelity": shape["width"] / 100, "chunk_ms": 80.0}
    return blank(number, shape) | figures


def sampler(storage, who, trials=99, rows=(), of=OF, study="shared"):
    return SharedSampler(SPACE, rows, "p50_ms", place=Place(storage, study, trials, who), of=of)


def draw(desk, storage, who, trials, states=("done",), kill_after=None):
    """(number, shape) of each that this search was given; killed in the middle of one, if so wanted."""
    mine, found = sampler(storage, who, trials), []
    while (shape := mine.next()) is not None:
        number = mine.number(shape)
        if kill_after is not None and len(found) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        mine.learn(made(number, shape, states[number % len(states)]))
        found.append((number, tuple(shape.values())))
        desk.tell(number)
    return found
