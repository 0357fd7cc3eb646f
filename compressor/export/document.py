"""bundle.json before anything is lowered: what there is to know of an encoder on a target. See docs/bundle.md."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from speechpress.runtime.bundle import PROGRAM, SCHEMA
from speechpress.runtime.parity import worst
from speechpress.runtime.spec import StreamSpec

from ..heads.files import KeptHead
from ..models.answering import specs_of
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.streaming import StreamingEncoder
from ..quantize.scheme import Quantization
from ..targets import HEAD_TOLERANCES, Target
from .answers import entries
from .source import Source


@dataclass(frozen=True)
class ExportPlan:
    """What is to be exported, checked against the encoder and the target."""

    source: Source
    target: Target
    quantization: Quantization
    chunks: tuple[int, ...]  # frames
    max_samples: int  # 0: no whole recordings
    window_samples: int  # 0 when it streams
    layers: tuple[int, ...]  # that come out side by side
    heads: Mapping[str, KeptHead] = field(default_factory=dict)  # that the encoder carries

    @property
    def encoder(self) -> Encoder:
        return self.source.encoder

    @property
    def scheme(self) -> str:
        return self.quantization.scheme


def facts(planned: ExportPlan) -> dict[str, Any]:
    """The part of bundle.json that is known before anything is lowered."""
    config = planned.encoder.config
    window = planned.window_samples
    heads = entries(specs_of(planned.encoder), HEAD_TOLERANCES[planned.scheme])
    return {
        "schema": SCHEMA if heads else 1,
        "name": planned.source.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "audio": {
            "sample_rate": SAMPLE_RATE,
            "hop_samples": config.hop_samples,
            "receptive_samples": config.receptive_samples,
            "input_norm": config.input_norm,
        },
        "features": {
            "width": config.width * len(planned.layers),
            "layer": planned.layers[-1],
            "layers": config.num_layers,
            "outputs": list(planned.layers),
        },
        "streams": [_stream(config.stream_spec(chunk)) for chunk in planned.chunks],
        "state": _state(planned) if planned.chunks else [],
        "offline": {
            "method": "offline",
            "min_samples": min_samples(planned),
            "max_samples": planned.max_samples,
            "max_s": planned.max_samples / SAMPLE_RATE,
        },
        "window": {"method": "window", "samples": window, "ms": 1000 * window / SAMPLE_RATE} if window else None,
        "target": {
            "name": planned.target.name,
            "backend": planned.target.backend,
            "description": planned.target.about,
            "runs_here": planned.target.runs_here,
        },
        "quantize": planned.scheme,
        # Both are filled in where the program can be run here.
        "delegation": {},
        "parity": {},
        "tolerance": planned.target.tolerances[planned.scheme],
        "lineage": planned.source.lineage | _ranges_from(planned.quantization),
        "versions": _versions(),
        # Not as an empty list: a bundle without heads is read by those who know of none.
        **({"heads": heads} if heads else {}),
    }


def _ranges_from(quantization: Quantization) -> dict[str, Any]:
    """Of a quantisation that came with the checkpoint: its making."""
    # The list of what each operator costs is long, and stays in quantize.json.
    about = {name: value for name, value in quantization.about.items() if name != "sensitivity"}
    return {"quantization": about} if about else {}


def _versions() -> dict[str, str]:
    return {
        "speechpress": version("speechpress"),
        "torch": str(torch.__version__),
        "executorch": version("executorch"),
        "python": platform.python_version(),
    }


def _stream(spec: StreamSpec) -> dict[str, Any]:
    return {
        "method": f"step_{spec.chunk_frames}",
        "chunk_frames": spec.chunk_frames,
        "chunk_samples": spec.chunk_samples,
        "lookahead_frames": spec.lookahead_frames,
        # Not as 0: a bundle without lag is read by those who know of none.
        **({"lag_frames": spec.lag_frames} if spec.lag_frames else {}),
        **spec.latency(),
        "silence_samples": spec.silence_samples,
        "first_frame": spec.first_frame,
    }


def _state(planned: ExportPlan) -> list[dict[str, Any]]:
    entries = []
    for name, tensor in StreamingEncoder(planned.encoder, planned.chunks[0]).initial_state().items():
        flat = tensor.flatten().tolist()
        # State begins as zeros almost everywhere; one number for them keeps bundle.json small.
        initial = flat[0] if flat and all(value == flat[0] for value in flat) else flat
        entries.append({"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)[6:], "initial": initial})
    return entries


def min_samples(planned: ExportPlan) -> int:
    """The shortest recording: two frames, because sizes that may be one are compiled apart."""
    return planned.encoder.config.receptive_samples + planned.encoder.config.hop_samples


def summary(out: Path, document: dict[str, Any]) -> dict[str, Any]:
    """What `compress export --json` prints of a bundle."""
    parity, shares = document["parity"], [entry["time_share"] for entry in document["delegation"].values()]
    return {
        "out": str(out),
        "target": document["target"]["name"],
        "quantize": document["quantize"],
        "layers": document["features"]["outputs"],
        "width": document["features"]["width"],
        "chunk_ms": [entry["chunk_ms"] for entry in document["streams"]],
        "parity": worst(list(parity.values())) if parity else None,
        "parity_per_method": parity,
        "heads": document.get("heads", []),
        "tolerance": document["tolerance"],
        "delegated_time": min(shares) if shares else None,
        "delegation": document["delegation"],
        "runs_here": document["target"]["runs_here"],
        "size_bytes": document["files"][PROGRAM]["size_bytes"],
    }
