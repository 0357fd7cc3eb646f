"""Make `hubert-mini`, the teacher that ships with the starter: layer-wise distillation from Whisper's encoder.

    python benchmarks/make_hubert_mini.py cache CORPORA TEACHER WORK     once, 15 minutes on two cores
    python benchmarks/make_hubert_mini.py train WORK INIT FIRST --minutes 88
    python benchmarks/make_hubert_mini.py train WORK FIRST SECOND --stage speakers --minutes 8.5
    python benchmarks/make_hubert_mini.py train WORK SECOND THIRD --stage voices --minutes 28
    python benchmarks/make_hubert_mini.py train WORK THIRD FOURTH --stage contrast --minutes 26
    python benchmarks/make_hubert_mini.py train WORK FOURTH FIFTH --stage contrast --minutes 30 --seed 1
    python benchmarks/make_hubert_mini.py finish FIFTH CORPORA compressor/starter/hubert-mini     fp16, probes, card

CORPORA holds the unpacked folders arabic_speech_commands, speechocean762 and picovoice_barista (audio/ and labels.tsv);
TEACHER is a Whisper encoder's folder; INIT a HubertModel folder to start from, which also gives the shape.

Differences to `compress distill`, and why they are worth a script: the teacher's layers are computed once, for five
(Arabic) or three playing speeds per recording, because a second look at the same clip would cost more than the
student's own step; layers are regressed one to one through linear heads; targets are layer-normalised, because
Whisper's layers have a few dimensions that are a hundred times larger than the others.

The first two stages had two cores, the others one of two that were busy (--threads 1) and a cache of one playing speed.
In what ships the scale of the contrast was learned; it moved too little to keep it a parameter.
Without the last two, the layers were no better than log-mel at telling voices apart. Tried without success instead of
them: cosines between the clip means of layers 1 and 2 as those between whitened ones of Whisper's layer 1, and the
first 80 dimensions of layers 0 to 2 as the mel spectrum itself.
"""

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from hubert_mini_stages import (
    HEADS,
    HOP,
    RATE,
    STAGES,
    WHISPER_LAYERS,
    Cached,
    contrast_loss,
    fit_heads,
    make_heads,
    objective,
    spectrum_distance,
)
from torch import Tensor, nn
from transformers import HubertModel

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.extract import extract, stores
from speechpress.compressor.evaluate.features import LOG_MEL, Upstream, of_model, random_copy
from speechpress.compressor.evaluate.store import FeatureStore
from speechpress.compressor.evaluate.suite import wanted
from speechpress.compressor.models.checkpoint import WEIGHTS, read_json, save_encoder, write_tensors
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.costs import macs_per_s, parameters
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.study.probes import layer_scores
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.tasks.task import Task
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.atomic import write_json, write_text
from speechpress.runtime.json_file import json_text

HISTORY = "history.json"
CORPORA = {
    "arabic_speech_commands": ("train", (1.0, 0.88, 1.12, 0.8, 1.2)),
    "speechocean762": ("train", (1.0, 0.9, 1.12)),
    "picovoice_barista": (None, (1.0, 0.9, 1.12)),
}
CLIP = 5.0
FRESH_LR = 4.0  # heads that cannot be fitted beforehand learn so many times faster


def recordings(corpora: Path, name: str) -> list[Path]:
    """The training part of a corpus."""
    split, _ = CORPORA[name]
    with (corpora / name / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [corpora / name / row["path"] for row in rows if split is None or row["split"] == split]


def cache(corpora: Path, teacher_folder: Path, work: Path, most_speeds: int) -> None:
    """Write waves (int16) and layer-normalised teacher layers (fp16), for every recording at every speed."""
    teacher = load_teacher(str(teacher_folder))
    work.mkdir(parents=True, exist_ok=True)
    index, samples, frames = [], 0, 0
    with (work / "waves.i16").open("wb") as waves, (work / "layers.f16").open("wb") as layers:
        for name, (_, speeds) in CORPORA.items():
            for speed in speeds[:most_speeds]:
                for path in recordings(corpora, name):
                    wave = read_audio(path)[: 28 * RATE]
                    wave = wave if speed == 1.0 else soxr.resample(wave, RATE * speed, RATE)
                    wave = wave[: len(wave) // HOP * HOP]
                    if len(wave) < 0.4 * RATE:
                        continue
                    states = teacher.hidden_states(torch.from_numpy(wave)[None], layers=WHISPER_LAYERS)
                    stacked = torch.stack([F.layer_norm(s[0], s.shape[-1:]) for s in states.values()], 1)
                    waves.write((wave * 32767).clip(-32768, 32767).astype(np.int16).tobytes())
                    layers.write(stacked.half().numpy().tobytes())
                    index.append((samples, len(wave), frames, len(stacked)))
                    samples, frames = samples + len(wave), frames + len(stacked)
                print(f"{name} x{speed}: {samples / RATE / 3600:.2f} h so far", flush=True)
    (work / "index.json").write_text(json_text(index))


def train(work: Path, init: Path, out: Path, name: str, minutes: float, width: int, seed: int) -> None:
    """AdamW in bf16, linear decay over a given time; the model is written every 300 steps and at the end."""
    stage = STAGES[name]
    torch.manual_seed(0)
    keep_freed_memory()
    model = HubertModel.from_pretrained(init, dtype=torch.float32, attn_implementation="sdpa").train()
    heads = make_heads(init, stage, model.config.hidden_size, width)
    fresh = [value for name, value in heads.named_parameters() if name.startswith("contrast")]
    known = [value for name, value in heads.named_parameters() if not name.startswith("contrast")]
    trainable = [*model.parameters(), *known, *fresh]
    groups = [{"params": [*model.parameters(), *known], "times": 1.0}, {"params": fresh, "times": FRESH_LR}]
    optimizer = torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    forward = torch.compile(lambda waves: model(waves, output_hidden_states=True).hidden_states, dynamic=False)
    data, started, step, audio_s = Cached(work, width, seed), time.time(), 0, 0.0
    mean = data.mean()
    if stage.fit_heads:
        fit_heads(model, heads, stage, data)
    while (done := (time.time() - started) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = max(1e-6, stage.lr * group["times"] * min(1, (step + 1) / stage.warmup_steps) * (1 - done))
        waves, targets, mask = data.batch(stage)
        with torch.autocast("cpu", torch.bfloat16):
            states = forward(waves)
        loss, cosines = objective(heads, stage, states, targets, mask, mean)
        if stage.spectrum:
            loss = loss + spectrum_distance(heads, stage, states, waves, mask)
        if stage.contrast and waves.shape[1] > RATE:
            loss = loss + contrast_loss(heads, stage, states, mask)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trainable, CLIP)
        if not math.isfinite(norm):
            continue
        optimizer.step()
        step, audio_s = step + 1, audio_s + waves.numel() / RATE
        if step % 25 == 0:
            shown = " ".join(f"{cosine:.3f}" for cosine in cosines)
            print(f"step {step}, {audio_s / 3600:.1f} h, cosine {shown}", flush=True)
        if step % 300 == 0:
            model.save_pretrained(out)
    model.save_pretrained(out)
    write_tensors(out / HEADS, heads.state_dict())
    spent = {"stage": name, "steps": step, "audio_h": audio_s / 3600, "minutes": (time.time() - started) / 60}
    write_text(out / HISTORY, json_text([*earlier_stages(init), spent]))


def earlier_stages(init: Path) -> list[dict]:
    """What was spent before: on a run of this script, or on the hubert-mini that ships."""
    if (init / HISTORY).exists():
        return json.loads((init / HISTORY).read_text())
    return read_json(init / "card.json").get("stages", []) if (init / "card.json").exists() else []


MORE_TEXTS = {
    "voices": """ In
  {minutes:.0f} more ({steps} steps, {audio_h:.0f} h) its layers 0 to 2 learned to predict the shape of the input's own
  mel spectrum as well, by frame and as the clip's mean.""",
    "contrast": """ In
  {minutes:.0f} more ({steps} steps, {audio_h:.0f} h) it also learned to tell recordings apart: by the clip's mean in
  layers 0 to 2, half of one was to be found among halves of others.""",
}
CARD_TEXT = """# hubert-mini

The teacher of the starter: small enough to ship, so that distillation can be tried without a download. It is no
replacement for a released model.

- **Architecture:** HuBERT's. Waveform in, 50 frames/s out; front end {channels},
  LayerNorm after every convolution; {layers} layers x {width}, {heads} heads, FFN {ffn}; {parameters:.2f} M parameters,
  fp16, {macs:.2f} GMAC/s.
- **How it was made:** `benchmarks/make_hubert_mini.py`, on two shared CPU cores. In {minutes:.0f} minutes
  ({steps} steps, {audio_h:.0f} h of audio seen) its layers 2, 4, 6 learned to regress layers 1, 3, 4 of OpenAI's
  Whisper base encoder (MIT); in {minutes2:.0f} more ({steps2} steps, {audio_h2:.0f} h), without added noise, also
  layer 1, and the clip's mean in layers 1 and 2. It started from an earlier 24-minute run of the same kind.{more}
- **Whisper's encoder is supervised** (trained with transcripts), so hubert-mini is not purely self-supervised either.
- **Speech:** speechocean762 (train), Arabic Speech Commands (train) and Picovoice's barista commands, 6.4 h, at three
  to five playing speeds. Of the first two no test speaker was used, and the starter speech was not used. Of
  picovoice_barista everything was, without labels, so the test clips of the mini suite's ic and sf (155) were in its
  training; that corpus names no speakers.
- **Not tried:** HuBERT's own masked prediction of clusters.

Linear probes on mean-pooled frozen layers, one seed, test accuracy; the best layer is chosen on the val split.

| | Arabic keywords (40, unseen speakers) | speakers ({sid_classes}, speechocean762) |
|---|---|---|
{rows}

Voices are in its layers 1 to 3: the layer that val chooses and the learned sum of layers are both better than log-mel,
on these 50 and on 125 speakers that were never heard (`benchmarks/speakers.py`). Its front end has a LayerNorm after
every convolution, so it does not see how loud a recording is; log-mel does.
"""


def finish(run: Path, corpora: Path, out: Path) -> None:
    """Write the model in fp16 with configs, probe it beside log-mel and random weights, and write its card."""
    keep_freed_memory()
    model = HubertModel.from_pretrained(run, dtype=torch.float32)
    encoder = Encoder(EncoderConfig.from_hubert(model.config.to_dict())).eval()
    encoder.load_state_dict({**encoder.state_dict(), **model.state_dict()})  # it may have no mask vector
    save_encoder(out, encoder)
    write_tensors(out / WEIGHTS, {name: tensor.half() for name, tensor in encoder.state_dict().items()})
    first, second, *more = stages = json.loads((run / HISTORY).read_text())
    scores = {"hubert-mini": probes(in_bf16(load_teacher(str(out))), corpora)}
    scores |= floors(run / "floors.json", encoder.config, corpora)
    card = {"schema": 1, "kind": "teacher", "name": "hubert-mini", "supervised": True}
    card |= {"stages": stages, "probes": scores}
    write_json(out / "card.json", card)
    config = encoder.config
    text = CARD_TEXT.format(
        channels=", ".join(map(str, config.conv_channels)), layers=config.num_layers, width=config.width,
        heads=config.num_heads[0], ffn=config.ffn_widths[0], parameters=parameters(config) / 1e6,
        macs=macs_per_s(config) / 1e9, rows="\n".join(_rows(scores)), sid_classes=scores["log-mel"]["sid"]["classes"],
        **first, **{f"{name}2": value for name, value in second.items()},
        more="".join(MORE_TEXTS[stage["stage"]].format(**stage) for stage in more),
    )  # fmt: skip
    write_text(out / "CARD.md", text)


def floors(path: Path, config: EncoderConfig, corpora: Path) -> dict:
    """Scores of random weights and of log-mel; computed once, they do not depend on the training."""
    if not path.exists():
        scores = {"random weights": probes(in_bf16(random_copy(config)), corpora), "log-mel": probes(LOG_MEL, corpora)}
        write_json(path, scores)
    return read_json(path)


def probes(upstream: Upstream, corpora: Path) -> dict:
    """Per-layer probes on both corpora."""
    tasks = [make_task("ks", corpora / "arabic_speech_commands", 50), make_task("sid", corpora / "speechocean762", 50)]
    with stores(None, {"upstream": upstream}) as kept:
        extract({"upstream": upstream}, wanted(tasks), kept, listen=print)
        return {task.name: _probed(task, kept["upstream"]) for task in tasks}


def _probed(task: Task, store: FeatureStore) -> dict:
    """What the card tells of a task: every layer, the best one of them, their learned sum."""
    found = layer_scores(task, store, 1)
    layers = {str(entry.pop("layer")): entry for entry in found["layers"]}
    best = {"best_layer": found["best_layer"], **layers[str(found["best_layer"])]}
    weighted = {key: value for key, value in found["weighted"].items() if key != "layer_weights"}
    told = {"classes": len(task.classes), "clips": task.counts(), "chance": task.chance}
    told |= {"speaker_disjoint": bool(task.speaker_disjoint), "notes": list(task.notes)}
    return {**best, "layers": layers, "weighted": weighted, **told}


def in_bf16(model: nn.Module) -> Upstream:
    """A model as an upstream that computes in bf16, in half the time."""
    upstream = of_model(model)

    def states(waves: Tensor) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return list(upstream.states(waves))

    return Upstream(states)


def _rows(scores: dict) -> Iterator[str]:
    for name, score in scores.items():
        cells = [
            f"{task['test']:.3f} [{task['ci95'][0]:.3f}, {task['ci95'][1]:.3f}]"
            + (f" (layer {task['best_layer']})" if len(task["layers"]) > 1 else "")
            for task in (score["ks"], score["sid"])
        ]
        yield f"| {name} | {cells[0]} | {cells[1]} |"
    layers = scores["hubert-mini"]
    cells = [f"{layers[task]['weighted']['test']:.3f}" for task in ("ks", "sid")]
    yield f"| hubert-mini, learned sum of layers | {cells[0]} | {cells[1]} |"
    for layer in layers["ks"]["layers"]:
        yield (
            f"| hubert-mini, layer {layer} | "
            + " | ".join(f"{layers[task]['layers'][layer]['test']:.3f}" for task in ("ks", "sid"))
            + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, folders in (("cache", "corpora teacher work"), ("train", "work init out"), ("finish", "run corpora out")):
        command = commands.add_parser(name)
        for folder in folders.split():
            command.add_argument(folder, type=Path)
    commands.choices["train"].add_argument("--stage", choices=list(STAGES), default="words")
    commands.choices["train"].add_argument("--minutes", type=float, default=88)
    commands.choices["train"].add_argument("--width", type=int, default=512, help="width of the Whisper encoder")
    commands.choices["train"].add_argument("--seed", type=int, default=0, help="of the batches")
    commands.choices["cache"].add_argument("--speeds", type=int, default=5, help="most playing speeds of a recording")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.command == "cache":
        cache(given.corpora, given.teacher, given.work, given.speeds)
    elif given.command == "finish":
        finish(given.run, given.corpora, given.out)
    else:
        train(given.work, given.init, given.out, given.stage, given.minutes, given.width, given.seed)


if __name__ == "__main__":
    main()
