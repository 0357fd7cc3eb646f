import itertools
import sys

import pytest

from speechpress.compressor.search.rows import best, blank
from speechpress.compressor.search.sampler import STARTUP, Sampler, require_optuna
from speechpress.compressor.search.space import Space
from speechpress.runtime.errors import SpeechpressError

SMALL = Space(width=(32, 64, 96), quantize=("none", "int8"))
WIDE = Space(layers=tuple(range(1, 9)), width=tuple(range(32, 288, 32)), ffn_widths=(64, 128, 256, 512))
BUDGET_MS = 10.0


def made(number, shape, state="done", p50_ms=1.0, fidelity=0.5):
    figures = {"state": state, "p50_ms": p50_ms, "over_ms": p50_ms - BUDGET_MS, "fidelity": fidelity, "chunk_ms": 80.0}
    return blank(number, shape) | figures


def test_every_shape_comes_once_and_then_none():
    sampler, seen = Sampler(SMALL, [], "p50_ms"), []
    while (shape := sampler.next()) is not None:
        seen.append(shape)
        sampler.learn(made(len(seen), shape, state=("done", "skipped", "failed")[len(seen) % 3]))
    assert len(seen) == SMALL.size == len({tuple(shape.values()) for shape in seen})


def test_a_sampler_made_of_rows_goes_on_where_they_end():
    rows = [made(0, {"width": 32, "quantize": "int8"}), made(1, {"width": 64, "quantize": "none"}, "failed")]
    sampler = Sampler(SMALL, rows, "p50_ms")
    assert sampler.claim({"width": 32, "quantize": "int8"}) is None
    assert sampler.claim({"width": 96, "quantize": "int8"}) == {"width": 96, "quantize": "int8"}
    rest = [sampler.next() for _ in range(3)]
    assert sampler.next() is None and None not in rest
    assert {"width": 32, "quantize": "int8"} not in rest and {"width": 96, "quantize": "int8"} not in rest


def trial(number, shape):
    """More of everything is slower and more faithful; width is what gives fidelity for the least time."""
    p50_ms = shape["layers"] * (shape["width"] / 64 + shape["ffn_widths"] / 128)
    fidelity = 1 - 1 / (1 + shape["width"] / 32 + shape["layers"] / 4 + shape["ffn_widths"] / 1024)
    return made(number, shape, "done" if p50_ms <= BUDGET_MS else "skipped", p50_ms, fidelity)


def test_it_learns_to_stay_within_the_budget():
    sampler, rows = Sampler(WIDE, [], "p50_ms", seed=1), []
    for number in range(32):
        rows.append(trial(number, sampler.next()))
        sampler.learn(rows[-1])
    everything = [dict(zip(WIDE.choices, shape, strict=True)) for shape in itertools.product(*WIDE.choices.values())]
    by_chance = sum(trial(0, shape)["state"] == "done" for shape in everything) / len(everything)
    assert sum(row["state"] == "done" for row in rows[STARTUP:]) / len(rows[STARTUP:]) > 1.5 * by_chance
    assert best(rows[STARTUP:], "p50_ms")["fidelity"] > best(rows[:STARTUP], "p50_ms")["fidelity"]


def test_optuna_that_is_not_there_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SpeechpressError, match=r"pip install 'speechpress\[search\]'"):
        require_optuna()
