"""The compilers of ExecuTorch's backends: what takes the operators of a program that a backend runs.

To add a backend: its partitioner here, its row in `targets.BACKENDS` (quantisations, and whether it runs here), and the
name that it registers with ExecuTorch in the runtime's `engine.BACKENDS`.
"""

from collections.abc import Callable
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from .partition import calls


def partitioner(backend: str) -> Any:
    """A new partitioner; raises SpeechpressError when the compiler of the backend is not installed."""
    try:
        return PARTITIONERS[backend]()
    except ImportError as error:
        raise SpeechpressError(
            f"the compiler of the backend {backend} cannot be imported ({error}); "
            "install it with: pip install 'executorch>=1.5.1,<1.6'"
        ) from error


def _xnnpack() -> Any:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from torch.fx.passes.infra.partitioner import Partition

    class FewCalls(XnnpackPartitioner):
        def generate_partitions(self, ep: Any) -> list[Any]:
            found = calls(ep.graph_module.graph, self.get_matched_nodes_from_configs(ep))
            if found is None:
                return list(super().generate_partitions(ep))
            return [Partition(id=number, nodes=nodes) for number, nodes in enumerate(found)]

    return FewCalls()


def _coreml() -> Any:
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner()


def _vulkan() -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


OWN_NORMS = ("coreml", "vulkan")  # that have a LayerNorm of their own, which XNNPACK lacks

# Functions, so that a compiler is imported only when its backend is asked for: not every platform has all.
PARTITIONERS: dict[str, Callable[[], Any]] = {"xnnpack": _xnnpack, "coreml": _coreml, "vulkan": _vulkan}
