"""The public functions: what `compress` does, with keyword arguments.

Each returns the document that its command prints with --json, and raises SpeechpressError where the command would end
with an error. `on_event` receives the events of a run as dicts, `say` messages about progress; both are optional.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechpress.compressor.models.events import OnEvent, OnText

if TYPE_CHECKING:
    from speechpress.compressor.recipe.schema import Recipe

PathLike = str | Path
Paths = PathLike | Sequence[PathLike]


def silent(heard: Any) -> None:
    """Hear nothing of it."""


def paths_of(paths: Paths) -> tuple[Path, ...]:
    # A text is a sequence too, of its letters.
    return (Path(paths),) if isinstance(paths, str | Path) else tuple(Path(path) for path in paths)


def distill(
    recipe: "PathLike | Recipe",
    *,
    data: Paths,
    out: PathLike,
    teacher: str | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    keep_targets: PathLike | None = None,
    keep_targets_gb: float = 20.0,
    track: str = "none",
    on_event: OnEvent = silent,
) -> dict[str, Any]:
    """Train a student and write its checkpoint folder.

    Args:
        recipe: name of a shipped recipe, path of a YAML file, or a `Recipe`.
        data: folders of audio, Lhotse cuts manifests or Shar folders, here or at an address (s3://...).
        out: the folder to write.
        teacher: hub id, folder, file or torchaudio:NAME; else the recipe's. Not with a `Recipe`.
        changes: keys of the recipe to change, as "train.steps=1000". Not with a `Recipe`.
        device: auto, cpu, cuda or mps.
        resume: continue an interrupted run in `out`.
        overwrite: replace the run in `out`.
        keep_targets: folder for the teacher's output on each clip, so that the teacher runs once per clip; sets
            train.crops to fixed, which a `Recipe` must have.
        keep_targets_gb: the largest size of that folder.
        track: tensorboard, wandb or trackio, which also get the numbers of metrics.jsonl.
        on_event: receives the run's events.

    Raises SpeechpressError for bad input, a folder in use, or a run that was interrupted.
    """
    # Imported here, as everywhere in this file: reading what there is must not load torch.
    from speechpress.compressor.distill.run import RunOptions
    from speechpress.compressor.distill.stages import distill_in_stages
    from speechpress.compressor.models.events import to_all
    from speechpress.compressor.track.tracker import tracker
    from speechpress.runtime.errors import SpeechpressError

    loaded = _recipe(recipe, [*([f"teacher={teacher}"] if teacher else []), *changes], keep_targets is not None)
    kept = None if keep_targets is None else Path(keep_targets)
    options = RunOptions(
        paths_of(data), Path(out), device, resume, overwrite, keep_targets=kept, keep_targets_gb=keep_targets_gb
    )
    with tracker(track) as curves:
        outcome = distill_in_stages(loaded, options, to_all(on_event, curves))
    # An error and not a result: a caller that goes on would take half a training for a whole one.
    if not outcome.finished:
        raise SpeechpressError(f"{out}: was interrupted; call distill again with resume=True")
    return outcome.document()


def _recipe(recipe: "PathLike | Recipe", settings: list[str], fixed_crops: bool) -> "Recipe":
    """Raises SpeechpressError for settings of a `Recipe`, which is resolved already."""
    from speechpress.compressor.recipe.files import load_recipe
    from speechpress.compressor.recipe.schema import Recipe
    from speechpress.runtime.errors import SpeechpressError

    if not isinstance(recipe, Recipe):
        return load_recipe(str(recipe), [*(["train.crops=fixed"] if fixed_crops else []), *settings])
    if settings:
        raise SpeechpressError("teacher and changes are for a recipe's name or file; change the Recipe itself")
    return recipe


def prune(
    checkpoint: PathLike,
    *,
    out: PathLike,
    to_params: str | None = None,
    to_macs: str | None = None,
    to_latency: str | None = None,
    sparsity: float | None = None,
    method: str = "taylor",
    layers: int | None = None,
    width: int | None = None,
    recover: int | None = 0,
    data: Paths = (),
    teacher: str | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent = silent,
    say: OnText = silent,
) -> dict[str, Any]:
    """Write a smaller checkpoint; give one of `to_params`, `to_macs`, `to_latency` and `sparsity` as the target.

    Args:
        checkpoint: a student's folder.
        out: the folder to write.
        to_params: parameters, such as "10M".
        to_macs: multiply-accumulates per second of audio, such as "1.2G".
        to_latency: time of a chunk on a device, such as "5ms@host".
        sparsity: share to remove, between 0 and 1.
        method: taylor or magnitude remove units; parp or one-shot set single weights to zero.
        layers: Transformer layers to keep.
        width: dimensions of the residual stream to keep.
        recover: distillation steps after pruning; None: a tenth of the recipe's.
        data: speech, for importance by taylor and for the recovery.

    Raises SpeechpressError for a target that cannot be met, missing speech, or a folder in use.
    """
    from speechpress.compressor.distill.run import RunOptions
    from speechpress.compressor.prune.options import PrunePlan, read_target
    from speechpress.compressor.prune.prune import prune as run
    from speechpress.compressor.prune.prune import settled

    # Read before the checkpoint: a mistyped target is told at once.
    target = read_target(to_macs, to_params, to_latency, sparsity)
    # The last two are chunk and quantisation of a timed target; None takes the target's own.
    plan = PrunePlan(Path(checkpoint), target, method, recover, layers, width, teacher, tuple(changes), None, None)
    options = RunOptions(paths_of(data), Path(out), device, resume, overwrite)
    return run(settled(plan, options, say), options, on_event, say)


def quantize(
    checkpoint: PathLike,
    scheme: str = "int8-static",
    *,
    out: PathLike,
    data: PathLike | None = None,
    budget_db: float = 30.0,
    overwrite: bool = False,
    say: OnText = silent,
) -> dict[str, Any]:
    """Write a quantised checkpoint, calibrated on held-out speech if the scheme needs it.

    Args:
        checkpoint: a student's folder.
        scheme: int8-static, int8, int8-linear, int4, fp16 or mixed.
        out: the folder to write.
        data: folder of audio or Lhotse manifest; else the starter speech.
        budget_db: mixed: least signal-to-error ratio of the features, in dB.

    Raises SpeechpressError for an unknown scheme, a folder without a checkpoint, or an output folder in use.
    """
    from speechpress.compressor.heads.files import read_heads
    from speechpress.compressor.quantize.ptq import prepare
    from speechpress.compressor.quantize.ptq import quantize as write
    from speechpress.compressor.quantize.scheme import CALIBRATED
    from speechpress.compressor.targets import known_scheme

    # Before the checkpoint and speech are read.
    known_scheme(scheme)
    heads = read_heads(checkpoint)
    prepared = prepare(Path(checkpoint), None if data is None else Path(data), scheme in CALIBRATED, heads)
    return write(prepared, scheme, Path(out), say, budget_db, overwrite)


def head(
    checkpoint: PathLike,
    task: str,
    *,
    data: PathLike,
    out: PathLike | None = None,
    name: str = "",
    label: str | None = None,
    labels: Sequence[str] = (),
    clusters: int = 100,
    layer: int | None = None,
    kernel: int | None = None,
    hidden: int = 0,
    chunk_ms: Sequence[float] = (),
    finetune: int = 0,
    finetune_lr: float = 3e-5,
    finetune_steps: int = 300,
    steps: int = 300,
    seeds: int = 3,
    cache: PathLike | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    say: OnText = silent,
) -> dict[str, Any]:
    """Train a head on a student, and store it in the student's checkpoint.

    Args:
        checkpoint: a student's folder.
        task: a kind (classify, ctc, units, speaker, vad, segment) or a task of the mini suite (ks, pr, asv, ...).
        data: a labelled folder, a table with a column `path`, a Lhotse manifest, or the suite's corpora.
        out: a copy of the checkpoint that gets the head; else the checkpoint itself.
        name: name of the head; else the task's usual name.
        label: column of the answers.
        labels: every label that may occur; else those of the data.
        clusters: number of units.
        layer: layer whose frames are clustered into units; else the last.
        kernel: frames of a causal convolution before the answers.
        hidden: channels of that convolution.
        chunk_ms: chunk sizes for a streaming student; else those of its training.
        finetune: how many of the top layers are trained too; -1: all. `out` is required then.
        steps: training steps of the head.
        seeds: heads that are trained; the best one on val is kept.
        cache: a folder for features; else they are computed again each time.
        overwrite: replace a head of that name.

    Raises SpeechpressError for labels that do not fit the task, or a name or folder in use.
    """
    from speechpress.compressor.evaluate.heads import Budget
    from speechpress.compressor.heads.head import train_head
    from speechpress.compressor.heads.learn import HeadOptions, Shape

    # In the order of its fields; a keyword each would be as long again.
    place, kept = (None if path is None else Path(path) for path in (out, cache))
    shape, budget = Shape(kernel, hidden), Budget(steps=steps, seeds=seeds)
    asked = (task, Path(data), place, name, overwrite, label, tuple(labels), shape, clusters, layer, tuple(chunk_ms))
    options = HeadOptions(*asked, budget, finetune, finetune_lr, finetune_steps, kept, device)
    return train_head(Path(checkpoint), options, say)


def export(
    checkpoint: PathLike,
    target: str,
    *,
    out: PathLike,
    quantize: str | None = None,
    chunk_ms: Sequence[float] = (),
    layers: str = "last",
    heads: str = "none",
    head_tolerance: float = 0.05,
    offline_s: float | None = None,
    overwrite: bool = False,
    allow_fallback: bool = False,
    say: OnText = silent,
) -> dict[str, Any]:
    """Make a bundle. The program is run and compared with the checkpoint before the bundle is written.

    Args:
        checkpoint: a student's folder, or a teacher.
        target: such as "android"; `compress ls targets` lists them.
        out: the folder to write.
        quantize: a scheme; else the checkpoint's own, else the target's.
        chunk_ms: chunk sizes, of which the first is the default; else the target's.
        layers: last, all, or numbers such as "0,2,4", side by side in each frame.
        heads: none, all of the checkpoint, or names such as "phones,vad"; frames are always output.
        head_tolerance: relative loss of its metric on held-out speech that a head may have.
        offline_s: the longest recording that can be run at once, in seconds; 0: none. None: 10, or 0 for a backend that
            takes chunks and windows only.
        allow_fallback: accept a program that spends much of its time outside its backend.

    Raises:
        SpeechpressError: the encoder cannot be lowered, or the folder is in use.
        CheckFailed: the program differs from the checkpoint, or spends too much time outside its backend.
    """
    from speechpress.compressor.export.export import export as write
    from speechpress.compressor.export.export import plan
    from speechpress.compressor.export.source import open_source
    from speechpress.compressor.targets import check_scheme, target_of

    # Checked first, because lowering takes long and the checkpoint has to be loaded for it.
    place = target_of(target)
    # Not every backend runs every scheme.
    check_scheme(place, quantize or place.quantize)
    planned = plan(open_source(str(checkpoint)), place, quantize, tuple(chunk_ms), offline_s, layers, heads)
    return write(planned, Path(out), overwrite, allow_fallback, say, head_tolerance)
