"""speechpress-runtime: bundles of speechpress, live, with numpy and a native engine; no torch.

    from speechpress_runtime import StreamingExtractor, load_bundle

    stream = StreamingExtractor(load_bundle("bundles/pocket"))
    frames = stream.push(samples).frames

`runtime` and `devices` are the same files as in speechpress. Every name is imported when it is first used.
"""

from importlib import import_module
from typing import Any

from .runtime.native.pairing import warn_of_other_versions

__all__ = ["SpeechpressError", "StreamingExtractor", "__version__", "load_bundle", "profile", "read_bundle", "verify"]

_HOMES = {
    "SpeechpressError": ".runtime.errors",
    "StreamingExtractor": ".runtime.stream",
    "load_bundle": ".runtime.engine",
    "read_bundle": ".runtime.bundle",
    "verify": ".runtime.verify",
    "profile": ".devices.profile",
}

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
