"""The compilers of ExecuTorch's backends: what takes the operators of a program that a backend runs.

To add a backend: its partitioner here, its row in `targets.BACKENDS` (quantisations, and whether it runs here), and the
name that it registers with ExecuTorch in the runtime's `engine.BACKENDS`.
"""

from collections.abc import Callable
from typing import Any

from speechpress.runtime.errors import SpeechpressError


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
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return XnnpackPartitioner()


def _coreml() -> Any:
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner()


def _vulkan() -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


# Functions, so that a compiler is imported only when its backend is asked for: not every platform has all.
PARTITIONERS: dict[str, Callable[[], Any]] = {"xnnpack": _xnnpack, "coreml": _coreml, "vulkan": _vulkan}
