"""`compress eval`: what a student kept, measured on a labelled folder, or on the starter speech.

Fidelity to its teacher, and the suite's way of measuring on the tasks of that folder: linear probes on frozen features
beside the teacher, a random copy of the student and log-mel, all with the same clips, splits and budget.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.audio import Skipped
from ..data.sounds import read_sound
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from ..models.torch_device import check_device
from ..tasks.folder import make_task, whole_test_clips
from .features import some_waves
from .heads import Budget
from .lineup import Comparison, comparison_fidelity, open_comparison
from .suite import FIDELITY_S, quick_entry, score_tasks

logger = logging.getLogger(__name__)

Measure = Callable[[Comparison, str, OnText], dict[str, Any]]  # of a comparison, on a device: an entry of "tasks"


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
    listen: OnText = logger.info,
    measures: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint; the result is plain JSON.

    Args:
        checkpoint: a folder that `compress distill` wrote, a bundle, or a teacher.
        data: a folder with labels.tsv (see `tasks.folder.make_task`); None is the starter speech.
        tasks: any of "ks", "sid", "lid"; may be empty.
        seeds: how many probes are trained with the settings that val chose.
        teacher: where to find the teacher if not where the card says.
        chunk_ms: the student hears its audio in chunks of so much, as when it streams; None is all of it at once.
        max_classes, max_clips: bounds on each task, see `tasks.folder.make_task`.
        device: where features are computed; probes are trained on the CPU.
        listen: hears what is being done, a line each.
        measures: what is measured besides, by its name in "tasks".

    Returns:
        {"checkpoint", "data", "tasks": {name: {"metric", "student", "teacher", "random", "logmel", "ci95", ...}},
        "latency" (of the stream, or None), "size_bytes" (in float32; of a bundle its program's), "fidelity": {teacher
        layer: cosine}, "fidelity_by", "fidelity_detail", "skipped", "notes", "seconds"}. A number is None where there
        is no teacher at hand, and `notes` says why.

    Raises:
        SpeechpressError: no checkpoint, no labels, an unknown task, no clip that can be read, or chunks for a student
            that does not stream.
    """
    start, device = time.monotonic(), check_device(device)
    # Before anything is loaded: labels that do not do are said at once. A task that is named twice is one.
    opened = [make_task(name, data, max_classes, max_clips) for name in dict.fromkeys(map(str.strip, tasks))]
    comparison = open_comparison(checkpoint, (), teacher, chunk_ms, device)
    result: dict[str, Any] = {"checkpoint": str(checkpoint), "data": "starter" if data is None else str(data)}
    result["latency"] = comparison.latency
    result["size_bytes"] = {name: one.size_bytes for name, one in comparison.upstreams.items()}
    result["tasks"] = {name: measure(comparison, device, listen) for name, measure in (measures or {}).items()}
    skipped: Sequence[Skipped] = ()
    if opened:
        found = score_tasks(comparison.upstreams, opened, Budget(seeds=seeds), device=device, listen=listen)
        result["tasks"] |= {task.name: quick_entry(task, found.scores[task.name]) for task in found.tasks}
        skipped = found.skipped
    clips = whole_test_clips(opened[0] if opened else make_task("sid", data))
    waves = some_waves(clips, read_sound, FIDELITY_S, device)
    if comparison.teacher is not None:
        heard_s = sum(wave.shape[1] for wave in waves) / SAMPLE_RATE
        listen(f"fidelity to {comparison.teacher.card.source} on {heard_s:.0f} s of test clips")
    result |= comparison_fidelity(comparison, waves)
    result["skipped"] = [{"path": item.path, "reason": item.reason} for item in skipped]
    return {**result, "notes": comparison.notes, "seconds": time.monotonic() - start}
