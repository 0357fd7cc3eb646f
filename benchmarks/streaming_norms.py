"""Which norm a streaming student should have: after its first convolution, and on its input.

    python benchmarks/streaming_norms.py CORPORA OUT [--steps 60]

The teacher is the starter's hubert-mini with the input scaled over the whole utterance, as large models do, so that
the loudness of a recording changes nothing in it. Students with a thin front end are trained from random weights on the
same speech for the same steps: with `static` or `frame` (a LayerNorm per frame) after the first convolution, each with
the input as it is (`none`) or scaled by its past (`running`), and with a LayerNorm after every convolution (`layer`).
Each is then held against the teacher on held-out speech, in chunks of 320 ms, as recorded and made softer and louder;
and one chunk of 80 ms is timed. Writes results/streaming_norms.json.
"""

import argparse
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from common import alternate, compress, write
from real_run import STUDENT, TRAIN

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.heldout import heldout_waves, split_heldout
from speechpress.compressor.distill.objectives import load_heads
from speechpress.compressor.distill.step import Distiller
from speechpress.compressor.distill.validation import validate
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.starter import TEACHER
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.json_file import json_text

VARIANTS = [*itertools.product(("static", "frame"), ("none", "running")), ("layer", "none")]
GAINS_DB = (-20, -10, 0, 10)
CHUNK_FRAMES, TIMED_FRAMES = 16, 4
CORPORA = ("speechocean762", "arabic_speech_commands")


def normalizing_teacher(folder: Path) -> Path:
    """hubert-mini that scales its input over the utterance."""
    shutil.copytree(TEACHER, folder, dirs_exist_ok=True)
    document = json.loads((folder / "config.json").read_text())
    document["speechpress"]["encoder"]["input_norm"] = "utterance"
    (folder / "config.json").write_text(json_text(document))
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json_text(preprocessor | {"do_normalize": True}))
    return folder


def train(teacher: Path, corpora: Path, out: Path, conv_norm: str, input_norm: str, steps: int) -> None:
    own = [f"student.conv_norm={conv_norm}", f"student.input_norm={input_norm}", f"train.steps={steps}"]
    settings = [*STUDENT, *TRAIN, *own, f"train.validate_every={steps}"]
    sets = [word for setting in settings for word in ("--set", setting)]
    data = [word for name in CORPORA for word in ("--data", corpora / name)]
    compress("distill", "--recipe", "distilhubert-streaming", "--teacher", teacher, *data, "--out", out, *sets)


def measure(folder: Path, teacher: Any, waves: list[torch.Tensor]) -> dict[str, float]:
    """Mean cosine over the matched layers, per gain."""
    encoder = load_encoder(folder)
    heads = load_heads(folder, encoder.config.width, teacher.card.width)
    assert heads is not None
    module, found = Distiller(encoder, heads), {}
    layers = tuple(heads.layers)
    for gain_db in GAINS_DB:
        louder = [wave * 10 ** (gain_db / 20) for wave in waves]
        parts = validate(module, teacher, layers, louder, CHUNK_FRAMES)
        found[str(gain_db)] = sum(part["cosine"] for part in parts.values()) / len(parts)
    return found


def timings(folders: dict[str, Path]) -> dict[str, Any]:
    """One chunk of 80 ms with each student, in turn, one thread."""
    torch.set_num_threads(1)
    sides = {}
    for name, folder in folders.items():
        model = StreamingEncoder(load_encoder(folder), TIMED_FRAMES)
        chunk, state = torch.randn(1, model.spec.chunk_samples), model.initial_state()
        sides[name] = lambda model=model, chunk=chunk, state=state: model.step(chunk, state)
    with torch.inference_mode():
        return alternate(sides, rounds=200, warmup=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    source = normalizing_teacher(given.out / "teacher")
    folders = {f"{conv}, {scale}": given.out / f"{conv}-{scale}" for conv, scale in VARIANTS}
    for (conv, scale), out in zip(VARIANTS, folders.values(), strict=True):
        if not (out / "card.json").exists():
            train(source, given.corpora, out, conv, scale, given.steps)
    teacher = load_teacher(str(source))
    corpus = open_corpus(*(given.corpora / name for name in CORPORA))
    waves = heldout_waves(split_heldout(corpus, seconds=120, seed=0)[1], 4.0)
    results = {name: measure(folder, teacher, waves) for name, folder in folders.items()}
    times = timings(folders)
    print(f"{'first norm, input norm':24}" + "".join(f"{gain:>8} dB" for gain in GAINS_DB) + "   ms per 80 ms")
    for name, gains in results.items():
        row = "".join(f"{value:11.3f}" for value in gains.values())
        print(f"{name:24}{row}   {times[name]['median_ms']:.2f}")
    write("streaming_norms", {"steps": given.steps, "cosine_by_gain_db": results, "times": times, "threads": 1})


if __name__ == "__main__":
    main()
