"""The students of benchmarks/students.py as they run on a device: in chunks, in 8 bits, and how long they take.

    python benchmarks/students_device.py ways CORPORA ITEMS TEACHER WORK BUNDLES --only pocket-0 --name small
    python benchmarks/students_device.py speed WORK --only pocket-0 distilhubert-20s-0 --name small

`ways` asks ABX of a streaming student over whole recordings and in chunks of 80 to 640 ms, and of BUNDLES/NAME, its
bundle, as it runs, where there is one. `speed` measures CPU time of one thread in int8 and int8-linear, all students in
turn: a chunk of 320 ms (and of 80 ms) of a stream, and one second at once of a student that does not stream; and how
close each program is to PyTorch on speech. Both add a part to results/students.json.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beside import in_turn
from common import Parts, busy_s

from speechpress.compressor.abx.evaluate import Request, evaluate_abx
from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare import Offline
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.parity import compare

CHUNKS, SCHEMES = (16, 4), ("int8", "int8-linear")
OWN = "student"


def tell(line: str) -> None:
    print(line, flush=True)


def ways(given: argparse.Namespace) -> dict[str, Any]:
    """{student: {way: {"within", "across", "best"}}}."""
    request = Request(given.items, given.corpora / "speechocean762" / "audio", given.most, None)
    found: dict[str, Any] = {}
    for name in given.only:
        floats = evaluate_abx(str(given.work / name), request, teacher=given.teacher, listen=tell)["abx"]
        found[name] = {named(way): one for way, one in floats.items() if way.startswith(OWN)}
        if (given.bundles / name).exists():
            eights = evaluate_abx(str(given.bundles / name), request, teacher=given.teacher, listen=tell)["abx"]
            found[name] |= {f"bundle, {named(way)}": one for way, one in eights.items() if way.startswith(OWN)}
    return found


def named(way: str) -> str:
    return "whole" if way == OWN else way.removeprefix(f"{OWN} at ")


@dataclass(frozen=True)
class Side:
    """A program, what it hears at a time, and what PyTorch says of it."""

    call: Callable[[], np.ndarray]
    audio_s: float
    size_bytes: int
    wanted: np.ndarray


@torch.no_grad()
def side_of(folder: Path, scheme: str, chunk: int) -> Side:
    """A chunk in the middle of speech, or a whole second for a student that does not stream."""
    encoder, path = load_checkpoint(folder).encoder.eval(), folder / f"{scheme}-{chunk}.pte"
    if encoder.config.blockers:
        inputs: tuple[torch.Tensor, ...] = (torch.from_numpy(golden_clip(1.0))[None],)
        method, audio_s, wanted = Method(Offline(encoder), inputs), 1.0, encoder(*inputs)[0]
    else:
        method, step = step_method(encoder, chunk, half=False), StreamingEncoder(encoder, chunk)
        samples, state = step.spec.chunk_samples, step.initial_state()
        for wave in torch.from_numpy(golden_clip(3.0))[None].split(samples, 1)[: int(2 * 50 / chunk)]:
            inputs = (wave, *(tensor.clone() for tensor in state.values()))
            frames, state = step.step(wave, state)
        audio_s, wanted = chunk / 50, frames[0]
    if not path.exists():
        path.write_bytes(lower({"run": method}, {}, "xnnpack", scheme).program)
    program, arrays = Program(path, threads=1), [np.ascontiguousarray(part.numpy()) for part in inputs]
    return Side(lambda: program.run("run", *arrays)[0][0], audio_s, path.stat().st_size, wanted.numpy())


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """{student: {scheme: {chunk: figures}}}; CPU time by the process, so that other programs hardly matter."""
    set_threads(1)
    sides = {
        (name, scheme, chunk): side_of(given.work / name, scheme, chunk)
        for name in given.only
        for chunk in chunks_of(given.work / name)
        for scheme in SCHEMES
    }
    before, own, started = busy_s(), time.process_time(), time.perf_counter()
    # By the call: what each hears lasts differently.
    times = in_turn({str(key): side.call for key, side in sides.items()}, 1.0, given.rounds)
    others = (busy_s() - before - (time.process_time() - own)) / (time.perf_counter() - started)
    found: dict[str, Any] = {}
    for key, side in sides.items():
        name, scheme, chunk = key
        cpu_ms = times[str(key)]["cpu_ms_per_s"]
        each = {"cpu_ms": cpu_ms, "cpu_ms_least": times[str(key)]["cpu_ms_per_s_least"], "audio_s": side.audio_s}
        each |= {"cpu_ms_per_s": cpu_ms / side.audio_s, "size_bytes": side.size_bytes}
        each["snr_db"] = float(compare(side.call(), side.wanted)["snr_db"])
        found.setdefault(name, {}).setdefault(scheme, {})[f"{20 * chunk} ms"] = each
    load = {"others_cpu_share": max(0.0, others), "load_1min": os.getloadavg()[0]}
    return {"threads": 1, "rounds": given.rounds, "sides": found, **load}


def chunks_of(folder: Path) -> tuple[int, ...]:
    """In frames; what does not stream hears a second at once, which stands as the first."""
    return CHUNKS[:1] if load_checkpoint(folder).encoder.config.blockers else CHUNKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True, dest="what")
    hearing, timing = what.add_parser("ways"), what.add_parser("speed")
    for name in ("corpora", "items", "teacher"):
        hearing.add_argument(name, type=str if name == "teacher" else Path)
    for one in (hearing, timing):
        one.add_argument("work", type=Path)
        one.add_argument("--only", nargs="+", required=True)
        one.add_argument("--name", default="", help="of the part, as for `students.py score`")
    hearing.add_argument("bundles", type=Path)
    hearing.add_argument("--most", type=int, default=5, help="tokens per phone, context and speaker")
    timing.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    prefix = f"{given.name}_" if given.name else ""
    Parts("students").put(**{prefix + given.what: ways(given) if given.what == "ways" else speed(given)})


if __name__ == "__main__":
    main()
