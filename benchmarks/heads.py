"""Heads on a streaming student: phones, units and voice activity, from the checkpoint to the bundle as it runs.

    python benchmarks/heads.py STUDENT CORPORA OUT [--teacher FOLDER] [--chunk-ms 320]

STUDENT is the folder of a streaming checkpoint. That of the committed results was made, in an hour of one core, by

    compress distill --recipe distilhubert-streaming --teacher hubert-mini --data speechocean762
      --data arabic_speech_commands --data asterisk_en_allison, and --set of: student.layers=4
      student.projection_norm=true match.style=layers match.layers=[] match.pairs=[[1,1],[2,2],[3,4],[4,6]]
      match.depth=6 streaming.chunk_ms=[80,640] streaming.full_context=0.15 train.steps=700 train.lr=1e-3
      train.crop_s=4 train.batch=24 train.precision=bf16 train.front_end_grad=1.0

CORPORA holds the unpacked corpora of the mini suite. OUT gets a copy
of the student with its heads, one of the teacher (the built-in hubert-mini unless told) with a phone head of its own,
and an int8 bundle with all heads; what is there already is not made again.

Phones: the error rate on the test clips of speechocean762, by the student on whole recordings in float32, by the same
in chunks, by the int8 bundle chunk by chunk, and by the teacher; all greedy, each pair with a bootstrap over clips.
Units: how often the int8 bundle gives the frame the unit that the student gives on whole recordings; their mutual
information with phones (PNMI); their bits per second, also with repeats dropped. Writes results/heads.json.
"""

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import compress, write

from speechpress.compressor.data.sounds import read_sound
from speechpress.compressor.heads.cluster import joint_counts, pnmi
from speechpress.compressor.heads.data import open_task
from speechpress.compressor.heads.files import KeptHead, read_heads
from speechpress.compressor.heads.judge import said_by
from speechpress.compressor.models.answering import hear, with_heads
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import chunk_frames_of
from speechpress.compressor.starter import TEACHER
from speechpress.compressor.tasks.align import aligned
from speechpress.compressor.tasks.kinds import Item
from speechpress.compressor.tasks.metrics import edit_counts, error_rate
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.program_checks import heard

HEADS = {"phones": ["--task", "pr"], "vad": ["--task", "vad"], "units": ["--task", "units"]}
OWN_DATA = {"vad": "speechocean762", "units": "speechocean762"}
OF_CARD = ("metric", "value", "ci95", "parameters")
DRAWS = 1000
Answers = Mapping[str, Mapping[str, np.ndarray]]
Hear = Callable[[np.ndarray], Answers]


def make_all(given: argparse.Namespace) -> None:
    """Checkpoints with heads, and the bundle, unless they are there."""
    for name, source, wanted in (
        ("student", given.student, HEADS),
        ("teacher", given.teacher, {"phones": HEADS["phones"]}),
    ):
        folder = given.out / name
        if not folder.exists():
            shutil.copytree(source, folder)
        for head, words in wanted.items():
            if not (folder / "heads" / f"{head}.safetensors").exists():
                data = given.corpora / OWN_DATA[head] if head in OWN_DATA else given.corpora
                compress("head", folder, *words, "--data", data, "--name", head, "--cache", given.out / "cache")
    if not (given.out / "bundle" / "bundle.json").exists():
        order = ["export", given.out / "student", "--target", "host", "--quantize", "int8", "--heads", "all"]
        compress(*order, "--chunk-ms", given.chunk_ms, "--out", given.out / "bundle")


@torch.inference_mode()
def _of_encoder(encoder: Encoder, chunk: int | None) -> Hear:
    def run(wave: np.ndarray) -> Answers:
        answers = hear(encoder, torch.from_numpy(wave)[None], chunk)[1]
        return {head: {name: value[0].numpy() for name, value in found.items()} for head, found in answers.items()}

    return torch.inference_mode()(run)


def ways(given: argparse.Namespace) -> dict[str, Hear]:
    """Everybody who answers, by what stands in the results."""
    student = with_heads(load_encoder(given.out / "student"), read_heads(given.out / "student"))
    teacher = with_heads(load_encoder(given.out / "teacher"), read_heads(given.out / "teacher"))
    engine = PteEngine(given.out / "bundle", given.chunk_ms)
    return {
        "teacher": _of_encoder(teacher, None),
        "offline fp32": _of_encoder(student, None),
        "streaming fp32": _of_encoder(student, chunk_frames_of(student.config, given.chunk_ms)),
        "streaming int8": lambda wave: heard(engine, wave).answers,
    }


def phones(items: Sequence[Item], said: Mapping[str, list[Answers]], heads: Mapping[str, KeptHead]) -> dict[str, Any]:
    """Error rates, and by how much each is worse than the one before it, relative, with 95 % intervals."""
    counts = {
        name: np.array(
            [
                edit_counts(item.target, said_by(found["phones"]["logits"], heads[name].labels))
                for item, found in zip(items, answers, strict=True)
            ],
            float,
        )
        for name, answers in said.items()
    }
    draw = np.random.default_rng(0)
    rows = draw.integers(len(items), size=(DRAWS, len(items)))

    def worse(than: str, name: str) -> dict[str, Any]:
        each = [error_rate(counts[name][row]) / error_rate(counts[than][row]) - 1 for row in rows]
        low, high = np.quantile(each, (0.025, 0.975))
        return {"share": error_rate(counts[name]) / error_rate(counts[than]) - 1, "ci95": [float(low), float(high)]}

    return {
        "clips": len(items),
        "per": {name: error_rate(each) for name, each in counts.items()},
        "worse": {
            "by streaming": worse("offline fp32", "streaming fp32"),
            "by 8 bits": worse("streaming fp32", "streaming int8"),
            "by both": worse("offline fp32", "streaming int8"),
        },
    }


def units(items: Sequence[Item], said: Mapping[str, list[Answers]], recogniser: KeptHead) -> dict[str, Any]:
    """Units of the student on whole recordings and of the bundle, frame by frame."""
    names = [label for label in recogniser.labels if label]
    sides = {name: [found["units"]["ids"][:, 0] for found in said[name]] for name in ("offline fp32", "streaming int8")}
    one, other = (np.concatenate(ids) for ids in sides.values())
    count = said["offline fp32"][0]["units"]["distances"].shape[1]
    joint = {name: np.zeros((len(names), count)) for name in sides}
    for place, item in enumerate(items):
        logits = torch.from_numpy(said["offline fp32"][place]["phones"]["logits"])
        marks = aligned(logits.log_softmax(-1).numpy(), [recogniser.labels.index(phone) for phone in item.target])
        if marks is None:
            continue
        numbers = np.array([names.index(phone) for phone in item.target])
        of_frame = np.where(marks >= 0, numbers[np.maximum(marks, 0)], -1)
        for name, ids in sides.items():
            joint[name] += joint_counts(of_frame, ids[place], joint[name].shape)
    return {
        "clusters": count,
        "frames": len(one),
        "same unit": float((one == other).mean()),
        "pnmi": {name: pnmi(found) for name, found in joint.items()},
        "bits_per_s": {name: bit_rates(ids) for name, ids in sides.items()},
    }


def bit_rates(ids: Sequence[np.ndarray], frames_per_s: float = 50.0) -> dict[str, float]:
    """Entropy of a unit times how many there are in a second; of all frames, and with repeats dropped."""
    kept = [one[np.flatnonzero(np.diff(one, prepend=-1))] for one in ids]
    frames = sum(map(len, ids))
    return {
        name: entropy(part) * sum(map(len, part)) / frames * frames_per_s
        for name, part in (("all", ids), ("deduplicated", kept))
    }


def entropy(ids: Sequence[np.ndarray]) -> float:
    """Bits."""
    shares = np.unique(np.concatenate(list(ids)), return_counts=True)[1] / sum(map(len, ids))
    return float(-(shares * np.log2(shares)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, default=TEACHER)
    parser.add_argument("--chunk-ms", type=float, default=320.0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    make_all(given)
    items = open_task("pr", given.corpora).part("test")
    waves = [np.asarray(read_sound(item.sound), np.float32) for item in items]
    said = {}
    for name, run in ways(given).items():
        print(f"{name}: {len(waves)} clips")
        said[name] = [run(wave) for wave in waves]
    own = read_heads(given.out / "student")
    heads = dict.fromkeys(said, own["phones"]) | {"teacher": read_heads(given.out / "teacher")["phones"]}
    found = {
        "chunk_ms": given.chunk_ms,
        "phones": phones(items, said, heads),
        "units": units(items, said, own["phones"]),
        "cards": {
            name: {key: head.card.get(key) for key in ("metric", "value", "ci95", "parameters")}
            for name, head in own.items()
        },
    }
    write("heads", found)


if __name__ == "__main__":
    main()
