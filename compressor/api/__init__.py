"""speechpress: a large self-supervised speech encoder turned into a small one that runs live.

    import speechpress

    speechpress.distill("distilhubert", data="LibriSpeech/", out="runs/a")
    speechpress.export("runs/a", "android", out="bundles/a")
    stream = speechpress.StreamingExtractor(speechpress.load_bundle("bundles/a"))

Every name is imported when it is first used, so that importing the package loads neither torch nor numpy.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

# For type checkers and editors, which cannot follow `__getattr__`.
if TYPE_CHECKING:
    from speechpress.compressor.models.checkpoint import load_encoder
    from speechpress.compressor.recipe.files import load_recipe
    from speechpress.compressor.teachers.load import load_teacher
    from speechpress.runtime.engine import load_bundle
    from speechpress.runtime.errors import SpeechpressError
    from speechpress.runtime.stream import StreamingExtractor
    from speechpress.runtime.verify import verify
    from speechpress.uses import evaluate, extract, profile, push
    from speechpress.verbs import distill, export, head, prune, quantize

    __version__: str

__all__ = [
    "SpeechpressError",
    "StreamingExtractor",
    "__version__",
    "distill",
    "evaluate",
    "export",
    "extract",
    "head",
    "load_bundle",
    "load_encoder",
    "load_recipe",
    "load_teacher",
    "profile",
    "prune",
    "push",
    "quantize",
    "verify",
]

# The same names once more: TYPE_CHECKING is false when the package runs.
_HOMES = {
    "SpeechpressError": "speechpress.runtime.errors",
    "StreamingExtractor": "speechpress.runtime.stream",
    "load_bundle": "speechpress.runtime.engine",
    "load_encoder": "speechpress.compressor.models.checkpoint",
    "load_recipe": "speechpress.compressor.recipe.files",
    "load_teacher": "speechpress.compressor.teachers.load",
    "verify": "speechpress.runtime.verify",
    **dict.fromkeys(("distill", "export", "head", "prune", "quantize"), "speechpress.verbs"),
    **dict.fromkeys(("evaluate", "extract", "profile", "push"), "speechpress.uses"),
}


# Where the light runtime is installed as well; else not even the check is loaded.
if find_spec("speechpress_runtime") is not None:
    import_module("speechpress.runtime.native.pairing").warn_of_other_versions()


# Only called for what the module does not have yet (PEP 562), so that submodules are found as ever.
def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("speechpress")
    if name not in _HOMES:
        raise AttributeError(f"module 'speechpress' has no attribute {name!r}; it has {', '.join(__all__)}")
    # Not kept in the module: `sys.modules` makes the second time cheap.
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
