"""CPU time of a second of audio: our programs beside what a user would take instead, same weights, one thread.

    python benchmarks/beside.py FOLDER WHEELS --prepare      # makes every program: half an hour
    python benchmarks/beside.py FOLDER WHEELS                # measures them, in turn, and writes results/beside.json
    python benchmarks/beside.py --markdown                   # fills the table of docs/benchmarks.md from the results

HuBERT-base and DistilHuBERT have the random weights of a seed and hear one second of speech: ours; the exporter of
`transformers` (ExecuTorch with XNNPACK) on its own model as it is, with the weight norm of the position convolution
folded by hand, and so and in its static int8; ONNX Runtime with that model's fusions, and with its static int8, per
channel, the first convolution in float32. Both int8 are calibrated on other speech. Streaming students are the recipes
pocket-conv and distilhubert-streaming in chunks of 320 ms, which the exporter of `transformers` cannot have: ONNX
Runtime runs our step there. Google's speech embedding, which is smaller and knows words only, is the yardstick of a
small one; WHEELS is as for `words_cost.py`. SNR is against PyTorch.

CPU time (of the process) is what counts: it means something on a machine that others use too, wall time does not.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, busy_s, fill_table, read
from taught_ways import GOOGLE, RATE

from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.lower import Method, hushed, lower
from speechpress.compressor.export.prepare import Offline
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.parity import compare

CHUNK, CLIPS, WARM = 16, 8, 20  # frames of a chunk; seconds to calibrate on; chunks before the one that is measured
LAYERS = {"hubert-base": 12, "distilhubert": 2}
STUDENTS = ("pocket-conv", "distilhubert-streaming")
OURS = {"ours": "none", "ours int8": "int8"}
PLAIN, FOLDED, STATIC = "transformers", "transformers, folded", "transformers, folded, int8"
ORT, ORT_STATIC = "onnxruntime", "onnxruntime int8"
PAGE = "docs/benchmarks.md"
TABLE = (
    "| CPU ms per second of audio | ours | `transformers` | the same, folded | ONNX Runtime | ours, int8 "
    "| `transformers`, folded, int8 | ONNX Runtime, int8 |"
)
COLUMNS = ("ours", PLAIN, FOLDED, ORT, "ours int8", STATIC, ORT_STATIC)  # of its sides, in its order
ROWS = {"hubert-base": "HuBERT-base, 1 s", "distilhubert": "DistilHuBERT, 1 s"}
ROWS |= {name: f"`{name}`, chunks of 320 ms" for name in STUDENTS}
Call = Callable[[], np.ndarray]
Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Case:
    """One computation: what every side hears (with the state of a stream), more such to calibrate on, and PyTorch's."""

    audio_s: float
    inputs: Inputs
    others: list[Inputs]
    wanted: np.ndarray


def seconds_of_speech() -> list[torch.Tensor]:
    return list(torch.from_numpy(golden_clip(1.0 + CLIPS)).view(1 + CLIPS, 1, RATE))


# Whole recordings: a model of transformers.


def theirs(name: str, folded: bool) -> Any:
    """HubertModel with random weights, the same in every call; `folded`: its weight norm made plain weights."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    model = HubertModel(HubertConfig(num_hidden_layers=LAYERS[name])).eval()
    if folded:
        position = model.encoder.pos_conv_embed.conv
        torch.nn.utils.parametrize.remove_parametrizations(position, "weight")
    return model


@torch.no_grad()
def recording_case(name: str) -> Case:
    first, *others = seconds_of_speech()
    wanted = theirs(name, folded=False)(first).last_hidden_state[0].numpy()
    return Case(1.0, (first,), [(wave,) for wave in others], wanted)


def make_recording(name: str, case: Case, folder: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    if not (folder / "hf" / "config.json").exists():
        theirs(name, folded=False).save_pretrained(folder / "hf")
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder / "hf")
    encoder = open_source(str(folder / "hf")).encoder
    make_ours(Offline(encoder), case.inputs, folder)
    for side, folded, quantizer in ((PLAIN, False, None), (FOLDED, True, None), (STATIC, True, pt2e(case))):
        if not made(folder, side):
            save_transformers(theirs(name, folded), case, quantizer, folder / f"{side}.pte")
    if not made(folder, ORT):
        save_fused(theirs(name, folded=True), case, folder / f"{ORT}.onnx")
    if not made(folder, ORT_STATIC):
        plain = folder / "plain.onnx"
        save_onnx(OneOutput(theirs(name, folded=True)), case.inputs, plain)
        quantize_onnx(plain, case, folder / f"{ORT_STATIC}.onnx")


class OneOutput(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        return self.model(waves).last_hidden_state


def pt2e(case: Case) -> Any:
    """The int8 that transformers names for this backend: static, per channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from transformers.exporters import PT2EQuantizer

    kind = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    return PT2EQuantizer(kind, [{"input_values": wave} for (wave,) in case.others])


def save_transformers(model: Any, case: Case, quantizer: Any, path: Path) -> None:
    from transformers.exporters import ExecutorchConfig, ExecutorchExporter

    config = ExecutorchConfig(backend="xnnpack", quantizer=quantizer)
    with hushed():
        exported = ExecutorchExporter().export(model, {"input_values": case.inputs[0]}, config)
        exported.program.save(str(path))


def save_fused(model: Any, case: Case, path: Path) -> None:
    import onnx_ir
    from transformers.exporters import OnnxConfig, OnnxExporter

    with hushed():
        exported = OnnxExporter().export(model, {"input_values": case.inputs[0]}, OnnxConfig(ort_fusions="cpu"))
        onnx_ir.save(exported.program, str(path))


# Streams: our step.


@torch.no_grad()
def stream_case(name: str) -> tuple[Case, torch.nn.Module]:
    """A chunk in the middle of speech, and those before it to calibrate on."""
    torch.manual_seed(0)
    base = EncoderConfig()
    encoder = Encoder(student_config(load_recipe(name), base, base.width)[0]).eval()
    waves = torch.cat(seconds_of_speech(), 1)
    encoder.measure_statistics(waves)
    step, training = prepared_step(encoder, CHUNK), StreamingEncoder(encoder, CHUNK)
    state, heard = training.initial_state(), []
    for start in range(0, (WARM + 1) * CHUNK * 320, CHUNK * 320):
        chunk = waves[:, start : start + CHUNK * 320]
        heard.append((chunk, *(tensor.clone() for tensor in state.values())))
        frames, state = training.step(chunk, state)
    return Case(CHUNK / 50, heard[-1], heard[-1 - CLIPS : -1], frames[0].numpy()), step


def make_stream(step: torch.nn.Module, case: Case, folder: Path) -> None:
    make_ours(step, case.inputs, folder)
    if not made(folder, ORT):
        save_onnx(step, case.inputs, folder / f"{ORT}.onnx")
    if not made(folder, ORT_STATIC):
        quantize_onnx(folder / f"{ORT}.onnx", case, folder / f"{ORT_STATIC}.onnx")


# Both.


def made(folder: Path, side: str) -> bool:
    return any((folder / f"{side}{suffix}").exists() for suffix in (".pte", ".onnx"))


def make_ours(module: torch.nn.Module, inputs: Inputs, folder: Path) -> None:
    for side, scheme in OURS.items():
        if not made(folder, side):
            program = lower({"forward": Method(module, inputs)}, {}, "xnnpack", scheme).program
            (folder / f"{side}.pte").write_bytes(program)


def save_onnx(module: torch.nn.Module, inputs: Inputs, path: Path) -> None:
    with hushed(), torch.no_grad():
        torch.onnx.export(module, inputs, str(path), dynamo=True, external_data=False)


def quantize_onnx(plain: Path, case: Case, path: Path) -> None:
    """Static, per channel; the first convolution, which reads the waveform, stays in float32."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static

    shaped = path.with_suffix(".shaped")
    with hushed():
        quant_pre_process(str(plain), str(shaped))
    graph = onnx.load(str(shaped)).graph
    weights = {tensor.name for tensor in graph.initializer}
    names = [given.name for given in graph.input if given.name not in weights]
    first = next(node.name for node in graph.node if node.op_type == "Conv")

    class Heard(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([feed(names, inputs) for inputs in case.others])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}  # the fast pair on x86
    with hushed():
        quantize_static(str(shaped), str(path), Heard(), per_channel=True, nodes_to_exclude=[first], **kinds)
    shaped.unlink()


def feed(names: list[str], inputs: Inputs) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}


def opened(path: Path, inputs: Inputs) -> Call:
    if path.suffix == ".pte":
        program, arrays = Program(path, threads=1), [tensor.numpy() for tensor in inputs]
        return lambda: program.run("forward", *arrays)[0]
    import onnxruntime

    options = onnxruntime.SessionOptions()  # all of its optimisations are on unless told otherwise
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = feed([node.name for node in session.get_inputs()], inputs)
    return lambda: session.run(None, given)[0]


def in_turn(sides: dict[str, Call], audio_s: float, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each side per second of audio: of the processor (median and least) and by the clock (median)."""
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name, call in sides.items():
            started, spent = time.perf_counter(), time.process_time()
            call()
            if number >= 2:
                cpu[name].append(1000 * (time.process_time() - spent) / audio_s)
                wall[name].append(1000 * (time.perf_counter() - started) / audio_s)
    return {
        name: {"cpu_ms_per_s": statistics.median(cpu[name]), "cpu_ms_per_s_least": min(cpu[name])}
        | {"wall_ms_per_s": statistics.median(wall[name])}
        for name in sides
    }


def measure(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".pte", ".onnx") and path.stem != "plain")
    sides = {path.stem: opened(path, case.inputs) for path in files}
    snr = {name: compare(call()[0], case.wanted)["snr_db"] for name, call in sides.items()}
    before, own, started = busy_s(), time.process_time(), time.perf_counter()
    found: dict[str, Any] = in_turn(sides, case.audio_s, rounds)
    others = (busy_s() - before - (time.process_time() - own)) / (time.perf_counter() - started)
    for path in files:
        found[path.stem] |= {"snr_db": float(snr[path.stem]), "size_bytes": path.stat().st_size}
    return {"sides": found, "others_cpu_share": max(0.0, others), "load_1min": os.getloadavg()[0]}


def google(wheels: Path, rounds: int) -> dict[str, Any]:
    wave = torch.cat(seconds_of_speech(), 1)
    call = opened(wheels / GOOGLE, (wave,))
    found = in_turn({"google": call}, wave.shape[1] / RATE, rounds)["google"]
    return {**found, "size_bytes": (wheels / GOOGLE).stat().st_size}


def markdown() -> None:
    """Fill the table from the results: medians, in int8 with the SNR; a model that was not measured has no row."""
    found = read("beside")
    rows = [
        [label, *(_cell(found[name]["sides"], side) for side in COLUMNS)]
        for name, label in ROWS.items()
        if name in found
    ]
    google = f"{found['google']['cpu_ms_per_s']:.1f}"
    rows.append(["Google's speech embedding", *(google if side == ORT else "" for side in COLUMNS)])
    fill_table(PAGE, TABLE, rows)


def _cell(sides: dict[str, Any], side: str) -> str:
    if side not in sides:
        return ""
    time = f"{sides[side]['cpu_ms_per_s']:.1f}"
    return f"{time} ({sides[side]['snr_db']:.1f} dB)" if "int8" in side else time


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path, nargs="?", help="where the programs are kept")
    words.add_argument("wheels", type=Path, nargs="?")
    words.add_argument("--markdown", action="store_true", help="only fill the table from the results")
    words.add_argument("--prepare", action="store_true", help="only make the programs")
    words.add_argument("--models", nargs="+", default=[*LAYERS, *STUDENTS])
    words.add_argument("--rounds", type=int, default=15)
    given = words.parse_args()
    if given.markdown:
        markdown()
        return
    if given.folder is None or given.wheels is None:
        words.error("FOLDER and WHEELS are needed, but for --markdown")
    torch.set_num_threads(1)
    set_threads(1)
    if not given.prepare:
        libraries = {library: version(library) for library in ("transformers", "onnxruntime", "torchao")}
        # A part for each model, so that a run that is stopped keeps what it measured.
        document = Parts("beside")
        document.put(threads=1, libraries=libraries, google=google(given.wheels, given.rounds))
    for name in given.models:
        folder = given.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if name in LAYERS:
            case = recording_case(name)
            make_recording(name, case, folder)
        else:
            case, step = stream_case(name)
            make_stream(step, case, folder)
        print(name, "made", flush=True)
        if not given.prepare:
            document.put(**{name: {"audio_s": case.audio_s, **measure(case, folder, given.rounds)}})
            print(name, document[name], flush=True)


if __name__ == "__main__":
    main()
