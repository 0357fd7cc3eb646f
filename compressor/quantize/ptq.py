"""`compress quantize`: checkpoint × held-out speech -> checkpoint with `quantize.json`.

With that, export needs no speech. The weights stay as they are: what is rounded is rounded at export, so that the
folder still opens everywhere.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from speechpress.runtime.atomic import atomic_folder, write_json
from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.ids import cached_id
from speechpress.runtime.hub.manifest import CHECKPOINT

from ..models.answering import Kept, with_heads
from ..models.checkpoint import (
    CARD,
    CONFIG,
    HEADS,
    MODEL_CODE,
    WEIGHTS,
    Checkpoint,
    is_remains,
    load_checkpoint,
    parameters,
    sha256,
)
from ..models.costs import frames_per_s, macs_per_s
from ..models.encoder import Encoder
from ..models.events import OnText
from ..models.kept_heads import check_all_fresh, copy_heads
from ..targets import TARGETS
from .calibrate import Speech, calibrate, heldout_speech, static_operators
from .fake_quant import check_operators, kinds, operators
from .scheme import CALIBRATED, GROUP, Operator, Quantization, load_quantization, save_quantization
from .sensitivity import Cost, Yardstick, mixed

# Of all targets, because where the checkpoint will be exported to is not known here.
CHUNKS_MS = sorted({chunk_ms for target in TARGETS for chunk_ms in target.chunks_ms})
KEPT = (CONFIG, MODEL_CODE, "preprocessor_config.json", WEIGHTS, HEADS, "recipe.yaml")
BUDGET_DB = 30.0


@dataclass(frozen=True)
class Prepared:
    """A checkpoint to be quantised, and speech to do it with (of schemes that need none, None)."""

    opened: Checkpoint
    speech: Speech | None

    @property
    def encoder(self) -> Encoder:
        return self.opened.encoder

    @property
    def chunks(self) -> tuple[int, ...]:
        """The chunks, in frames, in which any target would stream it."""
        config = self.encoder.config
        if config.blockers:
            return ()
        frames = (round(ms * frames_per_s(config) / 1000) for ms in CHUNKS_MS)
        return tuple(sorted({max(1, count) for count in frames}))


def open_unquantized(folder: Path) -> Checkpoint:
    """A checkpoint folder that is not quantised.

    Raises SpeechpressError for a bundle, a quantised checkpoint, or what is no checkpoint.
    """
    folder = local_folder(folder, CHECKPOINT)
    if is_bundle(folder):
        raise SpeechpressError(
            f"{folder}: is a bundle, whose program cannot be quantised any more. Quantise the checkpoint that it was "
            "made from (compress quantize CHECKPOINT) and export that"
        )
    done = load_quantization(folder)
    if done is None:
        return load_checkpoint(folder)
    parent = done.about.get("parent")
    if parent is None:
        raise SpeechpressError(
            f"{folder}: is quantised already: it was trained for {done.scheme}. Export it as it is (compress export "
            f"{folder} --target ...), or distil a student without the recipe's quantize section"
        )
    raise SpeechpressError(
        f"{folder}: is quantised already ({done.scheme}). Quantise the checkpoint that it was made from: "
        f"{parent['path']}"
    )


def prepare(folder: Path, data: Path | None, needs_speech: bool, heads: Mapping[str, Kept] | None = None) -> Prepared:
    """Open what `quantize` and the report need, and refuse what cannot be, before any long work.

    The encoder carries the `heads`, so that whatever is settled for its operators is settled for theirs.
    """
    opened = open_unquantized(folder)
    opened = replace(opened, encoder=with_heads(opened.encoder, heads or {}))
    recipe = opened.card.get("recipe")
    # So that the same recordings are held out again.
    seed = recipe.get("train", {}).get("seed", 0) if isinstance(recipe, dict) else 0
    return Prepared(opened, heldout_speech(data, seed) if needs_speech else None)


def settle(
    prepared: Prepared, scheme: str, say: OnText, budget_db: float = BUDGET_DB
) -> tuple[Quantization, list[Cost] | None]:
    """A scheme settled for every operator, and of `mixed` what each of them costs."""
    plain = Quantization("int8" if scheme == "mixed" else scheme)
    if scheme not in CALIBRATED:
        return plain.settled(kinds(prepared.encoder)), None
    assert prepared.speech is not None
    if scheme == "int8-static":
        ranges = calibrate(prepared.encoder, prepared.speech.calibration, prepared.chunks, say)
        return Quantization(scheme, static_operators(prepared.encoder, ranges)), None
    # Of fixed ranges and such of every call, the latter are closer at the same speed (docs/quantisation.md).
    yardstick = Yardstick(prepared.encoder, prepared.speech.calibration)
    found, costs, reached = mixed(
        yardstick, plain.settled(kinds(prepared.encoder)), Operator("dynamic"), budget_db, say
    )
    return replace(found, about={"budget_db": budget_db, "reached_db": reached}), costs


def quantize(
    prepared: Prepared, scheme: str, out: Path, say: OnText, budget_db: float = BUDGET_DB, overwrite: bool = False
) -> dict[str, Any]:
    """Write a quantised checkpoint folder.

    Returns:
        What `compress quantize --json` prints.

    Raises:
        SpeechpressError: `out` exists, the scheme is none, or a layer cannot be quantised so.
    """
    source = prepared.opened.path
    if scheme == "none":
        raise SpeechpressError("--scheme none quantises nothing: export the checkpoint as it is")
    if out.resolve() == source.resolve():
        raise SpeechpressError(f"{out}: is the checkpoint itself; choose another --out")
    if out.exists() and not (overwrite and _replaceable(out)):
        raise SpeechpressError(f"{out}: already exists; choose another --out, or --overwrite a quantised checkpoint")
    # Before calibration, which takes far longer.
    check_all_fresh(source)
    check_operators(str(source), prepared.encoder, Quantization("int4" if scheme == "int4" else "int8"))
    quantization, found = settle(prepared, scheme, say, budget_db)
    document = _about(prepared, quantization, found)
    _write(prepared, Quantization(scheme, quantization.operators, document), out)
    return {
        "out": str(out),
        "scheme": scheme,
        "parameters": parameters(prepared.encoder),
        "macs_per_s": macs_per_s(prepared.encoder.config),
        "size_bytes": size_bytes(prepared.encoder, quantization),
        "float": [name for name, item in quantization.operators.items() if item.how == "float"],
        "calibration": document.get("calibration"),
        **{name: quantization.about[name] for name in ("budget_db", "reached_db") if name in quantization.about},
    }


def _about(prepared: Prepared, quantization: Quantization, found: list[Cost] | None) -> dict[str, Any]:
    """Where it comes from, as quantize.json and the card have it."""
    source = prepared.opened.path
    document: dict[str, Any] = {
        "made_by": "compress quantize",
        "parent": {"path": cached_id(source) or str(source), "sha256": sha256(source / WEIGHTS)},
        **quantization.about,
    }
    if prepared.speech is not None:
        document["calibration"] = prepared.speech.about | {"chunk_frames": list(prepared.chunks)}
    if found is not None:
        document["sensitivity"] = [vars(cost) for cost in found]
    return document


def _write(prepared: Prepared, quantization: Quantization, out: Path) -> None:
    """The parent's files, quantize.json, and a card that names the parent."""
    source, about, card = prepared.opened.path, dict(quantization.about), prepared.opened.card
    parents = [*(card.get("parents") or []), {**about["parent"], "by": "quantize"}]
    with atomic_folder(out) as part:
        for name in KEPT:
            if (source / name).exists():
                shutil.copyfile(source / name, part / name)
        copy_heads(source, part)  # the weights stay, so they answer as before
        save_quantization(part, quantization)
        write_json(part / CARD, {**card, "parents": parents, "quantize": {"scheme": quantization.scheme, **about}})


def _replaceable(out: Path) -> bool:
    """Whether a folder holds a quantised checkpoint, or what is left of one that was not finished."""
    return load_quantization(out) is not None or (out.is_dir() and is_remains(out))


def size_bytes(encoder: Encoder, quantization: Quantization) -> int:
    """Bytes of weights to expect in a program."""
    settled, total, counted = quantization.settled(kinds(encoder)).operators, 0.0, 0
    for name, part in operators(encoder).items():
        weight, how = part.weight, settled[name].how
        # A bfloat16 per group, or a float32 per output channel.
        scales = weight.numel() / GROUP * 2 if how == "int4" else 4 * len(weight) if how in ("dynamic", "static") else 0
        # Of convolutions in halves, ExecuTorch's writer for XNNPACK keeps the weights in 32 bits.
        half = 4.0 if isinstance(part, nn.Conv1d) else 2.0
        each = {"float": 4.0, "half": half, "dynamic": 1.0, "static": 1.0, "int4": 0.5}[how]
        total, counted = total + each * weight.numel() + scales, counted + weight.numel()
    rest = 2 if quantization.scheme == "fp16" else 4
    return round(total) + rest * (parameters(encoder) - counted)
