"""A streaming step in ONNX: the model says itself how it cuts time and how its state begins (`metadata_props`).

Shapes: S samples, C frames of a chunk, T frames, D width.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..answers.head_spec import HeadSpec
from ..errors import SpeechpressError
from ..json_file import parse_json
from ..schema import Anything, Either, Fields, Items, Real, Table, Text, Unfit, Whole, require
from ..spec import StreamSpec
from ..stream import State, Step

MODEL_TYPE, SCHEMA = "speechpress", 1
DOCUMENT = "onnx.json"
# Inputs beside the state, which has an "audio" of its own.
CHUNK, WAVE = "chunk", "wave"
_SIZE, _NUMBER = Whole(0, 2**31 - 1), Real()
METADATA = Fields(
    {
        "schema": Whole(1, SCHEMA),
        "chunk_frames": Whole(1, 2**20),
        "width": Whole(1, 2**20),
        "sample_rate": Whole(1, 1_000_000),
        "hop_samples": Whole(1, 2**31 - 1),
        "receptive_samples": Whole(1, 2**31 - 1),
        "lookahead_frames": _SIZE,
        "layers": Items(_SIZE, 1, 1000),
        "state_names": Items(Text(200), 0, 10_000),
        "state_initial": Table(Either((_NUMBER, Items(_NUMBER, 0, 10_000_000)))),
    },
    {"model_type": Text(100), "more": Anything()},
)
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def import_onnxruntime() -> Any:
    """Raises SpeechpressError when it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SpeechpressError(
            f"onnxruntime cannot be imported ({error}); install it with: pip install 'speechpress[onnx]'"
        ) from error
    return onnxruntime


def session(path: Path, threads: int = 1) -> Any:
    """A model, loaded for the CPU; raises SpeechpressError when it cannot be."""
    library = import_onnxruntime()
    options = library.SessionOptions()
    # A chunk is so small that more threads only wait for each other.
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if not path.is_file():
        raise SpeechpressError(f"{path}: there is no such file; `compress export --target onnx` makes it")
    try:
        return library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Its exceptions have no common class of their own.
    except Exception as error:
        raise SpeechpressError(f"{path}: ONNX Runtime cannot load it ({str(error)[:300]}); export it again") from error


class OnnxEngine:
    """Runs one chunk size; see `stream.Engine`. It keeps nothing between calls.

    Args:
        model: step_16.onnx, or the folder of an export with one chunk size.
        threads: that a chunk is run with.

    Raises SpeechpressError for what is no such model, or when onnxruntime is not installed.
    """

    heads: tuple[HeadSpec, ...] = ()

    def __init__(self, model: str | Path, threads: int = 1) -> None:
        self.path = step_file(Path(model))
        self.session = session(self.path, threads)
        told = read_metadata(self.session, self.path)
        names = ("chunk_frames", "width", "sample_rate", "hop_samples", "receptive_samples", "lookahead_frames")
        self.spec = StreamSpec(**{name: told[name] for name in names})
        self.layers, self.state_names = tuple(told["layers"]), list(told["state_names"])
        given = {one.name: one for one in self.session.get_inputs()}
        if list(given) != [CHUNK, *self.state_names]:
            raise SpeechpressError(f"{self.path}: its inputs are not those that its metadata names; export it again")
        self._initial = {name: _filled(given[name], told["state_initial"].get(name, 0)) for name in self.state_names}

    def initial_state(self) -> State:
        return {name: array.copy() for name, array in self._initial.items()}

    def step(self, chunk: np.ndarray, state: State) -> Step:
        """(1, chunk_samples) float32 -> frames (1, C, D) and the next state."""
        frames, *new = self.session.run(None, {CHUNK: chunk, **state})
        return Step(frames, dict(zip(self.state_names, new, strict=True)))


def step_file(model: Path) -> Path:
    """The file of a step; raises SpeechpressError where a folder holds none, or several."""
    if not model.is_dir():
        return model
    found = sorted(model.glob("step_*.onnx"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SpeechpressError(f"{model}: has {len(found)} models of a step ({names}); name one of them")
    return found[0]


def read_metadata(opened: Any, path: Path) -> dict[str, Any]:
    """What a model says of itself; raises SpeechpressError for one that says something else."""
    told: dict[str, Any] = {}
    for key, text in opened.get_modelmeta().custom_metadata_map.items():
        try:
            told[key] = parse_json(text)
        except ValueError:
            told[key] = text
    if told.get("model_type") != MODEL_TYPE:
        raise SpeechpressError(
            f"{path}: was not made by `compress export --target onnx` (its metadata does not say so)"
        )
    try:
        require(told, METADATA)
    except Unfit as error:
        raise SpeechpressError(f"{path}: metadata: {error}; export it again") from error
    return told


def _filled(given: Any, initial: Any) -> np.ndarray:
    """A state that has heard nothing: one number for all of its elements, or a number each."""
    values = np.array(initial, dtype=_TYPES[given.type])
    return np.broadcast_to(values, given.shape).copy() if values.ndim == 0 else values.reshape(given.shape)
