"""Where a bundle will run: backend, quantisation, chunk sizes, and how close to the checkpoint it must be.

A program for XNNPACK is the same on every processor, so it is run and checked here whatever its target is. Core ML and
Vulkan programs are made here but run on the device only; `runs_here` says so, and so does their bundle.
"""

import difflib
from dataclasses import asdict, dataclass, field
from typing import Any

from speechpress.runtime.errors import SpeechpressError

SCHEMES = {
    "none": "float32",
    "int8": "8-bit weights, activations scaled on every call; the first convolution stays float32",
    "int8-linear": "as int8, but only the linear layers; all convolutions stay float32",
    "int8-static": "as int8, but activations in ranges that were measured on speech",
    "int4": "4-bit weights in the linear layers, a scale for 32 of them; convolutions as in int8",
    "fp16": "weights and arithmetic in 16-bit floats",
    "mixed": "8 bits where they cost little, measured operator by operator; the others stay float32",
}

Tolerance = dict[str, float]
# Exact arithmetic in another order. What int8 costs depends on the weights; these limits tell a quantised encoder from
# a broken one: below them features have lost what a probe needs.
TOLERANCES: dict[str, Tolerance] = {
    "none": {"max_abs": 1e-4},
    "int8": {"cosine": 0.97, "snr_db": 12.0},
    "int8-linear": {"cosine": 0.99, "snr_db": 17.0},
    "int8-static": {"cosine": 0.96, "snr_db": 10.0},
    "int4": {"cosine": 0.94, "snr_db": 9.0},
    "fp16": {"cosine": 0.999, "snr_db": 30.0},
    "mixed": {"cosine": 0.97, "snr_db": 12.0},
}
# Of heads' answers on speech. What a head standardises may be small in a layer, so 8 bits of the layer cost it more
# than they cost the layer itself; `agreement` is the share of frames with the same answer.
HEAD_TOLERANCES: dict[str, Tolerance] = {
    "none": {"cosine": 0.9999, "snr_db": 60.0, "agreement": 0.98},
    "int8": {"cosine": 0.93, "snr_db": 7.0, "agreement": 0.8},
    "int8-linear": {"cosine": 0.96, "snr_db": 10.0, "agreement": 0.85},
    "int8-static": {"cosine": 0.9, "snr_db": 6.0, "agreement": 0.75},
    "int4": {"cosine": 0.88, "snr_db": 5.0, "agreement": 0.7},
    "fp16": {"cosine": 0.998, "snr_db": 25.0, "agreement": 0.95},
    "mixed": {"cosine": 0.93, "snr_db": 7.0, "agreement": 0.8},
}
MIN_DELEGATED = 0.95  # share of the time on the backend
WINDOW_MS = 1000.0  # of an encoder that does not stream
EXECUTORCH, ONNXRUNTIME = "executorch", "onnxruntime"


@dataclass(frozen=True)
class Backend:
    """What lowers and runs a program: the quantisations that it can run, and whether this machine can run it.

    `any_length`: it takes recordings of any length, where others take chunks and windows only.

    Its partitioner stands in `backends.PARTITIONERS`, the name that it registers with ExecuTorch in the runtime's
    `engine.BACKENDS`; ONNX Runtime, the other `runtime`, needs neither.
    """

    schemes: tuple[str, ...] = ("none",)
    runs_here: bool = False
    runtime: str = EXECUTORCH
    any_length: bool = True


BACKENDS = {"xnnpack": Backend(tuple(SCHEMES), runs_here=True), "coreml": Backend()}
# Its compiler cannot write a size that is computed from another.
BACKENDS["vulkan"] = Backend(any_length=False)
# Not an ExecuTorch program but models of its own, see `export.onnx_program`.
BACKENDS["onnx"] = Backend(runs_here=True, runtime=ONNXRUNTIME)


@dataclass(frozen=True)
class Target:
    """Where a bundle will run.

    `chunks_ms`: a step method for each; the first one is what the bundle runs when nothing else is asked for.
    `tolerances`: per quantisation, `max_abs` or `cosine` and `snr_db` of the program's features against the checkpoint.
    """

    name: str
    about: str
    backend: str = "xnnpack"
    quantize: str = "int8"
    chunks_ms: tuple[float, ...] = (320.0, 160.0, 80.0)
    tolerances: dict[str, Tolerance] = field(default_factory=lambda: dict(TOLERANCES))

    @property
    def schemes(self) -> tuple[str, ...]:
        """The quantisations that its backend can run."""
        return BACKENDS[self.backend].schemes

    @property
    def runs_here(self) -> bool:
        """Its program is run and compared before it is written."""
        return BACKENDS[self.backend].runs_here

    @property
    def runtime(self) -> str:
        """What runs its programs: executorch or onnxruntime."""
        return BACKENDS[self.backend].runtime

    def to_dict(self) -> dict[str, Any]:
        lists = {"chunks_ms": list(self.chunks_ms), "schemes": list(self.schemes)}
        return {**asdict(self), "runs_here": self.runs_here, **lists}


TARGETS = (
    Target("host", "this machine", quantize="none"),
    Target("android", "Android phones, on the CPU (arm64)"),
    Target("raspberry-pi", "Raspberry Pi 4 and 5, 64-bit Linux", chunks_ms=(320.0, 160.0)),
    Target("linux-arm64", "other 64-bit ARM boards and servers with Linux"),
    Target("ios", "iPhones and iPads, on the CPU"),
    Target("macos", "Macs, on the CPU", quantize="none"),
    Target("ios-coreml", "iPhones and iPads, Core ML (Neural Engine, GPU)", "coreml", "none", (320.0,)),
    Target("macos-coreml", "Macs, Core ML (Neural Engine, GPU)", "coreml", "none", (320.0,)),
    Target("android-gpu", "Android phones, on the GPU (Vulkan)", "vulkan", "none", (320.0,)),
    Target("onnx", "ONNX Runtime, wherever it runs", "onnx", "none", (320.0,)),
)
OLD_NAMES = {"android-vulkan": "android-gpu"}


def target_of(name: str) -> Target:
    """The target of this name; raises SpeechpressError for an unknown one, with what may be meant."""
    names, name = [target.name for target in TARGETS], OLD_NAMES.get(name, name)
    if name in names:
        return TARGETS[names.index(name)]
    close = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SpeechpressError(f"there is no target {name!r}.{hint} Targets: {', '.join(names)}")


def known_scheme(scheme: str) -> None:
    """Raises SpeechpressError for an unknown quantisation, with what may be meant."""
    if scheme not in SCHEMES:
        close = difflib.get_close_matches(scheme.lower(), list(SCHEMES), 1, 0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpeechpressError(f"there is no quantisation {scheme!r}.{hint} Known: {', '.join(SCHEMES)}")


def check_scheme(target: Target, scheme: str) -> None:
    """Raises SpeechpressError for an unknown quantisation, or one that the target's backend cannot run."""
    known_scheme(scheme)
    if scheme not in target.schemes:
        raise SpeechpressError(
            f"quantisation {scheme!r} cannot be run by the backend {target.backend} of target {target.name}; "
            f"it can run: {', '.join(target.schemes)}"
        )
