import pytest
import torch
from bundled import SMALL, make

from speechpress.compressor.export.latency import Measured
from speechpress.compressor.models import costs
from speechpress.compressor.prune.options import PruneTarget
from speechpress.compressor.prune.search import search
from speechpress.compressor.surgery.units import counts, resized, sizes_of
from speechpress.runtime.errors import SpeechpressError


def importance_of(encoder):
    generator = torch.Generator().manual_seed(0)
    return {group: torch.rand(count, generator=generator) for group, count in sizes_of(encoder.config).items()}


def clock(overhead_ms, known=1.0):
    """A device that needs so long for every chunk, and a microsecond per thousand MACs in front end and FFN besides."""
    asked = []

    def measure(encoder):
        parts = costs.parts(encoder.config)
        front, layers = (parts[name].macs_per_s / 1e6 for name in ("front_end", "layers"))
        modules = {
            "feature_extractor.conv_layers.1.0.conv": front * known,
            "encoder.layers.0.feed_forward.output_dense": layers * known,
            "stream": overhead_ms * known,
            "not known": (front + layers + overhead_ms) * (1 - known),
        }
        asked.append(encoder.config)
        return Measured(front + layers + overhead_ms, modules, known, 80.0, 1, "none")

    return measure, asked


def test_time_is_measured_and_chosen_again_until_it_fits():
    encoder = make(SMALL)
    measure, asked = clock(overhead_ms=2.0)
    whole = measure(encoder).ms
    budget = 0.6 * whole
    said = []
    found = search(
        PruneTarget("latency_ms", budget, "host"), encoder, importance_of(encoder), True, measure, said.append
    )
    after = resized(SMALL, counts(found.masks))
    assert found.latency["before_ms"] == whole and 0.9 * budget <= found.latency["after_ms"] <= budget
    assert after in asked and found.latency["device"] == "host" and not found.notes
    assert any("round 1" in line for line in said)


def test_a_trace_without_modules_is_said():
    encoder = make(SMALL)
    measure, _ = clock(2.0, known=0.1)
    budget = 0.7 * measure(encoder).ms
    found = search(PruneTarget("latency_ms", budget, "host"), encoder, importance_of(encoder), True, measure)
    assert "in proportion to MACs" in found.notes[0] and found.latency["after_ms"] <= budget


def test_a_budget_under_what_is_left_names_the_nearest():
    encoder = make(SMALL)
    measure, _ = clock(overhead_ms=2.0)
    with pytest.raises(
        SpeechpressError, match=r"1.00 ms on host cannot be reached.*without heads.*nearest is 2\.\d\d ms"
    ):
        search(PruneTarget("latency_ms", 1.0, "host"), encoder, importance_of(encoder), True, measure)
    with pytest.raises(SpeechpressError, match="nothing to prune"):
        search(PruneTarget("latency_ms", 1e6, "host"), encoder, importance_of(encoder), True, measure)


@pytest.mark.parametrize(
    ("target", "cost"),
    [
        (PruneTarget("parameters", 15_000), costs.parameters),
        (PruneTarget("macs_per_s", 600_000), costs.macs_per_s),
        (PruneTarget("sparsity", 0.6), costs.parameters),
    ],
)
def test_sizes_are_met(target, cost):
    encoder = make(SMALL)
    found = search(target, encoder, importance_of(encoder), True, clock(1)[0])
    goal = 0.4 * cost(SMALL) if target.kind == "sparsity" else target.value
    assert 0.8 * goal <= cost(resized(SMALL, counts(found.masks))) <= goal and found.latency is None


def test_sizes_out_of_reach_name_the_nearest():
    encoder = make(SMALL)
    with pytest.raises(SpeechpressError, match=r"nearest is --sparsity 0\.\d+"):
        search(PruneTarget("sparsity", 0.99), encoder, importance_of(encoder), True, clock(1)[0])
    with pytest.raises(SpeechpressError, match=r"nearest is 0\.\d+ M parameters"):
        search(PruneTarget("parameters", 10), encoder, importance_of(encoder), True, clock(1)[0])
