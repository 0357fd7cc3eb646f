"""How much each unit of an encoder matters: by the size of its weights, or by what the distillation loss says.

Shapes: N units of a group.

torch-pruning finds which tensors a unit lies in (its dependency graph follows channels through norms, activations and
attention) and scores them. Taylor importance is the first-order change of the loss when a unit's output is scaled to
zero (arXiv:1906.10771, with the gate where the output is read), its absolute value averaged over batches. Magnitude is
the sum of squares of all of a unit's weights, relative to the group's mean: weights of different layers are on
different scales, so absolute sizes cannot be compared.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..models.encoder import Encoder
from ..models.streaming import folded
from ..surgery.units import Group, Masks, sizes_of

TRACE_SAMPLES = 3200
Importances = Masks


def magnitude(encoder: Encoder) -> Importances:
    """{group: (N,)} of the weights alone."""
    import torch_pruning

    whole = folded(encoder)
    # Without torch-pruning's normalizer: what makes groups comparable is the mean below.
    score = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None, group_reduction="sum")
    sizes = {group: _units(encoder, group, score(found)).sum(1) for group, found in dependency_groups(whole).items()}
    return {group: each / each.mean() for group, each in sizes.items()}


def taylor(encoder: Encoder, losses: Iterable[Callable[[Encoder], Tensor]]) -> Importances:
    """{group: (N,)} of the loss; each of `losses` is that of one batch, given an encoder to run it with."""
    import torch_pruning

    whole = _open_to_gradients(encoder)
    # "first" is the layer that reads the units, see `_group`. multivariable: weights of a channel change together, so
    # their products with the gradients are summed before the size is taken.
    score = torch_pruning.importance.GroupTaylorImportance(group_reduction="first", normalizer=None, multivariable=True)
    groups = dependency_groups(whole)
    sums = {group: torch.zeros(count) for group, count in sizes_of(encoder.config).items()}
    number = 0
    for _ in _batches(whole, losses):
        number += 1
        for group, found in groups.items():
            # The channels of a head are taken to be independent of each other.
            sums[group] += _units(encoder, group, score(found)).square().sum(1).sqrt()
    return {group: total / number for group, total in sums.items()}


def _open_to_gradients(encoder: Encoder) -> Encoder:
    """A folded copy whose every weight gets the gradient of the loss itself."""
    whole = folded(encoder).requires_grad_(True)
    # Distillation may scale the gradients of the front end down; its units would then seem to matter less.
    whole.front_end_grad = 1.0
    return whole


def _batches(whole: Encoder, losses: Iterable[Callable[[Encoder], Tensor]]) -> Iterator[None]:
    """Every batch, once its gradients are in the weights."""
    any_batch = False
    for loss in losses:
        # Each batch alone: gradients of several, added up, could cancel before their size is taken.
        whole.zero_grad(set_to_none=True)
        loss(whole).backward()
        any_batch = True
        yield
    assert any_batch, "importance needs at least one batch"


def width_importance(encoder: Encoder, losses: Iterable[Callable[[Encoder], Tensor]] | None) -> Tensor:
    """(D,) of the dimensions of the residual stream: over everything that a dimension is written by or read by.

    By the loss, the sum over these of the size of its first-order change (torch-pruning takes the absolute value for
    each of them, so that they cannot cancel), averaged over batches; without `losses` the squares of their weights.
    """
    import torch_pruning

    whole = _open_to_gradients(encoder)
    group = _traced(whole, _width_group)
    if losses is None:
        score: Any = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None, group_reduction="sum")
        return score(group).detach().cpu()
    score = torch_pruning.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None, multivariable=True)
    return torch.stack([score(group).detach().cpu() for _ in _batches(whole, losses)]).mean(0)


def _width_group(graph: Any, whole: Encoder) -> Any:
    import torch_pruning

    root = whole.feature_projection.projection
    assert isinstance(root, torch.nn.Linear)
    return graph.get_pruning_group(root, torch_pruning.prune_linear_out_channels, list(range(root.out_features)))


def dependency_groups(whole: Encoder) -> dict[Group, Any]:
    """torch-pruning's groups of all units, each beginning where its units are read; of a `folded` encoder."""
    return _traced(whole, lambda graph, encoder: {g: _group(graph, encoder, g) for g in sizes_of(encoder.config)})


def _traced(whole: Encoder, find: Callable[[Any, Encoder], Any]) -> Any:
    """What `find` takes from torch-pruning's graph of an encoder."""
    import torch_pruning

    wanted = [parameter.requires_grad for parameter in whole.parameters()]
    whole.requires_grad_(True)  # the graph is read off the backward pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(
            whole,
            # Long enough that every front end makes a frame.
            example_inputs=torch.randn(1, max(TRACE_SAMPLES, 2 * whole.config.receptive_samples)),
            forward_fn=lambda model, waves: model(waves),
            ignored_params=[whole.masked_spec_embed],
        )
        found = find(graph, whole)
    for parameter, before in zip(whole.parameters(), wanted, strict=True):
        parameter.requires_grad_(before)
    return found


def _group(graph: Any, whole: Encoder, group: Group) -> Any:
    import torch_pruning

    reader = _reader(whole, group)
    convolution = isinstance(reader, torch.nn.Conv1d)
    prune = torch_pruning.prune_conv_in_channels if convolution else torch_pruning.prune_linear_in_channels
    return graph.get_pruning_group(reader, prune, list(range(reader.weight.shape[1])))


def _reader(whole: Encoder, group: Group) -> Any:
    """The module that reads what the units of a group put out."""
    convs: Any = whole.feature_extractor.conv_layers
    if group.kind == "conv":
        last = group.layer + 1 == len(convs)
        return whole.feature_projection.projection if last else convs[group.layer + 1].conv
    layer: Any = whole.encoder.layers[group.layer]
    return layer.attention.out_proj if group.kind == "head" else layer.feed_forward.output_dense


def _units(encoder: Encoder, group: Group, channels: Tensor) -> Tensor:
    """One number per channel as (N, channels of a unit)."""
    return channels.detach().cpu().view(-1, encoder.config.head_dim if group.kind == "head" else 1)
