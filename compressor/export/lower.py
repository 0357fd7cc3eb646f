"""From prepared modules to one ExecuTorch program with several methods.

Shapes: S samples, C frames of a chunk.
"""

import contextlib
import gc
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from speechpress.runtime.errors import SpeechpressError

from ..quantize.scheme import Quantization, by_scheme
from .backends import partitioner
from .half import with_conversions, without_gelu
from .pt2e import layer_of, quantized

PRODUCTS = ("convolution", "linear", "addmm", "mm", "bmm")
GARBAGE = 100_000  # objects, made and not let go of, between two looks for garbage
Layers = dict[str, list[str]]  # kernel, such as "aten::native_layer_norm.out": the layer of each call, in order


@dataclass(frozen=True)
class Method:
    """One method to be: a prepared module, inputs, and which of their sizes may vary (as for torch.export).

    `unproven`: sizes are not asked to be proven. Heads do with them what they like, and how long a spectrogram is, is
    more than the compiler works out.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    dynamic_shapes: Any = None
    unproven: bool = False

    def ranges(self, unproven: bool = False) -> Any:
        """`dynamic_shapes`, of which torch.export is asked for no proof where none can be had."""
        return _unproven(self.dynamic_shapes) if unproven or self.unproven else self.dynamic_shapes


@dataclass(frozen=True)
class Lowered:
    """A program's bytes; per method what runs outside of the backend, and how many operators run on it.

    `partitions`: per call of the backend, the layers of its products (convolutions, linear layers, matrix products) in
    order; a trace counts these under other names, but in the same order.
    """

    program: bytes
    fallback: dict[str, Layers]
    delegated: dict[str, int]
    partitions: dict[str, list[list[str]]]


def lower(
    methods: dict[str, Method], constants: dict[str, Any], backend: str, scheme: str | Quantization = "none"
) -> Lowered:
    """One program with all methods, which share their weights, and with constants that it returns by name.

    Raises SpeechpressError when the backend's compiler is not installed or refuses.
    """
    quantization = by_scheme(scheme)
    with hushed():
        from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    with hushed():
        compiler = partitioner(backend)
    with quick():
        programs = {name: _exported(method, quantization) for name, method in methods.items()}
    with hushed(), quick():
        try:
            edge = to_edge_transform_and_lower(programs, partitioner=[compiler], constant_methods=constants)
            delegated = {name: _delegated_operators(edge.exported_program(name)) for name in methods}
            partitions = {name: _partitions(edge.exported_program(name).graph_module) for name in methods}
            for name in methods:
                # After the passes that narrow the ranges, and before to_executorch plans memory by them.
                _restore_ranges(edge.exported_program(name))
            # In segments of their own, the backend's data can be let go of once it is packed.
            finished = edge.to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True))
        except (RuntimeError, NotImplementedError, AssertionError, ValueError, TypeError) as error:
            raise SpeechpressError(f"the backend {backend} cannot take this encoder: {_reason(error)}") from error
        buffer = io.BytesIO()
        finished.write_to_file(buffer)
    fallback = {name: _fallback(finished.exported_program(name).graph_module) for name in methods}
    return Lowered(buffer.getvalue(), fallback, delegated, partitions)


def _reason(error: Exception) -> str:
    """What a compiler says; of an assertion without a word, what was asserted, and where."""
    if str(error):
        return str(error)[:300]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name} ({'/'.join(Path(last.filename).parts[-2:])}): {last.line}"


def _exported(method: Method, quantization: Quantization) -> torch.export.ExportedProgram:
    with hushed(), torch.no_grad():
        half = quantization.scheme == "fp16"
        program = _traced(method.module, method.example, method.ranges(half))
        if quantization.scheme == "none":
            return program
        module = program.module()
        module = with_conversions(without_gelu(module)) if half else quantized(module, method.example, quantization)
        return _traced(module, method.example, method.ranges(True))


def _traced(module: nn.Module, example: tuple[Tensor, ...], dynamic_shapes: Any) -> torch.export.ExportedProgram:
    return torch.export.export(module, example, dynamic_shapes=dynamic_shapes, strict=False)


def _unproven(dynamic_shapes: Any) -> Any:
    """The same ranges, without a proof that every size in them is valid.

    Of a quantised module, one in halves, with heads or with a spectrogram, the compiler asks whether 1 % frames can be
    0, and cannot tell that it never is. That sizes did not become fixed instead is checked by running the program at
    its shortest and its longest, see `export`.
    """
    if dynamic_shapes is None:
        return None
    return tuple({axis: Dim.AUTO(min=d.min, max=d.max) for axis, d in shape.items()} for shape in dynamic_shapes)


def _restore_ranges(program: torch.export.ExportedProgram) -> None:
    """Let sizes vary as far again as they were exported to.

    Passes of the compilers look at sizes, which narrows their ranges silently; memory would be planned for the rest.
    """
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, Tensor) else ():
            if isinstance(size, torch.SymInt):
                size.node.shape_env.var_to_range.update(program.range_constraints)


def _delegated_operators(program: torch.export.ExportedProgram) -> int:
    from executorch.devtools.backend_debug import get_delegation_info

    return get_delegation_info(program.graph_module).num_delegated_nodes


def _fallback(graph: torch.fx.GraphModule) -> Layers:
    """Kernels that the runtime calls itself, and in the order of the calls the layer that each belongs to."""
    layers: Layers = {}
    for node in graph.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        # Calls of the backend, and what picks their outputs, have no schema.
        if node.op == "call_function" and schema is not None:
            kernel = schema.name + (f".{schema.overload_name}" if schema.overload_name else "")
            layers.setdefault(kernel, []).append(layer_of(node))
    return layers


def _partitions(graph: torch.fx.GraphModule) -> list[list[str]]:
    """The layers of the products of every call of the backend, in order."""
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_function" and "executorch_call_delegate" in str(node.target):
            inside = getattr(graph, node.args[0].target).original_module.graph_module.graph
            found.append([layer_of(inner) for inner in inside.nodes if _is_product(inner)])
    return found


def _is_product(node: torch.fx.Node) -> bool:
    # The edge dialect wraps operators; ATen's own is then in _op.
    name = getattr(getattr(node.target, "_op", node.target), "__name__", "")
    return node.op == "call_function" and name.split(".")[0] in PRODUCTS


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Trace and lower faster, to the very same program.

    Every pass copies each node's history, all passes before it included. Nothing changes a history, so copies share it
    here. And the collector looks for garbage less often: what it looks through are graphs that are still needed.
    """
    from torch.fx.traceback import NodeSource

    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE, *thresholds[1:])
    setattr(NodeSource, "__deepcopy__", lambda source, memo: source)  # noqa: B010  mypy knows no such method
    try:
        yield
    finally:
        delattr(NodeSource, "__deepcopy__")
        gc.set_threshold(*thresholds)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep back what the compilers say of themselves: deprecations, optional parts that they miss, their progress."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
