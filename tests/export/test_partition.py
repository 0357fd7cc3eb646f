import operator
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from bundled import SMALL, make, speech_like

from speechpress.compressor.export.backends import calls
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import lower
from speechpress.runtime.engine import Program

INTEGERS = {"aten::add.out", "aten::ge.Scalar_out", "aten::lt.Tensor_out", "aten::bitwise_and.Tensor_out"}
ONE_CALL = {
    "int8": SMALL,
    "fp16": SMALL,
    "none": replace(SMALL, input_norm="running", conv_norm="frame", time_reduction=2, pos_conv_future=0),
}


def drawn(seed, size=40):
    """A graph of additions, each of two things before it, and the groups of those that a backend takes."""
    draw, graph = random.Random(seed), torch.fx.Graph()
    nodes = [graph.placeholder("x"), graph.placeholder("y")]
    for _ in range(size):
        nodes.append(graph.call_function(operator.add, tuple(draw.sample(nodes[-6:], 2))))
    graph.output(nodes[-1])
    return graph, [[node] for node in nodes[2:] if draw.random() < 0.7]


def in_turn(graph, found):
    """Whether every call can be made when all that it needs is there."""
    call_of = {node: number for number, call in enumerate(found) for node in call}
    units = {node: call_of.get(node, node) for node in graph.nodes}
    needs = {unit: set() for unit in units.values()}
    for node in graph.nodes:
        needs[units[node]] |= {units[given] for given in node.all_input_nodes} - {units[node]}
    while ready := [unit for unit, before in needs.items() if not before]:
        for unit in ready:
            del needs[unit]
        needs = {unit: before - set(ready) for unit, before in needs.items()}
    return not needs


def alternations(graph, groups):
    """The most calls that lie one behind the other on any path, by trying all."""
    taken, most = {node for group in groups for node in group}, {}
    for node in graph.nodes:
        before = [(most[given], given in taken) for given in node.all_input_nodes]
        most[node] = max((count + (node in taken and not was) for count, was in before), default=0)
    return max(most.values())


@pytest.mark.parametrize("seed", range(20))
def test_calls_are_in_an_order_and_no_more_than_a_path_needs(seed):
    graph, groups = drawn(seed)
    found = calls(graph, groups)
    assert in_turn(graph, found) and len(found) == alternations(graph, groups)
    assert Counter(node for call in found for node in call) == Counter(node for group in groups for node in group)


def test_a_group_stays_together_and_pulls_what_follows_along():
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    early = graph.call_function(operator.neg, (x,))
    outside = graph.call_function(operator.abs, (graph.call_function(operator.neg, (x,)),))
    late = graph.call_function(operator.add, (early, outside))
    after = graph.call_function(operator.neg, (early,))
    graph.output((late, after))
    inner = outside.args[0]
    found = calls(graph, [[early, late], [inner], [after]])
    assert found == [[inner], [early, late, after]] and in_turn(graph, found)


def test_a_group_that_waits_for_itself_has_no_order():
    graph = torch.fx.Graph()
    first = graph.call_function(operator.neg, (graph.placeholder("x"),))
    last = graph.call_function(operator.neg, (graph.call_function(operator.abs, (first,)),))
    graph.output(last)
    assert calls(graph, [[first, last]]) is None


@pytest.mark.parametrize("scheme", ONE_CALL)
def test_a_chunk_is_one_call_of_the_backend(scheme, tmp_path):
    encoder = make(replace(ONE_CALL[scheme], num_heads=(2,), ffn_widths=(32,)))
    method = step_method(encoder, 4, half=scheme == "fp16")
    lowered = lower({"step": method}, {}, "xnnpack", scheme)
    assert len(lowered.partitions["step"]) == 1
    rest = {"aten::clamp.out", "aten::mul.out", "dim_order_ops::_to_dim_order_copy.out", "aten::scalar_tensor.out"}
    assert set(lowered.fallback["step"]) <= INTEGERS | rest
    (tmp_path / "step.pte").write_bytes(lowered.program)
    chunk = torch.from_numpy(speech_like(method.example[0].shape[1]))[None]
    inputs = (chunk, *method.example[1:])
    frames = Program(tmp_path / "step.pte").run("step", *(tensor.numpy() for tensor in inputs))[0]
    with torch.no_grad():
        wanted = method.module(*inputs)[0]
    assert (torch.from_numpy(frames) - wanted).abs().max() <= (1e-4 if scheme == "none" else 0.3)
