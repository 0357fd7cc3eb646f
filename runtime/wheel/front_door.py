"""speechpress-runtime: bundles of speechpress, live, with numpy and a native engine; no torch.

    from speechpress_runtime import StreamingExtractor, load_bundle

    stream = StreamingExtractor(load_bundle("bundles/pocket"))
    frames = stream.push(samples).frames

`runtime` and `devices` are the same files as in speechpress. Every name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .runtime.native.pairing import warn_of_other_versions
from .runtime.native.processor import check_processor

# For type checkers and editors, which cannot follow `__getattr__`.
if TYPE_CHECKING:
    from .devices.profile import profile
    from .runtime.bundle import read_bundle
    from .runtime.engine import load_bundle
    from .runtime.errors import SpeechpressError
    from .runtime.stream import StreamingExtractor
    from .runtime.verify import verify

    __version__: str

__all__ = ["SpeechpressError", "StreamingExtractor", "__version__", "load_bundle", "profile", "read_bundle", "verify"]

_HOMES = {
    "SpeechpressError": ".runtime.errors",
    "StreamingExtractor": ".runtime.stream",
    "load_bundle": ".runtime.engine",
    "read_bundle": ".runtime.bundle",
    "verify": ".runtime.verify",
    "profile": ".devices.profile",
}

check_processor()
warn_of_other_versions()


# Only called for what the module does not have yet (PEP 562), so that submodules are found as ever.
def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("speechpress-runtime")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
