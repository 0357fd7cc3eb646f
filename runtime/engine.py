"""Runs a bundle's program through ExecuTorch, by the library that `native.choose` finds.

Shapes: S samples, C frames of a chunk, T frames, D width.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .answers.head_spec import HeadSpec
from .bundle import PROGRAM, Bundle, check_hash, read_bundle
from .errors import SpeechpressError
from .hub.fetch import local_folder
from .hub.manifest import BUNDLE
from .native.choose import XNNPACK, Library, Loaded, library
from .native.quiet import quiet as quiet
from .regular import check_regular
from .samples import mono
from .spec import StreamSpec
from .stream import State, Step

Answers = dict[str, dict[str, np.ndarray]]  # by head and output
MOST_THREADS = 256  # more than a device has, and far from what ends a process for want of memory
BACKENDS = {"xnnpack": XNNPACK, "coreml": "CoreMLBackend", "vulkan": "VulkanBackend"}


class Program:
    """A .pte file, loaded; its methods are loaded when they are first called.

    Args:
        path: of the file.
        threads: that ExecuTorch computes with, in the whole process; None leaves them as they are.
        trace: keep the time of every operator, see `write_trace`.
        backend: ExecuTorch's name of what it was lowered for.

    Raises:
        SpeechpressError: ExecuTorch cannot be imported, or the file is no program that it can read.
    """

    def __init__(
        self, path: str | Path, threads: int | None = None, trace: bool = False, backend: str = XNNPACK
    ) -> None:
        started = time.perf_counter()
        self.path = Path(path)
        self.library: Library = library(backend)
        if threads is not None:
            set_threads(threads, self.library)
        check_regular(path)
        self._trace = trace
        self._methods: set[str] = set()
        self._read()
        self.load_s = time.perf_counter() - started

    def _read(self) -> None:
        self._methods.clear()
        self._pools = self.library.pools
        try:
            self._program: Loaded = self.library.load(self.path, self._trace)
        except RuntimeError as error:
            raise SpeechpressError(
                f"{self.path}: ExecuTorch cannot read it ({_short(error)}); is it complete?"
            ) from error

    @property
    def method_names(self) -> list[str]:
        return self._program.method_names

    def load(self, method: str) -> None:
        """Load a method before its first call, which is then as fast as the others.

        Raises SpeechpressError when there is none of this name or this installation cannot run it.
        """
        started = time.perf_counter()
        if self._pools != self.library.pools:  # its methods hold on to threads that are no more
            self._read()
        if method in self._methods:
            return
        if method not in self.method_names:
            raise SpeechpressError(f"{self.path}: has no method {method!r}, only {', '.join(self.method_names)}")
        try:
            self._program.load_method(method)
        except RuntimeError as error:
            raise SpeechpressError(
                f"{self.path}: its method {method} cannot be loaded ({_short(error)}); {self.library.about} may lack "
                "an operator or a backend that it was exported for: upgrade it, or export the bundle again with the "
                "version that is here"
            ) from error
        self._methods.add(method)
        self.load_s += time.perf_counter() - started

    def run(self, method: str, *arrays: np.ndarray) -> list[Any]:
        """Call a method; arrays in, arrays and numbers out.

        Raises SpeechpressError when the inputs are not what it takes.
        """
        self.load(method)
        try:
            # A slice of an array has strides, which the program was not lowered for.
            return self._program.run(method, [np.ascontiguousarray(array) for array in arrays])
        except RuntimeError as error:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise SpeechpressError(f"{self.path}: {method} cannot run inputs of {shapes} ({_short(error)})") from error

    def constants(self, method: str) -> list[float]:
        """The numbers that a method without inputs returns."""
        return self.run(method)

    def write_trace(self, path: str | Path) -> None:
        """Write the times of all calls as an ETDump; needs `trace`.

        Raises SpeechpressError when it cannot be written.
        """
        try:
            self._program.write_trace(str(path))
        except RuntimeError as error:
            raise SpeechpressError(f"{path}: the trace cannot be written ({_short(error)})") from error


class PteModel:
    """A bundle that runs whole recordings.

    Args:
        bundle: opened or the folder of one.
        threads: that ExecuTorch computes with, in the whole process; None leaves them as they are.
        trace: keep the time of every operator, see `Program.write_trace`.

    Raises:
        SpeechpressError: the bundle is damaged or too new, its program is not the exported one, or its backend is not
            in this installation.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int | None = None, trace: bool = False) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        check_backend(self.bundle)
        check_hash(self.bundle, PROGRAM)
        self.program = Program(self.bundle.program, threads, trace, backend_of(self.bundle))
        self.heads: tuple[HeadSpec, ...] = self.bundle.heads  # whose outputs come beside frames

    @property
    def load_s(self) -> float:
        """Seconds that loading the program and its methods has taken so far."""
        return self.program.load_s

    def offline(self, samples: np.ndarray) -> np.ndarray:
        """The frames of `hear_offline`."""
        return self.hear_offline(samples)[0]

    def hear_offline(self, samples: np.ndarray) -> tuple[np.ndarray, Answers]:
        """A whole recording (S,) at the model's rate -> frames (T, D), and answers (T, W) or, of all of it, (1, W).

        See `samples.read_piece` for what it may hold.

        Raises SpeechpressError when it is shorter or longer than the program takes.
        """
        limits = self.bundle.document["offline"]
        if not limits["max_samples"]:
            raise SpeechpressError(
                f"{self.bundle.path}: was exported without whole recordings; export it with --offline-seconds"
            )
        low, high = limits["min_samples"], limits["max_samples"]
        if samples.ndim != 1 or not low <= len(samples) <= high:
            rate = self.bundle.document["audio"]["sample_rate"]
            raise SpeechpressError(
                f"a recording of shape {samples.shape} cannot be run at once: this bundle takes {low} to {high} "
                f"samples ({low / rate:g} to {high / rate:g} s at {rate} Hz); for more, export it with "
                "--offline-seconds, or stream it in chunks"
            )
        return self._run(limits["method"], samples)

    def window(self, samples: np.ndarray) -> np.ndarray:
        """The frames of `hear_window`."""
        return self.hear_window(samples)[0]

    def hear_window(self, samples: np.ndarray) -> tuple[np.ndarray, Answers]:
        """One window (S,) of exactly the bundle's window samples, as `hear_offline` takes and hears a recording.

        Raises SpeechpressError when the bundle has no window, or one of another size.
        """
        window = self.bundle.document["window"]
        if window is None:
            raise SpeechpressError(f"{self.bundle.path}: has no window method, because it streams in chunks")
        if samples.shape != (window["samples"],):
            raise SpeechpressError(f"a window has the shape ({window['samples']},), but this one has {samples.shape}")
        return self._run(window["method"], samples)

    def _run(self, method: str, samples: np.ndarray) -> tuple[np.ndarray, Answers]:
        frames, *rest = self.program.run(method, mono(samples)[None])
        return frames[0], self._grouped([array[0] for array in rest])

    def _grouped(self, outputs: Sequence[np.ndarray]) -> Answers:
        """What comes after frames, by head and output."""
        given = iter(outputs)
        return {head.name: {name: next(given) for name in head.outputs} for head in self.heads}


class PteEngine(PteModel):
    """A bundle as an engine for `stream.StreamingExtractor`.

    Args:
        bundle: opened or the folder of one.
        chunk_ms: one of its chunk sizes; the target's own when None.
        threads: that ExecuTorch computes with, in the whole process; None leaves them as they are.
        trace: keep the time of every operator, see `Program.write_trace`.

    Raises:
        SpeechpressError: as PteModel, and when the bundle does not stream or has no such chunks.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        chunk_ms: float | None = None,
        threads: int | None = None,
        trace: bool = False,
    ) -> None:
        super().__init__(bundle, threads, trace)
        self.spec: StreamSpec = self.bundle.spec(chunk_ms)
        self._method: str = self.bundle.stream(chunk_ms)["method"]
        self.program.load(self._method)

    def initial_state(self) -> State:
        return self.bundle.initial_state()

    def step(self, chunk: np.ndarray, state: State) -> Step:
        """See `stream.Engine`: (1, chunk_samples) float32 -> frames (1, C, D), the next state, and answers of heads."""
        # By position: a program has no names for its inputs, so bundle.json's order is the program's.
        frames, *rest = self.program.run(self._method, chunk, *state.values())
        outputs, new = rest[: len(rest) - len(state)], rest[len(rest) - len(state) :]
        return Step(frames, dict(zip(state, new, strict=True)), self._grouped(outputs))


def check_backend(bundle: Bundle) -> None:
    """Raises SpeechpressError when this installation cannot run the bundle's backend."""
    if has_backend(bundle):
        return
    target = bundle.document["target"]
    raise SpeechpressError(
        f"{bundle.path}: is for {target['name']} and needs the backend {target['backend']}, which ExecuTorch has "
        "not on this machine. Run it on the device, or export another one with --target host"
    )


def has_backend(bundle: Bundle) -> bool:
    """Whether this installation can run the bundle's backend; raises SpeechpressError when it is none at all."""
    backend = backend_of(bundle)
    return backend in library(backend).backends()


def backend_of(bundle: Bundle) -> str:
    """ExecuTorch's name of the bundle's backend; one that nothing has when it is unknown."""
    name = bundle.document["target"]["backend"]
    return BACKENDS.get(name, name)


def load_bundle(folder: str | Path, chunk_ms: float | None = None, threads: int | None = None) -> "PteModel":
    """Load a bundle: a `PteEngine` for `StreamingExtractor` if it streams, else a `PteModel`.

    `folder` can also be a bundle on the Hugging Face Hub, as USER/NAME or USER/NAME@REVISION.

    Raises SpeechpressError if it is not a bundle, was changed, or cannot run here.
    """
    bundle = read_bundle(local_folder(folder, BUNDLE))
    if not bundle.document["streams"]:
        return PteModel(bundle, threads)
    return PteEngine(bundle, chunk_ms, threads)


def set_threads(threads: int, of: Library | None = None) -> None:
    """Threads that ExecuTorch computes with, in the whole process; not to be called while a program runs.

    Programs that were loaded before, with another number, are read again at their next call; their trace begins anew.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise SpeechpressError(f"threads is {threads}, but must be at least 1 and at most {MOST_THREADS}")
    (of or library()).set_threads(threads)


def threads() -> int:
    return library().threads()


def _short(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:200]
