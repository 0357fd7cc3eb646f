"""Distillation: recipe × teacher × audio -> checkpoint.

`plan` decides what will be trained, `step` is the step (teacher, student, heads, loss), `Loop` repeats it and
`Run` keeps the folder; here they are put together.
"""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from ..cluster.code import code_facts
from ..cluster.ranks import from_first, require_same, world_size
from ..data.batches import Batch, Batches
from ..data.corpus import Corpus, open_corpus
from ..data.heldout import heldout_waves, hold_out, split_notes
from ..lessons.told import KeptTeacher
from ..models.checkpoint import parameters
from ..models.costs import macs_per_s
from ..models.describe import describe_encoder
from ..models.events import OnEvent, silent
from ..models.torch_device import check_device
from ..quantize.fake_quant import check_operators
from ..quantize.precision import check_precision
from ..quantize.scheme import Quantization
from ..recipe.schema import Recipe
from ..teachers.load import Teacher, load_teacher
from .loop import Loop
from .masking import Hearing
from .plan import Plan, plan
from .process import Interrupt, keep_freed_memory
from .pruning import make_distiller, optimizer_of, penalty_of, pruning_of
from .qat import QuantizedTraining
from .run import Outcome, Run, RunOptions, centres_for, check_folder, check_keeping, keeping, summary
from .standardise import Standard
from .step import Distiller, Trainer, rescale_heads

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
    hearing: Hearing | None = None
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
            hearing=self.hearing,
            standard=self.module.standard,
            lag_frames=self.job.lag_frames,
        )
        return Loop(trainer, listen)


def meet(recipe: Recipe, options: RunOptions) -> RunOptions:
    """Let the processes of a run meet, before anything is loaded; the folder is the one that the first has chosen.

    Raises SpeechpressError, on each of them, when one runs other code or another recipe; its rank and host are named.
    """
    if world_size() == 1:
        return options
    make_fabric(recipe, options)
    facts = {"code": code_facts(), "recipe": recipe.to_dict()}
    require_same(facts, "Install one version everywhere, and start every process with the same words")
    return replace(options, out=from_first(options.out))


def set_up(recipe: Recipe, options: RunOptions) -> Setup:
    """Load the teacher, find the speech, build and initialise the student.

    Raises SpeechpressError for whatever of it cannot be had.
    """
    fabric = make_fabric(recipe, options)
    teacher = load_teacher(recipe.teacher)
    job = plan(recipe, teacher)
    corpus = open_corpus(*options.data)
    train_part, valid_part = hold_out(corpus, recipe.train.seed, recipe.train.crop_s)
    job.notes += [*corpus.notes, *split_notes(corpus, train_part, valid_part)]
    corpus = replace(corpus, skipped=valid_part.skipped)
    batches = make_batches(recipe, train_part, options.workers)
    if job.statistics_missing:
        measure_statistics(job, batches)
    # As its student; before anything is asked of it.
    teacher = teacher.to(fabric.device)
    teacher.half_dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(recipe.train.precision)
    job.centres = centres_for(job, batches, options, fabric)
    # Gates start from random noise: it must not depend on what plan() has drawn before.
    fabric.seed_everything(recipe.train.seed, verbose=False)
    module = make_distiller(job).train()
    # Before fabric.setup, which moves its ranges to the device with the rest of the module.
    quantized = train_quantized(job, module)
    if job.match.standardise:
        standardise_targets(job, module, batches, fabric, fresh=not options.resume)
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
        hearing=student_hearing(job, train_part, fabric),
        kept=keeping(job, teacher, options),
    )


def student_hearing(job: Plan, train_part: Corpus, fabric: Fabric) -> Hearing | None:
    """What only the student hears, if the recipe says so; babble is made of the speech that is trained on."""
    recipe = job.recipe
    if recipe.hear is None:
        return None
    return Hearing(recipe.hear, job.student.config, recipe.train.seed, train_part.cuts).to(fabric.device)


def standardise_targets(job: Plan, module: Distiller, batches: Batches, fabric: Fabric, *, fresh: bool) -> None:
    """Measure what targets are standardised by; a run that is resumed has its own statistics, and gets them back."""
    # No optimizer and no wrapper yet, so heads may still change.
    module.standard = Standard(job.match.teacher_layers, job.teacher.card.width, job.match.standardise_power)
    by = "deviation" if module.standard.power == 1.0 else f"deviation to the power of {module.standard.power:g}"
    job.notes.append(f"match: targets are standardised, each dimension of a layer by its mean and {by}")
    if fresh:
        module.standard.to(fabric.device).measure(job.teacher, batches)
        module.standard.to("cpu")
        rescale_heads(module, keep=job.heads_adopted)
    else:
        # Placeholders, for the saved heads, which come with their statistics.
        rescale_heads(module, keep=False)


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
    listen({"event": "plan", "out": str(options.out), **describe(made)})
    waves = heldout_waves(made.valid_part, recipe.train.crop_s)
    heard = waves[0].to(made.fabric.device)
    check_precision(made.job.student, heard, made.fabric.autocast(), recipe.where("train.precision"))
    # With another recipe, teacher or corpus a resumed run would be made of two halves.
    identity = {"recipe": recipe.to_dict(), "teacher": made.teacher.card.sha256, "data": made.corpus.fingerprint}
    if made.job.centres is not None:
        identity["clusters"] = made.job.centres.hashes()
    require_same(identity, "Give every host the same teacher and the same speech, best from a disk that they share")
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


def make_fabric(recipe: Recipe, options: RunOptions) -> Fabric:
    """Fabric for this device and precision; under torchrun (or SLURM through it) for all its processes.

    Raises SpeechpressError when the device is not there.
    """
    accelerator = check_device(options.device)
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[recipe.train.precision]
    if precision == "16-mixed" and accelerator == "cpu":
        bf16 = "is faster here" if torch.cpu.get_capabilities().get("amx_bf16") else "for bf16"
        logger.warning("fp16 needs a GPU; on this CPU the run is in fp32 (--set train.precision=bf16 %s)", bf16)
        precision = "32-true"
    # torchrun sets both; without it there is one process.
    processes, local = world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
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
