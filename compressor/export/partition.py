"""Which operators of a graph go into which call of a backend: as few calls as there can be.

ExecuTorch's own way merges pairs of operators as long as no circle comes of it. It tries each pair once, so that what
could not be merged yet stays apart, and it takes minutes over a graph of some hundred operators. Here every operator is
put on a level, see `levels`; those of one level are one call.
"""

from collections.abc import Collection, Sequence

from torch.fx import Graph, Node

Groups = Sequence[Sequence[Node]]  # what must be in one call: an operator, its weights, the scales of its input


def calls(graph: Graph, groups: Groups) -> list[list[Node]] | None:
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


def levels(graph: Graph, groups: Groups) -> list[int] | None:
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


def _level(node: Node, own: dict[Node, int], group_of: Collection[Node]) -> int:
    """The highest of its inputs, and one more where it is the backend's and they are not, or the other way round."""
    inputs = [own[given] + ((given in group_of) != (node in group_of)) for given in node.all_input_nodes if own[given]]
    # Level 0 is what needs nothing of the backend, and level 1 what the first call takes.
    return max(inputs, default=0) or int(node in group_of)
