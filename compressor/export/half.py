"""A prepared encoder in 16-bit floats, between inputs and outputs that stay 32-bit.

Shapes: S samples, C frames of a chunk, T frames, D width.

Convolutions and linear layers, norms and GELUs are in halves. The scaling of the input stays as it is, because its sums
of squares would overflow. So does what attention does with queries, keys and values: the state holds keys and values in
32 bits, and to turn all of it around in every chunk would cost more than it saves. XNNPACK has no GELU for halves, and
outside of it one costs more than a convolution; it is x sigmoid(2a (x + b x^3)) there, the form with tanh of
arXiv:1606.08415, which is off by at most 5e-4, the rounding of halves near 1.

Of heads, convolutions and linear layers are in halves, and what lies between them is not: sums over a long time, which
their state holds, would lose what is added, and a dimension that hardly changes is scaled by more than halves can hold.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..models.answering import flat, heads_of
from ..models.encoder import Encoder
from ..models.streaming import StreamingEncoder
from .prepare import Offline
from .prepare_heads import products

HALVED = ("features",)  # of the state


class HalfOffline(nn.Module):
    """A whole recording (1, S) -> frames (1, T, D), and the outputs of heads, all float32."""

    def __init__(self, offline: Offline) -> None:
        super().__init__()
        self.encoder = _halved(offline.encoder)
        self.offline = [offline]  # not a submodule: layers keep their names

    def forward(self, waves: Tensor) -> Tensor | tuple[Tensor, ...]:
        out = self.offline[0](waves)
        return out.float() if isinstance(out, Tensor) else (out[0].float(), *out[1:])


class HalfStep(nn.Module):
    """A streaming step whose chunk, state and frames are float32."""

    def __init__(self, step: StreamingEncoder) -> None:
        super().__init__()
        self.encoder = _halved(step.encoder)
        self.step = [step]

    def forward(self, chunk: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        step = self.step[0]
        names = step.state_names
        given = {n: x.half() if n in HALVED else x for n, x in zip(names, state, strict=True)}
        frames, answers, new = step.hear(chunk, given)
        return (frames.float(), *flat(answers), *(new[name].float() if name in HALVED else new[name] for name in names))


def _halved(encoder: Encoder) -> Encoder:
    encoder.half()
    front = encoder.feature_extractor
    if front.log_mel is None:
        front.register_forward_pre_hook(_take_half)
    else:  # powers of a spectrum do not fit halves
        front.log_mel.float().register_forward_hook(_give_half)
    for layer in encoder.encoder.layers:
        attention = layer.get_submodule("attention")
        for name, part in attention.named_children():
            if name in ("q_proj", "k_proj", "v_proj"):
                part.register_forward_hook(_give_float)
        attention.get_submodule("out_proj").register_forward_pre_hook(_take_half)
    heads = heads_of(encoder)
    for part in [] if heads is None else products(heads.float()):
        part.half().register_forward_pre_hook(_take_half)
        part.register_forward_hook(_give_float)
    return encoder


def _take_half(part: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.half() if isinstance(x, Tensor) else x for x in inputs)


def _give_half(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.half()


def _give_float(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.float()


@torch.library.custom_op("speechpress::convert", mutates_args=())
def convert(x: Tensor, half: bool) -> Tensor:
    """In 16 bits, or in 32; made an operator of its own because ExecuTorch's compiler for XNNPACK loses PyTorch's.

    It knows that one as a change of layout only, and takes out what changes none.
    """
    return x.to(_dtype(half), copy=True)


@convert.register_fake
def _(x: Tensor, half: bool) -> Tensor:
    return torch.empty_like(x, dtype=_dtype(half))


def _dtype(half: bool) -> torch.dtype:
    return torch.half if half else torch.float


def with_conversions(program: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Every conversion between halves and floats of a program made `convert`."""
    graph, aten = program.graph, torch.ops.aten
    for node in list(graph.nodes):
        if node.target not in (aten.to.dtype, aten.to.dtype_layout, aten._to_copy.default, aten.type_as.default):
            continue
        given, made = node.args[0].meta["val"].dtype, node.meta["val"].dtype
        if {given, made} != {torch.half, torch.float}:
            continue
        with graph.inserting_before(node):
            new = graph.call_function(torch.ops.speechpress.convert.default, (node.args[0], made == torch.half))
        _take_place(new, node)
    program.recompile()
    return program


def without_gelu(program: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Every GELU of a program made of operators that XNNPACK has for halves."""
    # tanh(y) is 2 sigmoid(2y) - 1, which makes x sigmoid(2y) of the form with tanh.
    double = 2 * math.sqrt(2 / math.pi)
    numbers = {"gelu_a": double, "gelu_b": 0.044715 * double}
    for name, value in numbers.items():
        program.register_buffer(name, torch.full((1,), value, dtype=torch.half))
    graph, aten = program.graph, torch.ops.aten
    for node in list(graph.nodes):
        # Of heads, what lies between products stays in 32 bits.
        if node.target is not aten.gelu.default or node.meta["val"].dtype != torch.half:
            continue
        x = node.args[0]
        with graph.inserting_before(node):
            a, b = (graph.get_attr(name) for name in numbers)

            def call(target: Any, *arguments: Any) -> Any:
                return graph.call_function(target, arguments)

            # x (a + b x^2): the cube itself would overflow at 40.
            square = call(aten.mul.Tensor, x, x)
            inner = call(aten.mul.Tensor, x, call(aten.add.Tensor, call(aten.mul.Tensor, square, b), a))
            new = call(aten.mul.Tensor, x, call(aten.sigmoid.default, inner))
        _take_place(new, node)
    program.recompile()
    return program


def _take_place(new: torch.fx.Node, node: torch.fx.Node) -> None:
    # Reports name operators by layer, which is read off the stack of modules.
    new.meta |= {name: node.meta[name] for name in ("nn_module_stack", "val") if name in node.meta}
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)
