"""What a bundle costs its heads: the metric of each on held-out clips, by the checkpoint and as run from the bundle.

Shapes: S samples, T frames, W columns of an output.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.answers.golden import Rows
from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.program_checks import heard

from ..heads.files import KeptHead
from ..heads.judge import HeldOut, figure, held_out
from ..models.answering import hear
from ..models.events import OnText
from .closeness import rows
from .document import ExportPlan, min_samples

TOLERANCE = 0.05  # of the figure itself
SLACK = 0.005  # is always allowed: of a figure near 0, a share is less than one clip


def head_losses(planned: ExportPlan, folder: Path, tolerance: float, say: OnText) -> dict[str, dict[str, Any]]:
    """By head: {metric, better, before, after, lost, tolerance, method, clips, seconds}, or {note}: why there is none.

    `lost` is the share of `before` by which `after` is worse; below 0 where it is better.
    """
    found = {}
    for name, head in planned.heads.items():
        try:
            clips = held_out(head, min_samples(planned))
        except SpeechpressError as error:
            say(f"head {name}: not measured on held-out speech: {error}; the golden clip alone was compared")
            found[name] = {"note": str(error)}
            continue
        say(f"head {name}: {clips.metric} on {len(clips.items)} held-out clips, by the checkpoint and by the bundle")
        found[name] = _loss(planned, folder, head, clips) | {"tolerance": tolerance}
    return found


def _loss(planned: ExportPlan, folder: Path, head: KeptHead, clips: HeldOut) -> dict[str, Any]:
    method = f"step_{planned.chunks[0]}" if planned.chunks else "offline"
    hop = planned.encoder.config.hop_samples
    run = _runner(planned, folder)
    before = figure(head, clips, [_of_checkpoint(planned, wave)[head.name] for wave in clips.waves], hop)
    after = figure(head, clips, [run(wave)[head.name] for wave in clips.waves], hop)
    worse = after - before if clips.lower_is_better else before - after
    return {
        "metric": clips.metric,
        "better": "lower" if clips.lower_is_better else "higher",
        "before": before,
        "after": after,
        "lost": worse / max(before, 1e-9),
        "method": method,
        "clips": len(clips.items),
        "seconds": clips.seconds,
    }


def _runner(planned: ExportPlan, folder: Path) -> Any:
    """What hears a wave (S,) with the bundle, as it does when nothing else is asked for."""
    if planned.chunks:
        engine = PteEngine(folder)
        return lambda wave: heard(engine, wave).answers
    model = PteModel(folder)
    return lambda wave: model.hear_offline(wave[: planned.max_samples])[1]


@torch.inference_mode()
def _of_checkpoint(planned: ExportPlan, wave: np.ndarray) -> Rows:
    chunk = planned.chunks[0] if planned.chunks else None
    part = wave if chunk else wave[: planned.max_samples]
    return rows(hear(planned.encoder, torch.from_numpy(part)[None], chunk)[1])


def judge_losses(document: Mapping[str, Any]) -> None:
    """Raises CheckFailed for a head that lost more than it may."""
    for head in document.get("heads", []):
        found = head["metrics"] or {}
        if "lost" not in found:
            continue
        worse = abs(found["after"] - found["before"]) if found["lost"] > 0 else 0.0
        if found["lost"] > found["tolerance"] and worse > SLACK:
            raise CheckFailed(
                f"head {head['name']!r}: {found['metric']} is {found['after']:.3f} out of the bundle and "
                f"{found['before']:.3f} by the checkpoint, {found['lost']:.1%} worse, but at most "
                f"{found['tolerance']:.1%} is allowed ({found['clips']} held-out clips, {found['method']}). "
                "Nothing was written. Try another --quantize, allow more with --head-tolerance, or leave the head out"
            )
