"""What streaming costs in quality, and what it saves: four ways to get features of live audio, on real speech.

    python benchmarks/streaming_quality.py TEACHER CORPORA OFFLINE OUT [--steps 400]

TEACHER and CORPORA as in real_run.py; OFFLINE is a finished offline student, such as real_run.py's `distilhubert`. From
it two students are trained for the same further steps: (a) one that streams, with `distilhubert-streaming`, and (b) one
that does not, with `distilhubert`. Then, at every chunk size,

    (a) streaming    the streaming student in chunks
    (b) offline      the offline student on the whole recording
    (c) masked       the offline student with nothing beyond the chunk, and the left context of (a)
    (d) sliding      the offline student run anew on the last second at every chunk, of which the new frames are kept

are held against the teacher (mean cosine of the heads, test clips) and probed (keywords: Arabic, unseen speakers;
speakers: 50-way). Writes results/streaming_quality.json.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import compress, write
from real_run import STUDENT, TRAIN
from torch import Tensor

from speechpress.compressor.data.sounds import read_sound
from speechpress.compressor.distill.objectives import Heads, l1_and_cosine, load_heads
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.features import LOG_MEL, Upstream, of_model
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import score_tasks
from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.encoder import Encoder, chunk_mask
from speechpress.compressor.tasks.folder import make_task, whole_test_clips
from speechpress.compressor.tasks.task import Task
from speechpress.compressor.teachers.load import Teacher, load_teacher

CHUNKS_MS = (80, 160, 320, 640)
WINDOW_FRAMES = 50  # 1.005 s: the shortest window of at least a second that keeps the frames' grid
FIDELITY_CLIPS = 60
States = Callable[[Tensor], Sequence[Tensor]]


def train(recipe: str, teacher: Path, corpora: Path, start: Path, out: Path, steps: int) -> None:
    settings = [*STUDENT, *TRAIN, f"student.init={start}", f"train.steps={steps}", "train.lr=5e-4"]
    settings.append(f"train.validate_every={max(1, steps // 4)}")
    sets = [word for setting in settings for word in ("--set", setting)]
    data = [word for name in ("speechocean762", "arabic_speech_commands") for word in ("--data", corpora / name)]
    compress("distill", "--recipe", recipe, "--teacher", teacher, *data, "--out", out, *sets)


def masked(encoder: Encoder, like: Encoder, chunk_frames: int) -> States:
    """(c): neither position convolution nor attention sees beyond the end of the chunk."""

    def states(waves: Tensor) -> Sequence[Tensor]:
        x = encoder.feature_projection(encoder.feature_extractor(waves))
        context, frames = encoder.encoder, x.shape[1]
        conv = context.pos_conv_embed
        first = like.config.stream_spec(chunk_frames).first_frame
        before = F.pad(x, (0, 0, conv.past, 0))
        ends = [*range(first + chunk_frames, frames, chunk_frames), frames]
        starts = [0, *ends[:-1]]
        positions = [
            conv.inside(F.pad(before[:, start : end + conv.past], (0, 0, 0, conv.future)))
            for start, end in zip(starts, ends, strict=True)
            if end > start
        ]
        mask = chunk_mask(like.config, frames, chunk_frames)
        layers = [context.first(x + torch.cat(positions, 1))]
        for layer in context.layers:
            layers.append(layer(layers[-1], mask)[0])
        return layers

    return states


def sliding(encoder: Encoder, chunk_frames: int) -> States:
    """(d): at every chunk the last second anew."""
    hop, field = encoder.config.hop_samples, encoder.config.receptive_samples
    window = field + (WINDOW_FRAMES - 1) * hop

    def states(waves: Tensor) -> Sequence[Tensor]:
        frames = encoder.config.frames(waves.shape[1])
        ends = [*range(chunk_frames - 1, frames, chunk_frames), frames]
        starts = [0, *ends[:-1]]
        parts, full = [], []
        for start, end in zip(starts, ends, strict=True):
            heard = field + (end - 1) * hop
            if end > start:
                (parts if heard < window else full).append((start, end, waves[:, max(0, heard - window) : heard]))
        pieces = [[state[:, start - end :] for state in encoder.hidden_states(wave)] for start, end, wave in parts]
        if full:
            rows = torch.cat([wave for *_, wave in full])
            batches = [encoder.hidden_states(batch) for batch in rows.split(32)]
            joined = [torch.cat(layer).unflatten(0, (len(full), len(waves))) for layer in zip(*batches, strict=True)]
            for number, (start, end, _) in enumerate(full):
                pieces.append([layer[number][:, start - end :] for layer in joined])
        return [torch.cat(layer, 1) for layer in zip(*pieces, strict=True)]

    return states


def ways(streaming: Encoder, offline: Encoder) -> dict[str, tuple[Encoder, States, float]]:
    """{name: (student, waves -> layers, MACs per second of audio with attention)} of everything that is compared."""
    usual_s = 10.0  # of a recording that is heard at once

    def whole(encoder: Encoder) -> float:
        return costs.macs_per_s(encoder.config) + costs.attention_macs_per_s(encoder.config, usual_s)

    found = {
        "streaming full": (streaming, of_model(streaming).states, whole(streaming)),
        "offline full": (offline, of_model(offline).states, whole(offline)),
    }
    for chunk_ms in CHUNKS_MS:
        chunk = chunk_ms // 20
        in_chunks = costs.stream_costs(streaming.config, chunk)["macs_per_s"]
        second = costs.macs_per_s(offline.config) + costs.attention_macs_per_s(offline.config, WINDOW_FRAMES / 50)
        again = second * (WINDOW_FRAMES / chunk)
        found[f"streaming {chunk_ms}"] = (streaming, of_model(streaming, chunk).states, in_chunks)
        found[f"masked {chunk_ms}"] = (offline, masked(offline, streaming, chunk), in_chunks)
        found[f"sliding {chunk_ms}"] = (offline, sliding(offline, chunk), again)
    return found


@torch.inference_mode()
def fidelity(states: States, heads: Heads, teacher: Teacher, waves: Sequence[Tensor]) -> float:
    """Mean cosine of the heads' predictions over matched layers and frames."""
    total, frames = 0.0, 0
    for wave in waves:
        targets = teacher.hidden_states(wave)
        for layer, guess in heads(states(wave)).items():
            _, cosine = l1_and_cosine(guess[0], targets[layer][0, : guess.shape[1]])
            total, frames = total + float(cosine.sum()), frames + len(cosine)
    return total / frames


def test_clips(tasks: Sequence[Task]) -> list[Tensor]:
    """Some of each task, (1, S) each."""
    sounds = [sound for task in tasks for sound in whole_test_clips(task)[: FIDELITY_CLIPS // len(tasks)]]
    return [torch.from_numpy(read_sound(sound))[None] for sound in sounds]


def measure(streaming: Path, offline: Path, teacher: Teacher, corpora: Path, clips: int, seeds: int) -> dict[str, Any]:
    students = load_encoder(streaming), load_encoder(offline)
    heads = {
        id(student): load_heads(folder, student.config.width, teacher.card.width)
        for student, folder in zip(students, (streaming, offline), strict=True)
    }
    corpus = {"ks": "arabic_speech_commands", "sid": "speechocean762"}
    tasks = [make_task(name, corpora / folder, max_classes=50, max_clips=clips) for name, folder in corpus.items()]
    waves, compared = test_clips(tasks), ways(*students)
    result: dict[str, Any] = {}
    for name, (student, states, macs_per_s) in compared.items():
        made = heads[id(student)]
        assert made is not None
        result[name] = {"macs_per_s": macs_per_s, "fidelity": fidelity(states, made, teacher, waves)}
        print(f"{name}: fidelity {result[name]['fidelity']:.3f}", flush=True)
    upstreams = {name: Upstream(states) for name, (_, states, _) in compared.items()}
    upstreams |= {"teacher": of_model(teacher), "logmel": LOG_MEL}
    found = score_tasks(upstreams, tasks, Budget(seeds=seeds))
    for task in found.tasks:
        for name in upstreams:
            score = found.scores[task.name][name]
            result.setdefault(name, {})[task.name] = {"test": score.test, "ci95": score.ci95, "std": score.std}
            print(f"{task.name} {name}: {score.test:.3f}", flush=True)
    return {"ways": result, "clips": {task.name: task.counts() for task in tasks}, "seeds": seeds}


def goals(ways: dict[str, Any]) -> dict[str, float]:
    """Probe errors of (a) over (b), and compute of (d) over (a)."""
    found = {}
    for chunk_ms in CHUNKS_MS:
        row, whole = ways[f"streaming {chunk_ms}"], ways["offline full"]
        for task in ("ks", "sid"):
            found[f"{task} error {chunk_ms}"] = (1 - row[task]["test"]) / (1 - whole[task]["test"])
        found[f"sliding compute {chunk_ms}"] = ways[f"sliding {chunk_ms}"]["macs_per_s"] / row["macs_per_s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "corpora", "offline", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--clips", type=int, default=600, help="per task and split")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    keep_freed_memory()
    for recipe in ("distilhubert-streaming", "distilhubert"):
        if not (given.out / recipe / "card.json").exists():
            train(recipe, given.teacher, given.corpora, given.offline, given.out / recipe, given.steps)
    folders = given.out / "distilhubert-streaming", given.out / "distilhubert"
    found = measure(*folders, load_teacher(str(given.teacher)), given.corpora, given.clips, given.seeds)
    found["goals"] = goals(found["ways"])
    write("streaming_quality", {"steps": given.steps, **found})
    print(found["goals"])


if __name__ == "__main__":
    main()
