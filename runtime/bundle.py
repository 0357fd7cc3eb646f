"""A bundle read from disk: what is in it, and whether it is what was exported. See docs/bundle.md.

Shapes: S samples, T frames, D width.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers.golden import golden_name
from .answers.head_spec import OUTPUT_DTYPES, HeadSpec
from .bundle_schema import LAST_SCHEMA, check_document
from .errors import SpeechpressError
from .json_file import json_text, read_json
from .regular import check_regular, open_regular
from .schema import Unfit
from .spec import StreamSpec

if TYPE_CHECKING:
    import numpy as np
from collections.abc import Sequence

SCHEMA = 2  # the newest that is read; of a bundle without heads it is 1


MAX_DOCUMENT_BYTES = 64 * 2**20  # the first values of a stream's state stand in it


DOCUMENT, PROGRAM, GOLDEN = "bundle.json", "encoder.pte", "golden.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A folder and its bundle.json; nothing else of it is read before it is asked for."""

    path: Path
    document: dict[str, Any]

    @property
    def program(self) -> Path:
        return self.path / PROGRAM

    @property
    def name(self) -> str:
        return self.document["name"]

    @property
    def chunks_ms(self) -> tuple[float, ...]:
        """The chunk sizes that it can run; none when it does not stream."""
        return tuple(stream["chunk_ms"] for stream in self.document["streams"])

    @property
    def output_layers(self) -> tuple[int, ...]:
        """The layers that come out side by side, in equal parts of a frame."""
        return output_layers(self.document["features"])

    @cached_property
    def heads(self) -> tuple[HeadSpec, ...]:
        """Whose outputs the program gives beside frames, in its order."""
        names = [field.name for field in fields(HeadSpec)]
        return tuple(_spec({name: head[name] for name in names}) for head in self.document.get("heads", []))

    def stream(self, chunk_ms: float | None = None) -> dict[str, Any]:
        """The entry of one chunk size; the target's first one when None.

        Raises SpeechpressError when it cannot run such chunks.
        """
        streams = self.document["streams"]
        if not streams:
            raise SpeechpressError(
                f"{self.path}: this model does not stream; it runs whole recordings"
                + (" and windows" if self.document["window"] else "")
            )
        found = [stream for stream in streams if chunk_ms is None or stream["chunk_ms"] == chunk_ms]
        if not found:
            raise SpeechpressError(
                f"{self.path}: runs chunks of {_join(self.chunks_ms)} ms, not of {chunk_ms:g} ms. "
                f"Take one of these, or export it with --chunk-ms {chunk_ms:g}"
            )
        return found[0]

    def spec(self, chunk_ms: float | None = None) -> StreamSpec:
        """How it streams in such chunks; raises SpeechpressError when it cannot."""
        stream, audio = self.stream(chunk_ms), self.document["audio"]
        return StreamSpec(
            chunk_frames=stream["chunk_frames"],
            width=self.document["features"]["width"],
            sample_rate=audio["sample_rate"],
            hop_samples=audio["hop_samples"],
            receptive_samples=audio["receptive_samples"],
            lookahead_frames=stream["lookahead_frames"],
            lag_frames=stream.get("lag_frames", 0),
        )

    def initial_state(self) -> dict[str, "np.ndarray"]:
        """The state of a stream that has heard nothing, in the program's order."""
        return {entry["name"]: _filled(entry) for entry in self.document["state"]}

    @cached_property
    def golden(self) -> dict[str, "np.ndarray"]:
        """The clip "audio" (S,), the checkpoint's own frames for it (T, D), and the answers of its heads (T, W).

        Raises SpeechpressError when the file is missing, damaged, or lacks what the bundle's methods give.
        """
        from .tensor_file import read_tensors

        path = self.path / GOLDEN
        # Here and not at opening: hashing takes time, and most who open a bundle never need the clip.
        check_hash(self, GOLDEN)
        try:
            tensors = read_tensors(path)
        except (OSError, ValueError) as error:
            raise SpeechpressError(f"{path}: cannot be read ({error}); export the bundle again") from error
        _check_golden(tensors, self.document, path)
        _check_answers(tensors, self, path)
        return tensors


def output_layers(features: dict[str, Any]) -> tuple[int, ...]:
    """Of `features` of a bundle.json; older ones have one layer and no `outputs`."""
    return tuple(features.get("outputs", [features["layer"]]))


def read_bundle(folder: str | Path) -> Bundle:
    """Open a bundle: its document is complete, unchanged and of a schema that this version reads.

    Files are checked for their sizes only, which notices one that was cut short; whoever loads one calls `check_hash`.

    Raises:
        SpeechpressError: it is no bundle, a newer one, changed by hand, holds what it must not, or files are missing
            or of another size.
    """
    folder = Path(folder)
    document = _read_document(folder / DOCUMENT)
    schema = document.get("schema")
    # Before the digest and the keys: a newer bundle may be right and still fit neither.
    if isinstance(schema, int) and SCHEMA < schema <= LAST_SCHEMA:
        raise SpeechpressError(
            f"{folder / DOCUMENT}: has schema {schema}, but this speechpress reads up to {SCHEMA}; "
            "upgrade with: pip install -U speechpress"
        )
    # Before the values: what was changed by hand is told as that, not as one odd key.
    if document.get("digest") != digest(document):
        raise SpeechpressError(
            f"{folder / DOCUMENT}: was changed after the export (its digest does not fit); export the bundle again"
        )
    try:
        check_document(document, (PROGRAM, GOLDEN))
    except Unfit as error:
        raise SpeechpressError(f"{folder / DOCUMENT}: {error}; export the bundle again") from error
    for name, facts in document["files"].items():
        # Cheap, where a hash reads the whole program, which may have hundreds of megabytes.
        _check_size(folder / name, facts["size_bytes"])
    return Bundle(folder, document)


def digest(document: dict[str, Any]) -> str:
    """sha256 of bundle.json without its own digest."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    text = json_text(rest, compact=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_hashes(bundle: Bundle) -> None:
    """Raises SpeechpressError at the first file that is not the one that was exported."""
    for name in bundle.document["files"]:
        check_hash(bundle, name)


def check_hash(bundle: Bundle, name: str) -> None:
    """Raises SpeechpressError when this file is not the one that was exported."""
    path, wanted = bundle.path / name, bundle.document["files"][name]["sha256"]
    try:
        with open_regular(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be read ({error}); copy or export the bundle again") from error
    if found != wanted:
        raise SpeechpressError(
            f"{path}: is damaged or was replaced (sha256 {found[:12]}..., exported {wanted[:12]}...); "
            "copy or export the bundle again"
        )


def is_bundle(folder: str | Path) -> bool:
    return (Path(folder) / DOCUMENT).is_file()


def _read_document(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise SpeechpressError(f"{path.parent}: there is no such folder; `compress export` makes a bundle")
    if not path.exists():
        raise SpeechpressError(f"{path.parent}: is not a bundle (it has no {DOCUMENT}); `compress export` makes one")
    return read_json(path, "export the bundle again", max_bytes=MAX_DOCUMENT_BYTES, strict=True)


def _check_size(path: Path, size_bytes: int) -> None:
    check_regular(path)
    if not path.exists():
        raise SpeechpressError(f"{path}: is missing; copy or export the bundle again")
    found = path.stat().st_size
    if found != size_bytes:
        raise SpeechpressError(
            f"{path}: has {found:,} bytes instead of {size_bytes:,}: it was truncated or replaced; "
            "copy or export the bundle again"
        )


def _check_golden(tensors: "dict[str, np.ndarray]", document: dict[str, Any], path: Path) -> None:
    """Raises SpeechpressError when a clip lacks what there must be for every method, or is of another shape."""
    width, wanted = document["features"]["width"], [f"frames_{entry['chunk_frames']}" for entry in document["streams"]]
    wanted += ["frames_offline"] * bool(document["offline"]["max_samples"])
    wanted += ["frames_window"] * (document["window"] is not None)
    for name, dimensions in {"audio": 1, **dict.fromkeys(wanted, 2)}.items():
        found = tensors.get(name)
        if found is None or found.dtype != "float32" or found.ndim != dimensions or not len(found):
            raise SpeechpressError(f"{path}: has no {name} in float32; export the bundle again")
        if dimensions == 2 and found.shape[1] != width:
            raise SpeechpressError(
                f"{path}: {name} is {found.shape[1]} wide instead of {width}; export the bundle again"
            )


def ways(document: dict[str, Any]) -> dict[str, str]:
    """The methods that hear speech, and how golden.safetensors calls what each gives, as in "frames_16"."""
    found = {entry["method"]: str(entry["chunk_frames"]) for entry in document["streams"]}
    if document["offline"]["max_samples"]:
        found[document["offline"]["method"]] = "offline"
    return found | ({document["window"]["method"]: "window"} if document["window"] is not None else {})


def _check_answers(tensors: "dict[str, np.ndarray]", bundle: Bundle, path: Path) -> None:
    """Raises SpeechpressError when a clip lacks what a head made of it, or that is of another shape."""
    for head in bundle.heads:
        for (output, per), width in zip(head.outputs.items(), head.widths, strict=True):
            for of in ways(bundle.document).values():
                name, dtype = golden_name(head.name, output, of), OUTPUT_DTYPES.get(output, "float32")
                shape = (len(tensors[f"frames_{of}"]) if per == "frame" else 1, width)
                found = tensors.get(name)
                if found is None or found.dtype != dtype or found.shape != shape:
                    raise SpeechpressError(f"{path}: has no {name} in {dtype} of {shape}; export the bundle again")


def _spec(values: dict[str, Any]) -> HeadSpec:
    given: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
    return HeadSpec(**given)


def _filled(entry: dict[str, Any]) -> "np.ndarray":
    import numpy as np

    initial = np.array(entry["initial"], dtype=entry["dtype"])
    # A copy, because a broadcast is read-only and all its elements are one.
    return np.broadcast_to(initial, entry["shape"]).copy() if initial.ndim == 0 else initial.reshape(entry["shape"])


def _join(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def layer_words(layers: Sequence[int]) -> str:
    """Layers for people: "layer 4", "layers 0, 2, 4"."""
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
