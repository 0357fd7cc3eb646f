"""The same prepared step for ONNX Runtime: one file a method, its state explicit, its facts in `metadata_props`.

What ExecuTorch's program must keep, these must: they are run here, on the golden clip and on noise, before anything is
written. See docs/onnx.md. Shapes: S samples, T frames, D width.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.atomic import atomic_folder
from speechpress.runtime.bundle import GOLDEN
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.hub.manifest import facts_of
from speechpress.runtime.json_file import json_text
from speechpress.runtime.onnx.engine import (
    CHUNK,
    DOCUMENT,
    MODEL_TYPE,
    SCHEMA,
    WAVE,
    OnnxEngine,
    import_onnxruntime,
    session,
)
from speechpress.runtime.parity import Parity, compare_layers, describe, within, worst
from speechpress.runtime.stream import StreamingExtractor

from ..models.answering import hear
from ..models.checkpoint import write_json, write_tensors
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from .closeness import RANDOM_S, golden, loud_and_soft
from .document import ExportPlan, facts, min_samples
from .lower import Method, hushed, quick

# Gelu is an operator of its own from 20 on; ONNX Runtime has it since 1.17.
OPSET = 20
# Keys that sherpa-onnx's models have and its tools print, with what they mean there.
SHERPA = {
    "version": "1",
    "model_author": "speechpress",
    "comment": "features of a self-supervised speech encoder from a waveform; it recognises nothing by itself",
    "normalize_samples": "1",  # samples are given from -1 to 1
}

CARD = """# {name} for ONNX Runtime

opset {opset}, quantisation {quantize}; {layers}, {width} features a frame. Against the checkpoint, on the golden clip
and on noise:

{parity}

```python
{use}
```

Without speechpress: `metadata_props` of the model say how it is run; docs/onnx.md of speechpress has it in a few lines.
"""


USE_STEP = """from speechpress import StreamingExtractor
from speechpress.runtime.onnx.engine import OnnxEngine

stream = StreamingExtractor(OnnxEngine("{folder}/step_{chunk}.onnx"))
frames, end_s, events = stream.push(samples)  # pieces of any size; then stream.flush()"""

USE_WHOLE = """import onnxruntime

model = onnxruntime.InferenceSession("{folder}/{method}.onnx")
frames = model.run(None, {{"wave": samples[None]}})[0][0]  # (S,) float32 at 16 kHz -> (T, {width})"""


def export_onnx(
    planned: ExportPlan, methods: dict[str, Method], out: Path, overwrite: bool = False, say: OnText = print
) -> dict[str, Any]:
    """Write a folder of ONNX models, or nothing.

    Returns:
        What `compress export --json` prints.

    Raises:
        CheckFailed: a model is not as close to the checkpoint as the target asks.
        SpeechpressError: `out` exists, onnx is not installed, heads were asked for, or torch cannot write the model.
    """
    _check(planned, out, overwrite)
    with atomic_folder(out) as folder:
        for name, method in methods.items():
            say(f"writing {name}.onnx")
            _write_model(planned, name, method, folder / f"{name}.onnx")
        write_tensors(folder / GOLDEN, golden(planned))
        say("running each of them, and comparing with the checkpoint")
        parity = _measured(planned, methods, folder)
        for name, found in parity.items():
            if not within(found, planned.target.tolerances[planned.scheme]):
                raise CheckFailed(
                    f"{name}.onnx is too far from the checkpoint: {describe(found)}, but quantisation "
                    f"{planned.scheme!r} must keep {describe(planned.target.tolerances[planned.scheme])}. "
                    "Nothing was written"
                )
        document = _document(planned, methods, folder, parity)
        write_json(folder / DOCUMENT, document)
        text = _card(planned, document, out.name)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return summary(out, planned, document)


def _check(planned: ExportPlan, out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise SpeechpressError(f"{out}: already exists; choose another --out, or replace it with --overwrite")
    if out.exists() and not (out / DOCUMENT).is_file():
        raise SpeechpressError(f"{out}: holds no ONNX export, so --overwrite does not touch it; choose another --out")
    if planned.heads:
        raise SpeechpressError(
            f"--heads {','.join(planned.heads)}: ONNX models give features only; leave --heads out, or export a bundle"
        )
    import_onnxruntime()
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SpeechpressError(
            f"--target onnx: {error.name} cannot be imported ({error}); install it with: "
            "pip install 'speechpress[onnx]'"
        ) from error


def _write_model(planned: ExportPlan, name: str, method: Method, path: Path) -> None:
    import onnx

    states = [entry["name"] for entry in facts(planned)["state"]] if name.startswith("step_") else []
    with hushed(), quick(), torch.no_grad():
        try:
            traced = torch.export.export(method.module, method.example, dynamic_shapes=method.ranges(), strict=False)
            written = torch.onnx.export(
                traced,
                input_names=[CHUNK if states else WAVE, *states],
                output_names=["frames", *(f"new_{state}" for state in states)],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            raise SpeechpressError(f"torch cannot write {name} as ONNX: {str(error)[:300]}") from error
    assert written is not None
    model: Any = written.model_proto
    # What torch wrote of its own making names files of this machine.
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output, model):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.helper.set_model_props(model, metadata(planned, name))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def metadata(planned: ExportPlan, method: str) -> dict[str, str]:
    """What a model says of itself, every value a text: numbers and JSON."""
    told, config = facts(planned), planned.encoder.config
    lists: dict[str, Any] = {"layers": list(planned.layers)}
    found: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "schema": SCHEMA,
        "method": method,
        "name": planned.source.name,
        "sample_rate": SAMPLE_RATE,
        "hop_samples": config.hop_samples,
        "receptive_samples": config.receptive_samples,
        "width": told["features"]["width"],
        "opset": OPSET,
        "quantize": planned.scheme,
        "teacher": str((planned.source.lineage.get("teacher") or {}).get("source") or ""),
        "checkpoint_sha256": planned.source.lineage.get("checkpoint_sha256") or "",
        "speechpress": version("speechpress"),
        **SHERPA,
    }
    for entry in told["streams"]:
        if entry["method"] == method:
            keys = ("chunk_frames", "chunk_samples", "chunk_ms", "lookahead_frames", "silence_samples", "first_frame")
            found |= {key: entry[key] for key in keys}
            found |= {"T": entry["chunk_samples"], "decode_chunk_len": entry["chunk_samples"]}
            lists["state_names"] = [each["name"] for each in told["state"]]
            lists["state_initial"] = {each["name"]: each["initial"] for each in told["state"]}
    if method == "offline":
        found |= {"min_samples": min_samples(planned), "max_samples": planned.max_samples}
    # As texts, which a reader in any language splits or parses.
    return {key: f"{value}" for key, value in found.items()} | {key: json_text(value) for key, value in lists.items()}


@torch.inference_mode()
def _measured(planned: ExportPlan, methods: dict[str, Method], folder: Path) -> dict[str, Parity]:
    """Per method: the worse of the golden clip and of noise."""
    from safetensors.numpy import load_file

    clip, noise = load_file(folder / GOLDEN), loud_and_soft(round(RANDOM_S * SAMPLE_RATE))
    found: dict[str, Parity] = {}
    for chunk in planned.chunks:
        engine = OnnxEngine(folder / f"step_{chunk}.onnx")
        wanted = hear(planned.encoder, noise[None], chunk, planned.layers)[0][0].numpy()
        pairs = [(streamed(engine, clip["audio"]), clip[f"frames_{chunk}"]), (streamed(engine, noise.numpy()), wanted)]
        found[f"step_{chunk}"] = _worst(planned, pairs)
    for name, key in (("offline", "frames_offline"), ("window", "frames_window")):
        if name in methods:
            found[name] = _worst(planned, _whole(planned, session(folder / f"{name}.onnx"), name, clip, key))
    return found


def _whole(
    planned: ExportPlan, opened: Any, name: str, clip: dict[str, np.ndarray], key: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(what the model gives, what it should) for the clip, and for noise: the shortest and the longest it takes."""
    window = planned.window_samples
    lengths = (window,) if name == "window" else (min_samples(planned), planned.max_samples)
    audio = clip["audio"][-window:] if name == "window" else clip["audio"]
    pairs = [(opened.run(None, {WAVE: audio[None]})[0][0], clip[key])]
    for samples in lengths:
        wave = loud_and_soft(samples)
        wanted = hear(planned.encoder, wave[None], None, planned.layers)[0][0].numpy()
        pairs.append((opened.run(None, {WAVE: wave.numpy()[None]})[0][0], wanted))
    return pairs


def _worst(planned: ExportPlan, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Parity:
    return worst([compare_layers(given, wanted, len(planned.layers)) for given, wanted in pairs])


def streamed(engine: OnnxEngine, samples: np.ndarray) -> np.ndarray:
    """(T, D) of a recording that is pushed in odd pieces and flushed."""
    extractor = StreamingExtractor(engine)
    parts = [extractor.push(samples[start : start + 2_007]).frames for start in range(0, len(samples), 2_007)]
    return np.concatenate([*parts, extractor.flush().frames])


def _document(
    planned: ExportPlan, methods: dict[str, Method], folder: Path, parity: dict[str, Parity]
) -> dict[str, Any]:
    told = facts(planned)
    kept = ("name", "created", "audio", "features", "streams", "state", "offline", "window", "target", "quantize")
    names = [*(f"{name}.onnx" for name in methods), GOLDEN]
    return {
        "schema": SCHEMA,
        **{key: told[key] for key in (*kept, "tolerance", "lineage")},
        "opset": OPSET,
        "parity": parity,
        "versions": {"speechpress": version("speechpress"), "torch": str(torch.__version__)}
        | {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
        "files": {name: facts_of(folder / name) for name in names},
    }


def _card(planned: ExportPlan, document: dict[str, Any], folder: str) -> str:
    width, method = document["features"]["width"], "offline" if planned.max_samples else "window"
    use = (
        USE_STEP.format(folder=folder, chunk=planned.chunks[0])
        if planned.chunks
        else USE_WHOLE.format(folder=folder, method=method, width=width)
    )
    return CARD.format(
        name=document["name"],
        opset=OPSET,
        quantize=planned.scheme,
        layers=f"layers {', '.join(map(str, planned.layers))} of {document['features']['layers']}",
        width=width,
        parity="\n".join(f"- {name}: {describe(found)}" for name, found in document["parity"].items()),
        use=use,
    )


def summary(out: Path, planned: ExportPlan, document: dict[str, Any]) -> dict[str, Any]:
    """As `document.summary`; ONNX Runtime runs all of it, so that there is nothing beside the backend to tell."""
    whole = {"time_share": 1.0, "operators": 0, "delegated": 0, "fallback": []}
    return {
        "out": str(out),
        "target": planned.target.name,
        "quantize": planned.scheme,
        "layers": list(planned.layers),
        "width": document["features"]["width"],
        "chunk_ms": [entry["chunk_ms"] for entry in document["streams"]],
        "opset": OPSET,
        "parity": worst(list(document["parity"].values())),
        "parity_per_method": document["parity"],
        "heads": [],
        "tolerance": document["tolerance"],
        "delegated_time": None,
        "delegation": dict.fromkeys(document["parity"], whole),
        "runs_here": True,
        "size_bytes": sum(facts["size_bytes"] for name, facts in document["files"].items() if name.endswith(".onnx")),
    }
