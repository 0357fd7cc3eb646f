"""The students of benchmarks/students.py as they run on a device: in chunks, in 8 bits, and how long they take.

    python benchmarks/students_device.py ways CORPORA ITEMS TEACHER WORK BUNDLES --only pocket-0 --name small
    python benchmarks/students_device.py standardised CORPORA ITEMS TEACHER WORK CHOSEN --only distilhubert-longest-0
    python benchmarks/students_device.py speed WORK --only pocket-0 distilhubert-20s-0 --name small

`standardised` asks ABX with each dimension of each layer standardised by CHOSEN, the speech that was trained on, as the
output of `pocket` is by itself. `ways` asks ABX of a streaming student over whole recordings and in chunks of 80 to 640
ms, and of BUNDLES/NAME, its bundle, as it runs, where there is one. `speed` measures CPU time of one thread in int8 and
int8-linear, all students in turn: a chunk of 320 ms (and of 80 ms) of a stream, and one second at once of a student
that does not stream; and how close each program is to PyTorch on speech. Each adds a part to results/students.json.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beside import in_turn
from common import Parts, busy_s
from gpu_students import some_speech

from speechpress.compressor.abx.evaluate import Request, evaluate_abx, measure, plan_abx
from speechpress.compressor.abx.items import read_items
from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.distill.run import OUTPUT_S
from speechpress.compressor.distill.standardise import least_scale
from speechpress.compressor.evaluate.features import Upstream
from speechpress.compressor.evaluate.upstreams import encoder_upstream, teacher_upstream
from speechpress.compressor.export.export import step_method
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare import Offline
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.teachers.load import load_teacher
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


def standardised(given: argparse.Namespace) -> dict[str, Any]:
    """{student or "teacher": errors of every layer}; students as `students.py score` hears them."""
    request = Request(given.items, given.corpora / "speechocean762" / "audio", given.most, None)
    tokens = read_items(request.items, request.data)
    opened = {name: load_checkpoint(given.work / name).encoder for name in given.only}
    upstreams = {
        name: encoder_upstream(encoder, None if encoder.config.blockers else CHUNKS[0])
        for name, encoder in opened.items()
    }
    upstreams["teacher"] = teacher_upstream(load_teacher(given.teacher))
    found = {}
    for name, upstream in upstreams.items():
        even = evened(upstream, list(some_speech(given.chosen, OUTPUT_S)))
        found[name], _ = measure(even, plan_abx(tokens, {name: even}, request), request)
        tell(f"{name}: {found[name]}")
    return found


@torch.no_grad()
def evened(upstream: Upstream, waves: Sequence[torch.Tensor]) -> Upstream:
    """The same with every dimension of every layer at mean 0 and deviation 1 over `waves`, (1, S) each."""
    heard = torch.cat([torch.stack([layer[0] for layer in upstream.states(wave)]) for wave in waves], 1)
    spread, mean = torch.std_mean(heard, 1, correction=0)
    by = list(zip(mean, least_scale(spread), strict=True))
    states = upstream.states
    return replace(
        upstream,
        key="",
        states=lambda wave: [(x - one) / size for x, (one, size) in zip(states(wave), by, strict=True)],
    )


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


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "ways": ways,
    "standardised": standardised,
    "speed": speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True, dest="what")
    hearing, evening, timing = (what.add_parser(name) for name in MEASURES)
    for one in (hearing, evening):
        for name in ("corpora", "items", "teacher"):
            one.add_argument(name, type=str if name == "teacher" else Path)
        one.add_argument("--most", type=int, default=5, help="tokens per phone, context and speaker")
    for one in (hearing, evening, timing):
        one.add_argument("work", type=Path)
        one.add_argument("--only", nargs="+", required=True)
        one.add_argument("--name", default="", help="of the part, as for `students.py score`")
    hearing.add_argument("bundles", type=Path)
    evening.add_argument("chosen", type=Path)
    timing.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    prefix = f"{given.name}_" if given.name else ""
    Parts("students").put(**{prefix + given.what: MEASURES[given.what](given)})


if __name__ == "__main__":
    main()
