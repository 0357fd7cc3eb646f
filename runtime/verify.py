"""Whether a bundle does what the checkpoint did: its files, its facts and its golden clip.

Shapes: S samples, T frames, D width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle, check_hashes, read_bundle
from .choice import runs_here
from .engine import PteEngine, PteModel
from .errors import SpeechpressError
from .parity import Parity, compare_layers
from .program_checks import Check, run_apart
from .stream import StreamingExtractor

PIECE_S = 0.1  # the golden clip is heard in pieces that are no multiple of any chunk


def stream(engine: PteEngine, samples: np.ndarray) -> np.ndarray:
    """Frames (T, D) of a recording (S,) that is pushed in pieces and flushed."""
    extractor = StreamingExtractor(engine)
    # An odd number of samples more, so that the cuts of pieces and of chunks drift past each other.
    size = round(PIECE_S * engine.spec.sample_rate) + 7
    parts = [extractor.push(samples[start : start + size]).frames for start in range(0, len(samples), size)]
    return np.concatenate([*parts, extractor.flush().frames])


def run_golden(bundle: Bundle, threads: int | None = None) -> dict[str, Parity]:
    """Run every method of a bundle on its golden clip, and compare with what the checkpoint made of it.

    Raises SpeechpressError when the program cannot be loaded or run.
    """
    golden, document, parity = bundle.golden, bundle.document, {}
    audio, layers = golden["audio"], len(bundle.output_layers)
    for entry in document["streams"]:
        engine = PteEngine(bundle, entry["chunk_ms"], threads)
        wanted = golden[f"frames_{entry['chunk_frames']}"]
        parity[entry["method"]] = compare_layers(stream(engine, audio), wanted, layers)
    model = PteModel(bundle, threads)
    # 0 when the bundle was exported without whole recordings.
    if document["offline"]["max_samples"]:
        parity["offline"] = compare_layers(model.offline(audio), golden["frames_offline"], layers)
    if document["window"] is not None:
        last = audio[-document["window"]["samples"] :]
        parity["window"] = compare_layers(model.window(last), golden["frames_window"], layers)
    return parity


def verify(folder: str | Path, threads: int | None = None) -> dict[str, Any]:
    """Check a bundle: {"ok": bool, "checks": [{"name", "ok", "detail"}]}; `ok` of a check is None when it was not made.

    It stops at the first file that is not the exported one: a damaged program is never run. One that is as exported is
    run in a process of its own, which it may still end.

    Raises SpeechpressError when the folder is no bundle at all.
    """
    if not (Path(folder) / "bundle.json").exists():
        # Raises: what is no bundle at all is an error, not a check that failed.
        read_bundle(folder)
    checks: list[Check] = []
    bundle = _tried(checks, "document", lambda: read_bundle(folder))
    if bundle is not None and _hashes_fit(checks, bundle):
        if runs_here(bundle):
            # Only after the hashes fit: a damaged program is native code that may do anything.
            checks += run_apart(bundle, threads)
        else:
            detail = f"{bundle.document['target']['backend']} does not run here; check the golden clip on the device"
            checks.append({"name": "golden clip", "ok": None, "detail": detail, "skipped": True})
    # None is no failure: a check for another device's backend cannot be made here.
    return {"ok": all(check["ok"] is not False for check in checks), "checks": checks}


def check_constants(bundle: Bundle) -> str:
    """Raises SpeechpressError when the program says another thing of itself than bundle.json."""
    program = PteModel(bundle).program
    for name, value in constants(bundle.document).items():
        found = program.constants(name)
        wanted = value if isinstance(value, list) else [value]
        # The program holds its numbers as float32, bundle.json as float64.
        if len(found) != len(wanted) or not np.allclose(found, wanted, rtol=1e-6):
            raise SpeechpressError(f"{bundle.program}: says that {name} is {found}, but bundle.json says {wanted}")
    return "the program and bundle.json say the same"


def constants(document: dict[str, Any]) -> dict[str, Any]:
    """What the program returns by name, see docs/bundle.md, from bundle.json."""
    audio, streams, state = document["audio"], document["streams"], document["state"]
    initial = [_flat(entry["initial"]) for entry in state]
    names = [entry["name"] for entry in state]
    window = document["window"]
    return {
        "schema": document["schema"],
        "sample_rate": audio["sample_rate"],
        "hop_samples": audio["hop_samples"],
        "receptive_samples": audio["receptive_samples"],
        "lookahead_frames": streams[0]["lookahead_frames"] if streams else 0,
        "width": document["features"]["width"],
        "chunk_frames": [entry["chunk_frames"] for entry in streams],
        "state_sizes": [len(values) for values in initial],
        "state_initial": [value for values in initial for value in values],
        "end_index": names.index("end") if "end" in names else -1,
        "min_samples": document["offline"]["min_samples"],
        "max_samples": document["offline"]["max_samples"],
        "window_samples": window["samples"] if window else 0,
    }


def _flat(initial: float | list[float]) -> list[float]:
    values = initial if isinstance(initial, list) else [initial]
    return [float(value) for value in values]


def _hashes_fit(checks: list[Check], bundle: Bundle) -> bool:
    _tried(checks, "hashes", lambda: check_hashes(bundle))
    return bool(checks[-1]["ok"])


def _tried(checks: list[Check], name: str, action: Callable[[], Any]) -> Any:
    """What `action` gives, or None; either way a check."""
    try:
        value = action()
    except SpeechpressError as error:
        checks.append({"name": name, "ok": False, "detail": str(error)})
        return None
    checks.append({"name": name, "ok": True, "detail": "as exported"})
    return value
