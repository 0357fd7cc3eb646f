"""Where the Transformer layers of somebody else's model are, and what passes through them.

Shapes: B batch, S samples, T frames, D width.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

LIST_NAMES = ("layers", "layer", "blocks")


class _EnoughLayersError(Exception):
    """Raised by a hook to leave a forward pass after the last layer that was asked for."""


def find_layers(model: nn.Module) -> Sequence[nn.Module]:
    """The Transformer layers of a model: a list as long as the config says, of modules of one class that attend.

    The length alone does not tell: data2vec has a list of position convolutions too, and adapters have their own.
    Of several such lists the first is taken, because adapters come after the encoder.

    Raises SpeechpressError when there is none.
    """
    config: Any = model.config
    # encoder_layers first: where there is a decoder, it is the name that leaves no doubt.
    depth = getattr(config, "encoder_layers", None) or getattr(config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        named = name.rpartition(".")[2] in LIST_NAMES and isinstance(module, nn.ModuleList)
        if named and len(module) == depth and len({type(x) for x in module}) == 1 and all(map(_attends, module)):
            return list(module)
    raise SpeechpressError(f"{type(model).__name__}: no list of its {depth} Transformer layers was found in it")


def _attends(layer: nn.Module) -> bool:
    """Whether a module has attention inside: transformers names every such class so."""
    return any("Attention" in type(part).__name__ for part in layer.modules())


def passing_states(layers: Sequence[nn.Module], run: Callable[[], object], wanted: set[int]) -> dict[int, Tensor]:
    """What comes out of the wanted layers (0: goes into the first) while `run` runs; it ends after the highest one."""
    last = max(wanted)
    kept: dict[int, Tensor] = {}

    def keep(index: int, value: Any) -> None:
        # In some families and versions of transformers, layers return (states, attention weights).
        kept[index] = value[0] if isinstance(value, tuple) else value
        if index == last:
            raise _EnoughLayersError

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(0, args[0] if args else kwargs["hidden_states"])

    # Hooks must go even when the model fails: one that is left would end every later pass too early.
    with ExitStack() as stack:
        if 0 in wanted:
            stack.callback(layers[0].register_forward_pre_hook(before, with_kwargs=True).remove)
        for index in sorted(wanted - {0}):
            hook = layers[index - 1].register_forward_hook(lambda m, a, out, k=index: keep(k, out))
            stack.callback(hook.remove)
        try:
            run()
        except _EnoughLayersError:
            return kept
    raise SpeechpressError(f"{type(layers[0]).__name__}: the model ran without its layer {last}, so that has no states")


class FrameCount:
    """How many frames a model makes of so many samples: what comes, counted at its first layer.

    For models whose front end is not known: their formulas miss adapters, pooling and the extractor's own rounding.
    """

    def __init__(self, backbone: Any) -> None:
        self.backbone = [backbone]  # not a submodule of what it counts for
        # A count is a pass through the front end, and bisection and batches ask for the same lengths again.
        self.known: dict[int, int] = {}

    def __call__(self, samples: Any) -> Any:
        if isinstance(samples, Tensor):
            counts = [self._count(length) for length in samples.flatten().tolist()]
            return torch.tensor(counts, device=samples.device).view(samples.shape)
        return self._count(int(samples))

    @torch.no_grad()
    def _count(self, samples: int) -> int:
        if samples not in self.known:
            self.known[samples] = self._counted(samples)
        return self.known[samples]

    def _counted(self, samples: int) -> int:
        (backbone,) = self.backbone
        silence = torch.zeros(1, max(0, samples), device=next(backbone.parameters()).device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of means over nothing
                states = passing_states(backbone.layers, lambda: backbone(silence), {0})
        except CANNOT_RUN:
            # One second is enough for every front end, so what fails then is no matter of length.
            if samples >= 16_000:
                raise
            return 0  # too short for the extractor or the front end
        return states[0].shape[1]


# What models and feature extractors raise on input that they cannot take.
CANNOT_RUN = (RuntimeError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, SpeechpressError)


def conv_frames(samples: Any, kernels: Sequence[int], strides: Sequence[int]) -> Any:
    """Frames that convolutions without padding make of `samples`, an int or an integer tensor; never below 0."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples.clamp(min=0) if isinstance(samples, Tensor) else max(0, samples)
