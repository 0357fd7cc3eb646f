"""`compress eval`: what a student kept, measured on speech.

Fidelity to its teacher, and linear probes on frozen features beside the teacher, a random copy of the student and
log-mel, all with the same clips, splits and budget.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .allocator import keep_freed_memory
from .audio import Skipped
from .config import SAMPLE_RATE
from .contest import contest_fidelity, open_contest
from .features import Key, Upstream, of_model, pool_clips, read_clip, some_waves
from .pretrained import load_teacher
from .probes import SPLITS, Part, Parts, Score, probe, probe_each_layer
from .tasks import Task, make_task
from .torch_device import check_device

logger = logging.getLogger(__name__)

FIDELITY_S = 120.0
UPSTREAMS = ("student", "teacher", "random", "logmel")
Listener = Callable[[str], None]


def evaluate(
    checkpoint: str | Path,
    data: Path | None = None,
    tasks: Sequence[str] = ("ks", "sid"),
    seeds: int = 3,
    *,
    teacher: str | None = None,
    chunk_ms: float | None = None,
    max_classes: int | None = 50,
    max_clips: int | None = None,
    device: str = "cpu",
    listen: Listener = logger.info,
) -> dict[str, Any]:
    """Measure a checkpoint; the result is plain JSON.

    Args:
        checkpoint: a folder that `compress distill` wrote, a bundle, or a teacher.
        data: a folder with labels.tsv (see `tasks.make_task`); None is the starter speech.
        tasks: any of "ks", "sid", "lid".
        seeds: how many probes are trained with the settings that val chose.
        teacher: where to find the teacher if not where the card says.
        chunk_ms: the student hears its audio in chunks of so much, as when it streams; None is all of it at once.
        max_classes, max_clips: bounds on each task, see `tasks.make_task`.
        device: where features are computed; probes are trained on the CPU.
        listen: hears what is being done, a line each.

    Returns:
        {"checkpoint", "data", "tasks": {name: {"metric", "student", "teacher", "random", "logmel", "ci95", ...}},
        "latency" (of the stream, or None), "size_bytes" (in float32; of a bundle its program's), "fidelity": {teacher
        layer: cosine}, "fidelity_by", "fidelity_detail", "skipped", "notes", "seconds"}. A number is None where there
        is no teacher at hand, and `notes` says why.

    Raises:
        SpeechpressError: no checkpoint, no labels, an unknown task, no clip that can be read, or chunks for a student
            that does not stream.
    """
    start = time.monotonic()
    made = [make_task(name, data, max_classes, max_clips) for name in dict.fromkeys(map(str.strip, tasks))]
    contest = open_contest(checkpoint, (), teacher, chunk_ms, device)
    result: dict[str, Any] = {"checkpoint": str(checkpoint), "data": "starter" if data is None else str(data)}
    result["latency"] = contest.latency
    result["size_bytes"] = {name: one.size_bytes for name, one in contest.upstreams.items()}
    result["tasks"], skipped = probe_upstreams(contest.upstreams, made, seeds, device, listen)
    waves = _test_waves(made[0], device)
    if contest.teacher is not None:
        heard_s = sum(wave.shape[1] for wave in waves) / SAMPLE_RATE
        listen(f"fidelity to {contest.teacher.card.source} on {heard_s:.0f} s of test clips")
    result |= contest_fidelity(contest, waves)
    result["skipped"] = [{"path": item.path, "reason": item.reason} for item in skipped]
    return {**result, "notes": contest.notes, "seconds": time.monotonic() - start}


def probe_upstreams(
    upstreams: dict[str, Upstream], tasks: Sequence[Task], seeds: int, device: str, listen: Listener
) -> tuple[dict[str, Any], list[Skipped]]:
    """Probe every upstream on every task: ({task: result}, clips that could not be read)."""
    scores, skipped = probe_each(upstreams, tasks, seeds, device, listen)
    return {task.name: _report(task, scores[task.name]) for task in tasks}, skipped


def probe_each(
    upstreams: dict[str, Upstream], tasks: Sequence[Task], seeds: int, device: str, listen: Listener
) -> tuple[dict[str, dict[str, Score]], list[Skipped]]:
    """The score of every upstream, of any names, on every task: ({task: {upstream: score}}, clips left out)."""
    features, skipped = _features(upstreams, tasks, device, listen)
    results: dict[str, dict[str, Score]] = {}
    for task in tasks:
        scores = results[task.name] = {}
        for name in upstreams:
            parts = task_parts(task, features[name])
            scores[name] = probe(parts, len(task.classes), seeds)
            listen(f"{task.name} {name}: {scores[name].test:.3f}")
    return results, skipped


def _features(
    upstreams: dict[str, Upstream], tasks: Sequence[Task], device: str, listen: Listener
) -> tuple[dict[str, dict[Key, Tensor]], list[Skipped]]:
    keep_freed_memory()
    keys = list({(clip.path, task.crop_s) for task in tasks for clip in task.clips})
    listen(f"features of {len(keys)} clips from {', '.join(upstreams)}")
    return pool_clips(upstreams, keys, device)


def task_parts(task: Task, features: dict[Key, Tensor]) -> Parts:
    """Features and class numbers of every split, of the clips that could be read.

    Raises SpeechpressError when unreadable clips leave a split empty.
    """
    parts = {}
    for split in SPLITS:
        clips = [clip for clip in task.clips if clip.split == split and (clip.path, task.crop_s) in features]
        if not clips:
            raise SpeechpressError(f"task {task.name!r}: no clip of its {split} split can be read")
        rows = torch.stack([features[clip.path, task.crop_s] for clip in clips])
        parts[split] = Part(rows, torch.tensor([task.classes.index(clip.label) for clip in clips]))
    return parts


def _report(task: Task, scores: dict[str, Score]) -> dict[str, Any]:
    def each(value: Callable[[Score], Any]) -> dict[str, Any]:
        return {name: value(scores[name]) if name in scores else None for name in UPSTREAMS}

    return {
        "metric": "accuracy",
        **each(lambda score: score.test),
        "ci95": each(lambda score: list(score.ci95)),
        "ci95_method": "Wilson over test clips, of the mean over seeds",
        "val": each(lambda score: score.val),
        "quality": each(lambda score: score.test),
        "std_over_seeds": each(lambda score: score.std),
        "layer_weights": each(lambda score: list(score.layer_weights)),
        "classes": len(task.classes),
        "clips": task.counts(),
        "crop_s": task.crop_s,
        "chance": task.chance,
        "chance_by_voice": task.chance_by_voice,
        "speaker_disjoint": task.speaker_disjoint,
        "notes": list(task.notes),
    }


def _test_waves(task: Task, device: str) -> list[Tensor]:
    """Whole test clips, each (1, S), in a fixed random order up to FIDELITY_S."""
    clips = sorted((clip for clip in task.clips if clip.split == "test"), key=lambda clip: clip.order)
    return some_waves([(clip.path, None) for clip in clips], read_clip, FIDELITY_S, device)


def probe_teacher(
    source: str,
    data: Path | None = None,
    tasks: Sequence[str] = ("ks", "sid"),
    seeds: int = 1,
    *,
    max_classes: int | None = 50,
    max_clips: int | None = None,
    device: str = "cpu",
    listen: Listener = logger.info,
) -> dict[str, Any]:
    """Probe every layer of a teacher alone; see `probe_layers`. `source` is what `pretrained.load_teacher` takes."""
    device = check_device(device)
    made = [make_task(name, data, max_classes, max_clips) for name in dict.fromkeys(map(str.strip, tasks))]
    return probe_layers(of_model(load_teacher(source).to(device)), made, seeds, device=device, listen=listen)


def probe_layers(
    upstream: Upstream, tasks: Sequence[Task], seeds: int = 1, *, device: str = "cpu", listen: Listener = logger.info
) -> dict[str, Any]:
    """Probe every layer alone, and their learned sum.

    Returns:
        {task: {"best_layer" (chosen on val), "val", "test", "ci95" (of that layer), "layers": {layer: {"val", "test",
        "ci95"}}, "weighted": the same of the learned sum, "classes", "clips", "chance", "speaker_disjoint", "notes"}}.
    """
    features, _ = _features({"upstream": upstream}, tasks, device, listen)
    results = {}
    for task in tasks:
        parts = task_parts(task, features["upstream"])
        layers = {str(k): _brief(score) for k, score in enumerate(probe_each_layer(parts, len(task.classes), seeds))}
        best = max(layers, key=lambda layer: layers[layer]["val"])
        weighted = _brief(probe(parts, len(task.classes), seeds))
        results[task.name] = {"best_layer": int(best), **layers[best], "layers": layers, "weighted": weighted}
        results[task.name] |= {"classes": len(task.classes), "clips": task.counts(), "chance": task.chance}
        results[task.name] |= {"speaker_disjoint": task.speaker_disjoint, "notes": list(task.notes)}
    return results


def _brief(score: Score) -> dict[str, Any]:
    return {key: value for key, value in asdict(score).items() if key in ("val", "test", "ci95")}
