"""The compilers of ExecuTorch's backends: what takes the operators of a program that a backend runs.

To add a backend: its partitioner here, its row in `targets.BACKENDS` (quantisations, and whether it runs here), and the
name that it registers with ExecuTorch in the runtime's `engine.BACKENDS`.

Which operators go into which call of XNNPACK is decided here, so that there are as few calls as there can be.
ExecuTorch's own way merges pairs of operators as long as no circle comes of it. It tries each pair once, so that what
could not be merged yet stays apart, and it takes minutes over a graph of some hundred operators. Here every operator
is put on a level, see `levels`; those of one level are one call.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from speechpress.runtime.errors import SpeechpressError

if TYPE_CHECKING:  # torch takes seconds, and names of targets are told without it
    from torch.fx import Graph, Node


def partitioner(backend: str) -> Any:
    """A new partitioner; raises SpeechpressError when the compiler of the backend is not installed, or it has none."""
    if backend not in PARTITIONERS:
        raise SpeechpressError(
            f"the backend {backend} runs no ExecuTorch programs; only `compress export` makes something for it"
        )
    try:
        return PARTITIONERS[backend]()
    except ImportError as error:
        raise SpeechpressError(
            f"the compiler of the backend {backend} cannot be imported ({error}); "
            "install it with: pip install 'executorch>=1.5.1,<1.6'"
        ) from error


def _xnnpack() -> Any:
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from torch.fx.passes.infra.partitioner import Partition

    class FewCalls(XnnpackPartitioner):
        def generate_partitions(self, ep: Any) -> list[Any]:
            found = calls(ep.graph_module.graph, self.get_matched_nodes_from_configs(ep))
            if found is None:
                return list(super().generate_partitions(ep))
            return [Partition(id=number, nodes=nodes) for number, nodes in enumerate(found)]

    return FewCalls([*ALL_PARTITIONER_CONFIGS, _conversions()])


@cache
def _conversions() -> Any:
    """What makes XNNPACK take `half.convert`, whose kernels it has: else each would end a call of it."""
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor, register_node_visitor
    from executorch.backends.xnnpack.partition.config.generic_node_configs import GenericNodePartitionerConfig
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNConvert, XNode

    class Conversion(GenericNodePartitionerConfig):
        target_name = "convert.default"

        def supported_precision_types(self) -> list[Any]:
            return [ConfigPrecisionType.FP32]

    class Convert(NodeVisitor):
        target = "speechpress.convert.default"

        def define_node(self, node: Any, xnn_graph: Any, vals_to_ids: Any, debug_handle: int) -> None:
            for end in (given := node.args[0], node):
                self.define_tensor(end, xnn_graph, vals_to_ids)
            convert = XNNConvert(input_id=vals_to_ids[given], output_id=vals_to_ids[node], flags=0)
            xnn_graph.xnodes.append(XNode(xnode_union=convert, debug_handle=debug_handle))

    register_node_visitor(Convert)
    return Conversion


def _coreml() -> Any:
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner()


def _vulkan() -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


OWN_NORMS = ("coreml", "vulkan")  # that have a LayerNorm of their own, which XNNPACK lacks

# Functions, so that a compiler is imported only when its backend is asked for: not every platform has all.
PARTITIONERS: dict[str, Callable[[], Any]] = {"xnnpack": _xnnpack, "coreml": _coreml, "vulkan": _vulkan}


Groups = Sequence[Sequence["Node"]]  # what must be in one call: an operator, its weights, the scales of its input


def calls(graph: "Graph", groups: Groups) -> "list[list[Node]] | None":
    """The nodes of each call, in the order of the calls; None where there is no such order.

    Args:
        graph: of the whole method.
        groups: all nodes that the backend takes; none is in two of them.
    """
    found = levels(graph, groups)
    if found is None:
        return None
    nodes: dict[int, list[Node]] = {}
    for group, level in zip(groups, found, strict=True):
        nodes.setdefault(level, []).extend(group)
    return [nodes[level] for level in sorted(nodes)]


def levels(graph: "Graph", groups: Groups) -> list[int] | None:
    """The level of every group: how often a path to it, at most, goes from what a backend takes to what not and back.

    So two groups of one level have nothing between them that is outside of the backend, and no call needs what a later
    one makes. None when a group has something outside of the backend between its own nodes.
    """
    # What weights and inputs are used by are no steps on a path.
    group_of = {node: number for number, group in enumerate(groups) for node in group if node.op == "call_function"}
    found, own = [0] * len(groups), dict.fromkeys(graph.nodes, 0)
    for _ in range(len(groups) + 1):
        before = list(found)
        for node in graph.nodes:
            number = group_of.get(node)
            level = _level(node, own, group_of)
            if number is not None:
                level = found[number] = max(level, found[number])
            own[node] = level
        # A node before its group's last one may have been too low in this round.
        if found == before:
            return found
    return None


def _level(node: "Node", own: "dict[Node, int]", group_of: "Collection[Node]") -> int:
    """The highest of its inputs, and one more where it is the backend's and they are not, or the other way round."""
    inputs = [own[given] + ((given in group_of) != (node in group_of)) for given in node.all_input_nodes if own[given]]
    # Level 0 is what needs nothing of the backend, and level 1 what the first call takes.
    return max(inputs, default=0) or int(node in group_of)
