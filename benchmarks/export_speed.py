"""Milliseconds per call of an exported program against PyTorch eager, torch.compile and ONNX Runtime, same weights.

    python benchmarks/export_speed.py [--models distilhubert pocket] [--threads 1 2] [--rounds 15] [--compile]

Random weights; every side runs the same prepared module, so that only the runtimes differ, and eager also runs the
training module ("training"). Cases are chunks of 80, 160 and 320 ms (of models that stream) and recordings of 1 and 10
seconds. Sides run in turn; medians; what other processes used of the machine stands beside them. Load time is from the
file on disk to the first result, peak memory that of a fresh process that does just this. ONNX Runtime takes part when
onnx, onnxscript and onnxruntime are installed.
"""

import argparse
import importlib.util
import json
import resource
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
from common import alternate, write

from speechpress.compressor.config import EncoderConfig
from speechpress.compressor.encoder import Encoder
from speechpress.compressor.lower import Method, hushed, lower
from speechpress.compressor.prepare import Offline, prepared_step
from speechpress.compressor.recipe import student_config
from speechpress.compressor.recipe_file import load_recipe
from speechpress.compressor.streaming import StreamingEncoder
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.parity import compare

CHUNKS, SECONDS = (4, 8, 16), (1, 10)
SCHEMES = ("none", "int8")
Call = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One method: the prepared module, the training module, and inputs."""

    name: str
    module: torch.nn.Module
    training: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]


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
        cases.append(Case(f"chunk {20 * frames} ms", step, training, inputs))
    for seconds in SECONDS:
        audio = torch.randn(1, 16_000 * seconds) * 0.1
        cases.append(Case(f"recording {seconds} s", Offline(encoder), encoder, (audio,)))
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
    """The programs of one case on disk."""
    files = {}
    for scheme in SCHEMES:
        path = folder / f"{scheme}.pte"
        path.write_bytes(lower({"forward": Method(case.module, case.inputs)}, {}, "xnnpack", scheme).program)
        files[f"ours {scheme}"] = path
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        from onnxruntime.quantization import quantize_dynamic

        with hushed():
            torch.onnx.export(case.module, case.inputs, str(folder / "onnx.onnx"), dynamo=True, external_data=False)
            quantize_dynamic(str(folder / "onnx.onnx"), str(folder / "onnx8.onnx"))
        files |= {"onnxruntime": folder / "onnx.onnx", "onnxruntime int8": folder / "onnx8.onnx"}
    return files


def opened(path: Path, case: Case, threads: int) -> Call:
    return executorch(path, case) if path.suffix == ".pte" else onnxruntime(path, case, threads)


def alone(path: Path, arrays: Path, threads: int) -> None:
    """Run in a process of its own: print its seconds from file to first result, and its peak memory in bytes."""
    loaded = np.load(arrays)
    inputs = tuple(torch.from_numpy(loaded[name]) for name in loaded.files)
    set_threads(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    opened(path, Case("", torch.nn.Identity(), torch.nn.Identity(), inputs), threads)()
    load_s = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"load_ms": 1000 * load_s, "peak_rss_bytes": peak * 1024, "before_bytes": before * 1024}))


def measured_alone(path: Path, case: Case, threads: int) -> dict[str, float]:
    arrays = path.parent / "inputs.npz"
    np.savez(arrays, *[tensor.numpy() for tensor in case.inputs])
    command = [sys.executable, __file__, "--alone", str(path), str(arrays), "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def measure(case: Case, threads: int, rounds: int, compiled: bool, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(threads)
    set_threads(threads)
    files = files_of(case, folder)
    sides = {name: opened(path, case, threads) for name, path in files.items()}
    sides |= {"training": eager(case.training, case.inputs), "eager": eager(case.module, case.inputs)}
    if compiled:
        sides["torch.compile"] = eager(torch.compile(case.module), case.inputs)
    wanted = sides["eager"]()[0]
    parity = {name: compare(call()[0], wanted) for name, call in sides.items()}
    times = alternate(sides, rounds)
    others = times.pop("others_cpu_share")
    for name, row in times.items():
        row |= {"snr_db": parity[name]["snr_db"]}
        if name in files:
            row |= {"size_bytes": files[name].stat().st_size, **measured_alone(files[name], case, threads)}
    return {"sides": times, "others_cpu_share": others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["hubert-base", "distilhubert", "distilhubert-streaming", "pocket"]
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", help="only these, such as 'chunk 320 ms'")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes half a minute per case")
    parser.add_argument("--alone", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(*options.alone, options.threads[0])
    document: dict[str, Any] = {}
    for model in options.models:
        for case in cases_of(model):
            if options.cases and case.name not in options.cases:
                continue
            for threads in options.threads:
                with tempfile.TemporaryDirectory() as folder:
                    result = measure(case, threads, options.rounds, options.compile, Path(folder))
                document.setdefault(model, {}).setdefault(case.name, {})[str(threads)] = result
                print(f"{model}, {case.name}, {threads} threads, others used {result['others_cpu_share']:.2f} cores")
                for name, row in result["sides"].items():
                    size = f"{row['size_bytes'] / 1e6:7.1f} MB" if "size_bytes" in row else " " * 10
                    print(f"  {name:18} {row['median_ms']:9.1f} ms {row['snr_db']:7.1f} dB {size}")
    write("export_speed", document)


if __name__ == "__main__":
    main()
