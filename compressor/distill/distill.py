"""Distillation: recipe × teacher × audio -> checkpoint.

`plan` decides what will be trained, `step` is the step (teacher, student, heads, loss), `Loop` repeats it and
`Run` keeps the folder; here they are put together.
"""

import logging
import math
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from speechpress.runtime.errors import SpeechpressError

from ..data.batches import Batch, Batches
from ..data.corpus import Corpus, open_corpus
from ..data.heldout import heldout_waves, hold_out, left_out
from ..lessons.told import KeptTeacher
from ..lessons.units import Centres, find_centres
from ..models.checkpoint import parameters
from ..models.costs import macs_per_s
from ..models.describe import describe_encoder
from ..models.events import OnEvent, silent
from ..models.torch_device import check_device
from ..quantize.fake_quant import check_operators
from ..quantize.scheme import Quantization
from ..recipe.schema import Recipe
from ..teachers.load import Teacher, load_teacher
from .loop import Loop
from .plan import Plan, plan
from .process import Interrupt, keep_freed_memory
from .pruning import make_distiller, optimizer_of, penalty_of, pruning_of
from .qat import QuantizedTraining
from .run import Outcome, Run, RunOptions, check_folder, summary
from .step import Distiller, Trainer

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Setup:
    """Everything that a run takes, built and on its device; `module` is `distiller` without Fabric's wrapper."""

    fabric: Fabric
    teacher: Teacher
    job: Plan
    corpus: Corpus
    train_part: Corpus
    valid_part: Corpus
    batches: Batches
    module: Distiller
    distiller: nn.Module
    optimizer: torch.optim.Optimizer
    quantized: QuantizedTraining | None = None
    kept: KeptTeacher | None = None

    def loop(self, listen: OnEvent) -> Loop:
        """The training loop, at its first step."""
        trainer = Trainer(
            fabric=self.fabric,
            teacher=self.teacher,
            distiller=self.distiller,
            optimizer=self.optimizer,
            match=self.job.match,
            train=self.job.recipe.train,
            draw_chunk=chunk_drawer(self.job),
            penalty=penalty_of(self.module, self.job.recipe),
            kept=self.kept,
            centres=self.job.centres,
            before_step=self.quantized.at if self.quantized is not None else lambda step: None,
        )
        return Loop(trainer, listen)


def set_up(recipe: Recipe, options: RunOptions) -> Setup:
    """Load the teacher, find the speech, build and initialise the student.

    Raises SpeechpressError for whatever of it cannot be had.
    """
    fabric = make_fabric(recipe, options)
    teacher = load_teacher(recipe.teacher)
    job = plan(recipe, teacher)
    corpus = open_corpus(*options.data)
    train_part, valid_part = hold_out(corpus, recipe.train.seed, recipe.train.crop_s)
    job.notes += [*corpus.notes, *filter(None, [left_out(corpus, train_part, valid_part)])]
    corpus = replace(corpus, skipped=valid_part.skipped)
    batches = make_batches(recipe, train_part, options.workers)
    if job.statistics_missing:
        measure_statistics(job, batches)
    job.centres = centres_for(job, batches, options, fabric)
    # Gates start from random noise: it must not depend on what plan() has drawn before.
    fabric.seed_everything(recipe.train.seed, verbose=False)
    teacher = teacher.to(fabric.device)
    module = make_distiller(job).train()
    # Before fabric.setup, which moves its ranges to the device with the rest of the module.
    quantized = train_quantized(job, module)
    distiller, optimizer = fabric.setup(module, optimizer_of(module, recipe, fabric))
    return Setup(
        fabric=fabric,
        teacher=teacher,
        job=job,
        corpus=corpus,
        train_part=train_part,
        valid_part=valid_part,
        batches=batches,
        module=module,
        distiller=distiller,
        optimizer=optimizer,
        quantized=quantized,
        kept=keeping(job, teacher, options),
    )


def train_quantized(job: Plan, module: Distiller) -> QuantizedTraining | None:
    """Let the student round as its program will, if the recipe asks for it.

    Raises SpeechpressError when a layer cannot be quantised so.
    """
    recipe = job.recipe
    if recipe.quantize is None:
        return None
    scheme = recipe.quantize.scheme
    check_operators(recipe.where("quantize.scheme"), job.student, Quantization("int4" if scheme == "int4" else "int8"))
    quantized = QuantizedTraining(job.student, recipe.quantize, recipe.train.steps)
    module.add_module("quantized", quantized)  # its ranges are saved and restored with the rest
    job.notes.append(f"student: computes as in {scheme} from step {round(quantized.start)} on")
    return quantized


def distill(recipe: Recipe, options: RunOptions, listen: OnEvent) -> Outcome:
    """Train a student and write its checkpoint folder. `listen` hears every event (plan, train, valid, saved, end).

    Raises SpeechpressError for bad input, a folder in use, or a loss that is no number.
    """
    # Before anything large is allocated: the settings hold for what comes after them.
    keep_freed_memory()
    # First what costs nothing: set_up loads a teacher and reads the corpus.
    check_folder(options)
    check_keeping(recipe, options)
    made = set_up(recipe, options)
    listen = listen if made.fabric.is_global_zero else silent
    listen({"event": "plan", **describe(made)})
    waves = heldout_waves(made.valid_part, recipe.train.crop_s)
    # With another recipe, teacher or corpus a resumed run would be made of two halves.
    identity = {"recipe": recipe.to_dict(), "teacher": made.teacher.card.sha256, "data": made.corpus.fingerprint}
    if made.job.centres is not None:
        identity["clusters"] = made.job.centres.hashes()
    run = Run(
        out=options.out,
        recipe=recipe,
        job=made.job,
        module=made.module,
        optimizer=made.optimizer,
        fabric=made.fabric,
        identity=identity,
        batches=made.batches,
        waves=waves,
        listen=listen,
        quantized=made.quantized,
    )
    loop, pruning = made.loop(run.hear), pruning_of(made.job, made.module)

    def after_step() -> None:
        # Pruned first: what is validated and saved has to have its zeros.
        pruning.after_step(loop.progress.step)
        run.after_step(loop)

    with Interrupt().watching() as interrupt:
        if options.resume:
            run.restore(loop)
        # After restore, since which weights are held at zero is read off them; before begin, which validates.
        pruning.begin(fresh=not options.resume)
        if not options.resume:
            run.begin(loop)
        finished = loop.run(made.batches, interrupt, after_step)
    # A run that was interrupted keeps its gates: only a finished student is cut.
    if finished:
        run.job = pruning.finish(run.job)
    if made.kept is not None:
        listen({"event": "kept", **made.kept.facts()})
    return run.end(loop, finished, made.corpus)


def try_out(recipe: Recipe, options: RunOptions) -> dict[str, Any]:
    """A dry run: build everything, take one batch forward and backward, write nothing, and say what it takes."""
    # It writes nothing, so nothing is kept either.
    made = set_up(recipe, replace(options, keep_targets=None))
    batch, loop = first_batch(made.batches), made.loop(silent)
    loss = float(loop.step(batch))
    # Also fails for a gradient that is no number, which the loss does not show.
    loop.settle()
    return {
        **describe(made),
        **describe_encoder(made.job.student.config),
        "first_loss": loss,
        "batch_s": batch.audio_s,
        "peak_memory_bytes": peak_memory_bytes(made.fabric),
    }


def describe(made: Setup) -> dict[str, Any]:
    """What is about to be done, for people and for --json."""
    job = made.job
    return {
        "recipe": job.recipe.name,
        "teacher": job.teacher.card.to_dict(),
        "student": {
            "layers": job.student.config.num_layers,
            "width": job.student.config.width,
            "parameters": parameters(job.student),
            "heads_parameters": parameters(job.heads),
            "macs_per_s": macs_per_s(job.student.config),
        },
        "match": asdict(job.match),
        "notes": job.notes,
        "steps": job.recipe.train.steps,
        "data": summary(made.corpus),
        "train_recordings": len(made.train_part.cuts),
        "train_h": made.train_part.hours,
        "valid_h": made.valid_part.hours,
        "device": str(made.fabric.device),
        "processes": made.fabric.world_size,
    }


def centres_for(job: Plan, batches: Batches, options: RunOptions, fabric: Fabric) -> Centres | None:
    """The clusters that the recipe asks for: found on training speech, or those that a resumed run was begun with."""
    asked = job.match.clusters
    if asked is None:
        return None
    if options.resume:
        return Centres.load(options.out)
    found = None
    if fabric.is_global_zero:
        with closing(batches.start(0)) as stream:
            found = find_centres(job.recipe, asked, job.teacher, stream, fabric.device)
    # From one process: others might round differently, and would have other units.
    found = fabric.broadcast(found)
    assert found is not None
    job.notes.append(
        f"units: {asked.count} clusters of teacher layer {', '.join(map(str, asked.layers))}, found on "
        f"{found.heard_s / 60:.1f} minutes of the training speech"
    )
    return found


def check_keeping(recipe: Recipe, options: RunOptions) -> None:
    """Raises SpeechpressError for a recipe with which what a teacher says of a clip differs from epoch to epoch."""
    if options.keep_targets is None:
        return
    if recipe.match.mask_prob is not None:
        raise SpeechpressError(
            f"{recipe.where('match.mask_prob')}: with match.mask_prob the teacher hears other frames hidden at every "
            "step, so its targets cannot be kept; leave out --keep-targets, or --set match.mask_prob=null"
        )
    if recipe.train.crops != "fixed":
        raise SpeechpressError(
            f"{recipe.where('train.crops', 'train')}: targets can be kept only where a clip is cropped alike in every "
            "epoch; set train.crops to fixed"
        )
    if not 0 < options.keep_targets_gb < math.inf:
        raise SpeechpressError(f"--keep-targets-gb {options.keep_targets_gb:g}: must be a size in GB, above 0")


def keeping(job: Plan, teacher: Teacher, options: RunOptions) -> KeptTeacher | None:
    """The folder of --keep-targets, opened; raises SpeechpressError when it belongs to something else."""
    if options.keep_targets is None:
        return None
    kept = KeptTeacher(teacher, job.match.teacher_layers, options.keep_targets, options.keep_targets_gb, job.centres)
    job.notes.append("teacher: what it says of each clip is rounded to float16 and kept")
    return kept


def make_fabric(recipe: Recipe, options: RunOptions) -> Fabric:
    """Fabric for this device and precision; under torchrun (or SLURM through it) for all its processes.

    Raises SpeechpressError when the device is not there.
    """
    accelerator = check_device(options.device)
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[recipe.train.precision]
    if precision == "16-mixed" and accelerator == "cpu":
        logger.warning("fp16 needs a GPU; on this CPU the run is in fp32 (--set train.precision=bf16 for bf16)")
        precision = "32-true"
    # torchrun sets both; without it there is one process.
    processes, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=processes // local,
        precision=precision,  # type: ignore[arg-type]
        strategy="ddp" if processes > 1 else "auto",
    )
    fabric.launch()
    return fabric


def chunk_drawer(job: Plan) -> Callable[[int], int | None]:
    """step -> frames of its chunks, None for the whole recording."""
    streaming, config, seed = job.recipe.streaming, job.student.config, job.recipe.train.seed
    # A function of the step, so that a resumed run and every process draw the same chunks.
    return lambda step: None if streaming is None else streaming.draw_chunk(config, seed, step)


def measure_statistics(job: Plan, batches: Batches) -> None:
    """Fit the fixed statistics of the student's front end to the first batch of training speech."""
    batch = first_batch(batches)
    job.student.measure_statistics(batch.waves)
    job.notes.append(f"student: the statistics of its first norm were measured on {batch.audio_s:.0f} s of speech")


def first_batch(batches: Batches) -> Batch:
    """The first whole batch of which something can be read, the same on every process."""
    stream = batches.start(0)
    try:
        # A recording that cannot be read gives no row, so the first batches may be empty.
        return next(batch for batch in stream if len(batch.waves))
    finally:
        stream.close()


def make_batches(recipe: Recipe, train_part: Corpus, workers: int) -> Batches:
    train = recipe.train
    return Batches(
        train_part.cuts,
        batch=train.batch,
        crop_s=train.crop_s,
        batch_s=train.batch_s,
        seed=train.seed,
        workers=workers,
        fixed_crops=train.crops == "fixed",
    )


def peak_memory_bytes(fabric: Fabric) -> int:
    """The most memory this process has held so far: on the GPU where there is one, else resident in main memory."""
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated(fabric.device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
