"""Milliseconds per call of an exported program against PyTorch eager, torch.compile and ONNX Runtime, same weights.

    python benchmarks/export_speed.py --folder DIR --prepare [--compile]      # lowers everything: half an hour
    python benchmarks/export_speed.py --folder DIR [--compile] [--models distilhubert pocket-conv] [--threads 1 2]

Random weights; every side runs the same prepared module, so that only the runtimes differ, and eager also runs the
training module ("training"). Cases are chunks of 80, 160 and 320 ms (of models that stream) and recordings of 1 and 10
seconds. Sides run in turn; medians; what other processes used of the machine stands beside them. Load time is from the
file on disk to the first result, peak memory that of a fresh process that does just this, `peak` the share of the
fastest float32 matrix product of this machine. ONNX Runtime takes part when onnx, onnxscript and onnxruntime are
installed: in float32, with its dynamic int8 and with its static int8 (QDQ, calibrated on inputs like the measured one).
Programs are made first and kept in --folder, so that measuring needs a quiet machine for minutes only.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, alternate, stamp

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.lower import Method, hushed, lower
from speechpress.compressor.export.prepare import Offline
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.costs import attention_macs_per_s, macs_per_s, stream_costs
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.json_file import json_text
from speechpress.runtime.parity import compare

CHUNKS, SECONDS, TRACED = (4, 8, 16), (1, 10), 21
SCHEMES = ("none", "int8")
Call = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One method: the prepared module, the training module, and inputs."""

    name: str
    module: torch.nn.Module
    training: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]
    flops: float


def config_of(name: str) -> EncoderConfig:
    if name == "hubert-base":
        return EncoderConfig()
    base = EncoderConfig()
    config, _ = student_config(load_recipe(name), base, base.width)
    return replace(config, conv_norm="static") if not config.blockers else config


def cases_of(name: str) -> list[Case]:
    torch.manual_seed(0)
    encoder = Encoder(config_of(name)).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    cases = []
    for frames in () if encoder.config.blockers else CHUNKS:
        step, training = prepared_step(encoder, frames), StreamingEncoder(encoder, frames)
        inputs = (torch.randn(1, frames * 320) * 0.1, *step.initial_state().values())
        cost = stream_costs(encoder.config, frames)["macs_per_s"] * frames / 50
        cases.append(Case(f"chunk {20 * frames} ms", step, training, inputs, 2 * cost))
    for seconds in SECONDS:
        audio = torch.randn(1, 16_000 * seconds) * 0.1
        cost = (macs_per_s(encoder.config) + attention_macs_per_s(encoder.config, seconds)) * seconds
        cases.append(Case(f"recording {seconds} s", Offline(encoder), encoder, (audio,), 2 * cost))
    return cases


def eager(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Call:
    @torch.inference_mode()
    def call() -> np.ndarray:
        output = module(*inputs)
        return (output[0] if isinstance(output, tuple) else output).numpy()

    return call


def executorch(path: Path, case: Case) -> Call:
    program, arrays = Program(path), [tensor.numpy() for tensor in case.inputs]
    return lambda: program.run("forward", *arrays)[0]


def onnxruntime(path: Path, case: Case, threads: int) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {given.name: tensor.numpy() for given, tensor in zip(session.get_inputs(), case.inputs, strict=True)}
    return lambda: session.run(None, feed)[0]


def files_of(case: Case, folder: Path) -> dict[str, Path]:
    """The programs of one case on disk; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"ours {scheme}": folder / f"{scheme}.pte" for scheme in SCHEMES}
    for scheme, path in zip(SCHEMES, files.values(), strict=True):
        if not path.exists():
            path.write_bytes(lower({"forward": Method(case.module, case.inputs)}, {}, "xnnpack", scheme).program)
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        files |= onnx_files(case, folder)
    return files


def onnx_files(case: Case, folder: Path) -> dict[str, Path]:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        quant_pre_process,
        quantize_dynamic,
        quantize_static,
    )

    plain, shaped = folder / "onnx.onnx", folder / "shaped.onnx"
    files = {"onnxruntime": plain, "onnxruntime int8": folder / "onnx8.onnx"}
    files["onnxruntime int8 static"] = folder / "onnx8s.onnx"
    if all(path.exists() for path in files.values()):
        return files

    class Inputs(CalibrationDataReader):
        def __init__(self, names: list[str]) -> None:
            self.rows = iter(
                [dict(zip(names, (i.numpy() for i in variant(case, seed)), strict=True)) for seed in (1, 2)]
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    with hushed():
        torch.onnx.export(case.module, case.inputs, str(plain), dynamo=True, external_data=False)
        quant_pre_process(str(plain), str(shaped))
        quantize_dynamic(str(shaped), str(files["onnxruntime int8"]))
        import onnxruntime as ort

        names = [given.name for given in ort.InferenceSession(str(shaped)).get_inputs()]
        static = files["onnxruntime int8 static"]
        quantize_static(str(shaped), str(static), Inputs(names), quant_format=QuantFormat.QDQ, per_channel=True)
    return files


def variant(case: Case, seed: int) -> tuple[torch.Tensor, ...]:
    """Other audio, the same state."""
    audio = torch.randn(case.inputs[0].shape, generator=torch.Generator().manual_seed(seed)) * 0.1
    return (audio, *case.inputs[1:])


def opened(path: Path, case: Case, threads: int) -> Call:
    return executorch(path, case) if path.suffix == ".pte" else onnxruntime(path, case, threads)


def alone(path: Path, arrays: Path, threads: int) -> None:
    """Run in a process of its own: print its seconds from file to first result, and its peak memory in bytes."""
    loaded = np.load(arrays)
    inputs = tuple(torch.from_numpy(loaded[name]) for name in loaded.files)
    set_threads(threads)
    before = peak_rss_bytes()
    started = time.perf_counter()
    opened(path, Case("", torch.nn.Identity(), torch.nn.Identity(), inputs, 0.0), threads)()
    load_s = time.perf_counter() - started
    print(json_text({"load_ms": 1000 * load_s, "peak_rss_bytes": peak_rss_bytes(), "before_bytes": before}))


def peak_rss_bytes() -> int:
    """Of this process (Linux); getrusage would count what its parent had when it was forked."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def measured_alone(path: Path, case: Case, threads: int) -> dict[str, float]:
    arrays = path.parent / "inputs.npz"
    np.savez(arrays, *[tensor.numpy() for tensor in case.inputs])
    command = [sys.executable, __file__, "--alone", str(path), str(arrays), "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def measure(case: Case, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(threads)
    set_threads(threads)
    files = files_of(case, folder)
    sides = {name: opened(path, case, threads) for name, path in files.items()}
    sides |= {"training": eager(case.training, case.inputs), "eager": eager(case.module, case.inputs)}
    if options.compile:
        sides["torch.compile"] = eager(torch.compile(case.module), case.inputs)
    wanted = sides["eager"]()[0]
    parity = {name: compare(call()[0], wanted) for name, call in sides.items()}
    once = sum(timed(call) for call in sides.values())
    times = alternate(sides, max(5, min(options.rounds, round(options.seconds / once))))
    others = times.pop("others_cpu_share")
    gemm = gemm_flops()
    for name, row in times.items():
        row |= {"snr_db": parity[name]["snr_db"], "peak": case.flops / (row["median_ms"] / 1000) / gemm}
        if name in files:
            row |= {"size_bytes": files[name].stat().st_size}
        if name in files and threads == options.threads[0]:
            row |= measured_alone(files[name], case, threads)
    return {"sides": times, "others_cpu_share": others, "gemm_gflops": gemm / 1e9, "gflop": case.flops / 1e9}


def timed(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def gemm_flops() -> float:
    """The fastest of several products of two float32 matrices, operations per second."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(timed(lambda: (a @ a).numpy()) for _ in range(7))


def outside_share(folder: Path, case: Case) -> float:
    """Share of a call that no instruction of the program takes: audio and state in, frames and state out."""
    program = Program(folder / "none.pte", threads=1, trace=True)
    arrays = [tensor.numpy() for tensor in case.inputs]
    wall_ms = [1000 * timed(lambda: program.run("forward", *arrays)[0]) for _ in range(TRACED)]
    with tempfile.TemporaryDirectory() as own, hushed():
        from executorch.devtools import Inspector

        program.write_trace(Path(own) / "trace")
        events = [event for block in Inspector(etdump_path=f"{own}/trace").event_blocks for event in block.events]
    calls = [event.perf_data.raw for event in events if event.name == "Method::execute" and event.perf_data]
    return 1 - statistics.median(calls[0]) / statistics.median(wall_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["hubert-base", "distilhubert", "distilhubert-streaming", "pocket-conv"]
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", help="only these, such as 'chunk 320 ms'")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes half a minute per case")
    parser.add_argument("--seconds", type=float, default=25.0, help="at most so long per case, but five rounds")
    parser.add_argument("--folder", type=Path, help="where the programs are kept")
    parser.add_argument("--prepare", action="store_true", help="only make the programs")
    parser.add_argument("--alone", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(*options.alone, options.threads[0])
    kept = tempfile.TemporaryDirectory()
    options.folder = options.folder or Path(kept.name)
    document = Parts("export_speed")
    for model in options.models:
        for case in cases_of(model):
            if options.cases and case.name not in options.cases:
                continue
            folder = options.folder / model / case.name.replace(" ", "-")
            if options.prepare:
                files_of(case, folder)
                print(f"{model}, {case.name}: made", flush=True)
                continue
            for threads in options.threads:
                result = measure(case, threads, options, folder)
                if case.name.startswith("chunk") and threads == 1:
                    result["outside_share"] = outside_share(folder, case)
                cases = document.get(model, {})
                # With its own stamp: a model's cases may be of several runs.
                of_case = {**cases.get(case.name, {}), str(threads): {**result, "stamp": stamp()}}
                document.put(**{model: {**cases, case.name: of_case}})
                show(f"{model}, {case.name}, {threads} threads", result)


def show(title: str, result: dict[str, Any]) -> None:
    outside = f", {result['outside_share']:.1%} outside of the program" if "outside_share" in result else ""
    print(f"{title}, others used {result['others_cpu_share']:.2f} cores{outside}")
    for name, row in result["sides"].items():
        size = ""
        if "load_ms" in row:
            used = (row["peak_rss_bytes"] - row["before_bytes"]) / 1e6
            size = f"{row['size_bytes'] / 1e6:7.1f} MB, loaded in {row['load_ms']:.0f} ms, +{used:.0f} MB"
        print(f"  {name:24} {row['median_ms']:9.2f} ms {row['peak']:6.1%} {row['snr_db']:7.1f} dB {size}", flush=True)


if __name__ == "__main__":
    main()
