"""Where a head goes: into its student's folder, or into a copy of it."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import atomic_folder, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import cached_id

from ..models.checkpoint import CARD, HEADS, OURS, STATE, WEIGHTS, Checkpoint, save_encoder, sha256
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.kept_heads import check_all_fresh, copy_heads, head_names
from .files import KeptHead, save_head
from .learn import HeadOptions

OF_WEIGHTS = (HEADS, "eval.json", "quantize.json", "loss.png", "metrics.jsonl")  # of the weights as they were


def check_place(opened: Checkpoint, name: str, options: HeadOptions) -> None:
    """Raises SpeechpressError for a name that is taken, a folder in use, or other heads that are stale already."""
    out = options.out
    if out is None and (published := cached_id(opened.path)) is not None:
        raise SpeechpressError(
            f"{published}: lies on the Hub, and a head goes into its student's own folder; name a folder for a copy of "
            "both with --out"
        )
    if out is not None and out.resolve() != opened.path.resolve():
        if out.exists():
            raise SpeechpressError(f"{out}: already exists; choose another --out")
        if not options.finetune:
            check_all_fresh(opened.path)
    elif options.finetune:
        raise SpeechpressError(
            "--finetune changes the student's weights, so the result is another checkpoint: name its folder with --out"
        )
    if options.finetune and (opened.path / "quantize.json").exists():
        raise SpeechpressError(
            f"{opened.path}: is quantised, and its ranges are those of its weights; fine-tune the checkpoint that it "
            "was made from, and quantise the result"
        )
    # In a fine-tuned student it would be left out anyway.
    if name in head_names(opened.path) and not options.overwrite and not options.finetune:
        raise SpeechpressError(
            f"{opened.path}: has a head {name!r} already; replace it with --overwrite, or choose another --name"
        )


def put(opened: Checkpoint, head: KeptHead, options: HeadOptions, say: OnText) -> dict[str, Any]:
    """Write a head of a frozen student; returns what `compress head --json` prints."""
    out = options.out or opened.path
    if out.resolve() == opened.path.resolve():
        save_head(out, head)
    else:
        with atomic_folder(out) as part:
            copy_checkpoint(opened.path, part)
            copy_heads(opened.path, part)
            save_head(part, head)
    say(f"head {head.name!r}: {out}")
    return document(out, head)


def put_moved(opened: Checkpoint, encoder: Encoder, head: KeptHead, card: Mapping[str, Any], out: Path) -> list[str]:
    """Write a student whose weights have moved, with its head only; returns the names of the heads left out."""
    with atomic_folder(out) as part:
        copy_checkpoint(opened.path, part, without=OF_WEIGHTS)
        save_encoder(part, encoder)
        # What was measured of the weights as they were says nothing of these.
        write_json(part / CARD, {key: value for key, value in card.items() if key not in ("heads", "valid")})
        save_head(part, replace(head, student_sha256=sha256(part / WEIGHTS)))
    return [name for name in head_names(opened.path) if name != head.name]


def copy_checkpoint(source: Path, part: Path, without: tuple[str, ...] = ()) -> None:
    """All files of a checkpoint but those of a run that is not finished."""
    for name in sorted(OURS - {STATE, *without}):
        if (source / name).is_file():
            shutil.copyfile(source / name, part / name)
    if not (part / CARD).exists():  # another tool's folder
        write_json(part / CARD, {})


def document(out: Path, head: KeptHead, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `compress head --json` prints."""
    return {
        "out": str(out),
        "head": head.name,
        **head.card,
        "threshold": head.threshold,
        "decoder": dict(head.decoder),
        "left_out": list(left_out),
        "heads": head_names(out),
    }
