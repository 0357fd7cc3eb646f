"""The checks of a bundle that run its program, in a process of their own: native code may end the process it is in.

    python -m speechpress.runtime.program_checks FOLDER [THREADS]

prints a check as JSON on each line, as soon as it is known.

Shapes: S samples, T frames, D width.
"""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .answers.golden import Figures, Rows, compare_answers, golden_rows, worst
from .answers.golden import describe as describe_answers
from .answers.golden import within as answers_within
from .answers.head_spec import HeadSpec
from .bundle import Bundle, read_bundle, ways
from .engine import PteEngine, PteModel
from .errors import SpeechpressError
from .json_file import json_text
from .parity import Parity, compare_layers, describe, within
from .stream import State, Step, StreamingExtractor

Check = dict[str, Any]
PATIENCE_S = 900.0  # for the checks of one bundle, the import of torch on a slow board included


class Heard(NamedTuple):
    """Frames (T, D) of a whole recording, and what heads answer: (T, W), or (1, W) about all of it."""

    frames: np.ndarray
    answers: Rows


class Golden(NamedTuple):
    """How close one method is on the golden clip: its frames, and by head and output its answers."""

    frames: Parity
    answers: dict[str, dict[str, Figures]]


def run_apart(bundle: Bundle, threads: int | None, patience_s: float = PATIENCE_S) -> list[Check]:
    """The checks of `checks`, made in another process; when it dies or hangs, that is a check that failed."""
    # -P: a folder `speechpress` where the user stands would be imported instead of this package.
    words = [sys.executable, "-P", "-m", __name__, str(bundle.path)] + ([str(threads)] if threads else [])
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=patience_s, check=False)
    except subprocess.TimeoutExpired as error:
        # What was printed until then; it is bytes here, even with text=True.
        out = error.stdout or b""
        found = _read(out.decode(errors="replace") if isinstance(out, bytes) else out)
        return [*found, _died(f"the program had not ended after {patience_s:g} s and was stopped")]
    found = _read(done.stdout)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        # A negative code is a signal: native code that crashed.
        reason = f"by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"with {last[:300]}"
        found.append(_died(f"the program ended its process {reason}; do not use this bundle, export it again"))
    return found


def checks(bundle: Bundle, threads: int | None) -> Iterator[Check]:
    """What the program says of itself, and its golden clip."""
    try:
        yield _check("constants", True, check_constants(bundle))
    except SpeechpressError as error:
        yield _check("constants", False, str(error))
    try:
        parity = run_golden(bundle, threads)
    except SpeechpressError as error:
        yield _check("program", False, str(error))
        return
    yield _check("program", True, "runs")
    for method, golden in parity.items():
        yield _golden(method, golden.frames, bundle)
        if bundle.heads:
            yield _answers(method, golden, bundle)


def _golden(method: str, figures: Parity, bundle: Bundle) -> Check:
    tolerance = bundle.document["tolerance"]
    ok = within(figures, tolerance)
    detail = describe(figures) + ("" if ok else f", but must be {describe(tolerance)}")
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}  # infinity is no JSON
    return {**_check(f"golden clip, {method}", ok, detail), **finite}


def _answers(method: str, golden: Golden, bundle: Bundle) -> Check:
    wrong = far(bundle, golden)
    right = [f"{name} {describe_answers(worst(list(outputs.values())))}" for name, outputs in golden.answers.items()]
    return _check(f"golden answers, {method}", not wrong, "; ".join(wrong or right))


def _check(name: str, ok: bool, detail: str) -> Check:
    return {"name": name, "ok": ok, "detail": detail}


def _died(detail: str) -> Check:
    return _check("program", False, detail)


def _read(lines: str) -> list[Check]:
    """Whole lines only: the last one is cut off when the process dies while it writes."""
    return [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith("\n")]


def main(words: list[str]) -> int:
    folder, *threads = words
    for check in checks(read_bundle(Path(folder)), int(threads[0]) if threads else None):
        sys.stdout.write(json_text(check) + "\n")
        # The next check may end the process, and with it what is buffered.
        sys.stdout.flush()
    return 0


class _Kept:
    """An engine that keeps what heads answer to each chunk of the one stream that it runs."""

    def __init__(self, engine: PteEngine) -> None:
        self.engine, self.spec = engine, engine.spec
        self.heads: tuple[HeadSpec, ...] = ()  # to the stream: nobody here wants events
        self.answers: list[Mapping[str, Mapping[str, np.ndarray]]] = []

    def initial_state(self) -> State:
        return self.engine.initial_state()

    def step(self, chunk: np.ndarray, state: State) -> Step:
        step = self.engine.step(chunk, state)
        self.answers.append(step.answers)
        return step

    def rows(self, frames: int) -> Rows:
        """Those of the frames that there are."""
        first = -self.spec.first_frame
        return {
            head.name: {
                name: _joined([every[head.name][name][0] for every in self.answers], per, first, frames)
                for name, per in head.outputs.items()
            }
            for head in self.engine.heads
        }


def _joined(parts: list[np.ndarray], per: str, first: int, frames: int) -> np.ndarray:
    return parts[-1] if per == "chunk" else np.concatenate(parts)[first : first + frames]


PIECE_S = 0.1  # the golden clip is heard in pieces that are no multiple of any chunk


def stream(engine: PteEngine, samples: np.ndarray) -> np.ndarray:
    """Frames (T, D) of a recording (S,) that is pushed in pieces and flushed."""
    return heard(engine, samples).frames


def heard(engine: PteEngine, samples: np.ndarray) -> Heard:
    """What a recording (S,) of at least a frame gives that is pushed in pieces and flushed."""
    kept = _Kept(engine)
    extractor = StreamingExtractor(kept)
    # An odd number of samples more, so that the cuts of pieces and of chunks drift past each other.
    size = round(PIECE_S * engine.spec.sample_rate) + 7
    parts = [extractor.push(samples[start : start + size]).frames for start in range(0, len(samples), size)]
    frames = np.concatenate([*parts, extractor.flush().frames])
    return Heard(frames, kept.rows(len(frames)))


def run_golden(bundle: Bundle, threads: int | None = None) -> dict[str, Golden]:
    """Run every method of a bundle on its golden clip, and compare with what the checkpoint made of it.

    Raises SpeechpressError when the program cannot be loaded or run.
    """
    golden, document, found = bundle.golden, bundle.document, {}
    audio = golden["audio"]
    for entry in document["streams"]:
        found[entry["method"]] = heard(PteEngine(bundle, entry["chunk_ms"], threads), audio)
    model = PteModel(bundle, threads)
    # 0 when the bundle was exported without whole recordings.
    if document["offline"]["max_samples"]:
        found["offline"] = Heard(*model.hear_offline(audio))
    if document["window"] is not None:
        found["window"] = Heard(*model.hear_window(audio[-document["window"]["samples"] :]))
    return {method: against_golden(bundle, method, said) for method, said in found.items()}


def against_golden(bundle: Bundle, method: str, said: Heard) -> Golden:
    """What a method said of the golden clip, held against what the checkpoint made of it."""
    golden, of = bundle.golden, ways(bundle.document)[method]
    frames = compare_layers(said.frames, golden[f"frames_{of}"], len(bundle.output_layers))
    return Golden(frames, compare_answers(said.answers, golden_rows(golden, bundle.heads, of), bundle.heads))


def far(bundle: Bundle, golden: Golden) -> list[str]:
    """Heads whose answers are further from the checkpoint's than they may be, and by how much, in words."""
    found = []
    for head, entry in zip(bundle.heads, bundle.document.get("heads", []), strict=True):
        tolerance = entry.get("tolerance", {})
        for output, figures in golden.answers[head.name].items():
            if not answers_within(figures, tolerance):
                words = f"{describe_answers(figures)}, but must be {describe_answers(tolerance)}"
                found.append(f"{head.name}, {output}: {words}")
    return found


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
        **({"lag_frames": streams[0]["lag_frames"]} if streams and "lag_frames" in streams[0] else {}),
        "width": document["features"]["width"],
        "chunk_frames": [entry["chunk_frames"] for entry in streams],
        "state_sizes": [len(values) for values in initial],
        "state_initial": [value for values in initial for value in values],
        "end_index": names.index("end") if "end" in names else -1,
        "min_samples": document["offline"]["min_samples"],
        "max_samples": document["offline"]["max_samples"],
        "window_samples": window["samples"] if window else 0,
        **({"head_outputs": sum(len(head["outputs"]) for head in document["heads"])} if "heads" in document else {}),
    }


def _flat(initial: float | list[float]) -> list[float]:
    values = initial if isinstance(initial, list) else [initial]
    return [float(value) for value in values]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
