"""ExecuTorch through its own Python bindings, which need torch; the only file that imports either."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SpeechpressError
from .quiet import quiet


class Bindings:
    """ExecuTorch's library as its wheel has it for Python.

    Raises SpeechpressError when it is not installed or does not fit torch.
    """

    name = "bindings"

    def __init__(self) -> None:
        self.library = import_executorch()
        self.pools = 0

    @property
    def executorch(self) -> str:
        return _version("executorch")

    @property
    def about(self) -> str:
        return f"ExecuTorch {self.executorch}, its Python bindings, with torch {_version('torch')}"

    def backends(self) -> list[str]:
        return list(self.library._get_registered_backend_names())

    def threads(self) -> int:
        return self.library._threadpool_get_thread_count()

    def set_threads(self, threads: int) -> None:
        with quiet():
            # A reset makes new threads, also for the same count.
            if self.threads() != threads:
                self.library._unsafe_reset_threadpool(threads)
                self.pools += 1

    def load(self, path: Path, trace: bool) -> "BoundProgram":
        """Raises RuntimeError when ExecuTorch cannot read it."""
        return BoundProgram(self.library, path, trace)


class BoundProgram:
    """A program of the bindings; every call that fails raises RuntimeError."""

    def __init__(self, library: Any, path: Path, trace: bool) -> None:
        # The minimal check looks at the head only, and a damaged body ends the process when it is run.
        whole = library.Verification.InternalConsistency
        with quiet():
            self._program = library._load_program(
                str(path), enable_etdump=trace, debug_buffer_size=0, program_verification=whole
            )
        self._methods: dict[str, Any] = {}

    @property
    def method_names(self) -> list[str]:
        return [self._program.get_method_name(index) for index in range(self._program.num_methods())]

    def load_method(self, method: str) -> None:
        with quiet():
            self._methods[method] = self._program.load_method(method)

    def run(self, method: str, arrays: list[np.ndarray]) -> list[Any]:
        import torch

        outputs = self._methods[method].call([torch.from_numpy(array) for array in arrays])
        return [output.numpy() if isinstance(output, torch.Tensor) else output for output in outputs]

    def write_trace(self, path: str) -> None:
        with quiet():
            self._program.write_etdump_result_to_file(path, None)


def import_executorch() -> Any:
    """ExecuTorch's library.

    Not `executorch.runtime`: its import takes the whole exporter with it.

    Raises SpeechpressError when it is not installed or does not fit torch.
    """
    try:
        import torch  # noqa: F401  loads the libraries that the next line needs

        with quiet():
            from executorch.extension.pybindings import _C
    except ImportError as error:
        raise SpeechpressError(
            f"ExecuTorch cannot be imported ({error}); install it with: pip install 'executorch>=1.5.1,<1.6'"
        ) from error
    return _C


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of an unknown version"
