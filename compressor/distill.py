"""Distillation: recipe × teacher × audio -> checkpoint.

`plan` decides what will be trained, `distill` trains it. A run lives in one folder and writes nowhere else.
"""

import logging
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .allocator import keep_freed_memory
from .audio import UnreadableAudio, read_cut
from .batching import Batches
from .checkpoint import CARD, SCHEMA, load_encoder, parameters, save_encoder, write_json, write_text
from .corpus import Corpus, open_corpus
from .costs import macs_per_s
from .encoder import Encoder
from .heldout import split_heldout
from .metrics import MetricsLog
from .objectives import Heads, LayerPairs, PredictionHeads, save_heads
from .pretrained import Teacher, load_teacher
from .recipe import Match, Recipe, resolve_match, student_config
from .resume import STATE, load_state, save_state
from .show import describe_encoder
from .training import Distiller, Event, Interrupt, Listener, Loop, Progress, make_optimizer, validate

logger = logging.getLogger(__name__)

VALIDATION_S, VALIDATION_SHARE = 120.0, 0.05


@dataclass(frozen=True)
class Where:
    """Where a run happens; what it does stands in the recipe."""

    data: tuple[Path, ...]
    out: Path
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    workers: int = 1


@dataclass
class Plan:
    """Student, heads and matched layers of a run, with every choice that was not in the recipe's own words."""

    recipe: Recipe
    teacher: Teacher
    match: Match
    student: Encoder
    heads: Heads
    notes: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """How a run ended: `finished` is False when it was interrupted."""

    out: Path
    finished: bool
    card: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """What --json prints."""
        keys = ("steps", "valid", "audio_h", "audio_s_per_s", "train_s", "parameters", "macs_per_s", "notes")
        return {"out": str(self.out), **{key: self.card[key] for key in keys}}


def plan(recipe: Recipe, teacher: Teacher) -> Plan:
    """Build and initialise the student and its heads.

    Raises SpeechpressError when the recipe asks for layers or sizes that this teacher cannot give.
    """
    card = teacher.card
    match, notes = resolve_match(recipe, card.depth)
    config, more = student_config(recipe, card.encoder, card.width)
    torch.manual_seed(recipe.train.seed)
    student = Encoder(config)
    notes = [*notes, *more, *initialize(student, recipe.student.init, teacher)]
    heads: Heads
    if match.style == "heads":
        heads = PredictionHeads(match.teacher_layers, config.width, card.width)
    else:
        heads = LayerPairs(match.pairs, config.width, card.width)
    if config.pre_norm:  # the final norm belongs to no layer, so nothing would train it
        student.encoder.layer_norm.requires_grad_(False)
    student.front_end_grad = recipe.train.front_end_grad
    return Plan(recipe, teacher, match, student, heads, notes)


def initialize(student: Encoder, init: str, teacher: Teacher) -> list[str]:
    """Copy what fits from the teacher or a checkpoint folder into the student; says what stayed random."""
    if init == "random":
        return []
    source = teacher.hubert_weights() if init == "teacher" else load_encoder(Path(init)).state_dict()
    own = student.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    student.load_state_dict(fitting, strict=False)
    left = [name for name in own if name not in fitting and name != "masked_spec_embed"]
    if not left:
        return []
    if not fitting:
        return [f"init: nothing of {init!r} fits this student; it starts from random weights"]
    groups = sorted({".".join(name.split(".")[:3]) if "layers" in name else name.rsplit(".", 1)[0] for name in left})
    return [f"init: {len(fitting)} of {len(own)} tensors come from {init!r}; random: {', '.join(groups)}"]


def distill(recipe: Recipe, where: Where, listen: Listener) -> Outcome:
    """Train a student and write its checkpoint folder. `listen` hears every event (plan, train, valid, saved, end).

    Raises SpeechpressError for bad input, a folder in use, or a loss that is no number.
    """
    fabric = make_fabric(recipe, where)
    keep_freed_memory()
    prepare_folder(where)
    teacher = load_teacher(recipe.teacher)
    job = plan(recipe, teacher)
    corpus = open_corpus(*where.data)
    train_part, valid_part = hold_out(corpus, recipe)
    listen({"event": "plan", **describe(job, corpus, train_part, valid_part, fabric)})
    waves = heldout_waves(valid_part, recipe.train.crop_s)
    batches = make_batches(recipe, train_part, where.workers)
    fabric.seed_everything(recipe.train.seed, verbose=False)
    teacher = teacher.to(fabric.device)
    raw = Distiller(job.student, job.heads).train()
    distiller, optimizer = fabric.setup(raw, make_optimizer(raw, recipe.train))
    identity = {"recipe": recipe.to_dict(), "teacher": teacher.card.sha256, "data": corpus.fingerprint}
    run = Run(where.out, recipe, job, raw, optimizer, fabric, identity, batches, waves, listen)
    loop = Loop(fabric, distiller, teacher, optimizer, job.match, recipe.train, Progress(), run.hear)
    with Interrupt().watching() as interrupt:
        if where.resume:
            run.restore(loop)
        else:
            run.begin(loop)
        finished = loop.run(batches, interrupt, lambda: run.after_step(loop))
    return run.end(loop, finished, corpus)


@dataclass
class Run:
    """The folder of a run: what is written to it, and when."""

    out: Path
    recipe: Recipe
    job: Plan
    module: Distiller
    optimizer: torch.optim.Optimizer
    fabric: Fabric
    identity: dict[str, Any]
    batches: Batches
    waves: list[Tensor]
    listen: Listener
    valid: dict[str, Any] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        if self.fabric.is_global_zero:
            if event["event"] in ("train", "valid"):
                self.log.write(event)
            self.listen(event)

    @property
    def log(self) -> MetricsLog:
        return MetricsLog(self.out / "metrics.jsonl")

    def begin(self, loop: Loop) -> None:
        if self.fabric.is_global_zero:
            write_text(self.out / "recipe.yaml", self.recipe.text())
            self.log.restart(at_step=-1)
        self.validate(loop, "start")

    def restore(self, loop: Loop) -> None:
        loop.progress, extra = load_state(self.out, self.module, self.optimizer, self.fabric, self.identity)
        self.valid = extra["valid"]
        if self.fabric.is_global_zero:
            self.log.restart(at_step=loop.progress.step)
            self.listen({"event": "resumed", "step": loop.progress.step})

    def after_step(self, loop: Loop) -> None:
        step, train = loop.progress.step, self.recipe.train
        if step % train.validate_every == 0 or step == train.steps:
            self.validate(loop, "end")
        if step % train.checkpoint_every == 0 and step < train.steps:
            self.save(loop)

    def validate(self, loop: Loop, name: str) -> None:
        if self.fabric.is_global_zero:
            self.valid[name] = validate(self.module, loop.teacher, self.job.match.teacher_layers, self.waves)
            self.hear({"event": "valid", "step": loop.progress.step, "layers": self.valid[name]})
        self.fabric.barrier()

    def save(self, loop: Loop) -> None:
        if self.fabric.is_global_zero:
            extra = {"valid": self.valid}
            save_state(self.out, self.module, self.optimizer, self.fabric, loop.progress, self.identity, extra)
            self.listen({"event": "saved", "step": loop.progress.step})
        self.fabric.barrier()

    def end(self, loop: Loop, finished: bool, corpus: Corpus) -> Outcome:
        """Write the checkpoint (and, when interrupted, what is needed to go on)."""
        if not finished:
            self.save(loop)
        card = make_card(self, loop, finished, corpus)
        if self.fabric.is_global_zero:
            from .plots import plot_run

            save_encoder(self.out, self.job.student)
            save_heads(self.out, self.job.heads)
            plot_run(self.out / "metrics.jsonl", self.out / "loss.png")
            write_json(self.out / CARD, card)
            if finished:
                (self.out / STATE).unlink(missing_ok=True)
        self.fabric.barrier()
        self.hear({"event": "end", "step": loop.progress.step, "finished": finished, "out": str(self.out)})
        return Outcome(self.out, finished, card)


def make_card(run: Run, loop: Loop, finished: bool, corpus: Corpus) -> dict[str, Any]:
    """The lineage of a checkpoint: where it comes from and how it did."""
    skipped = [{"path": item.path, "reason": item.reason} for item in [*corpus.skipped, *run.batches.skipped]]
    return {
        "schema": SCHEMA,
        "kind": "student",
        "finished": finished,
        "recipe": run.recipe.to_dict(),
        "teacher": run.job.teacher.card.to_dict(),
        "match": asdict(run.job.match),
        "notes": run.job.notes,
        "data": {**summary(corpus), "fingerprint": corpus.fingerprint, "skipped": skipped},
        "steps": loop.progress.step,
        "audio_h": loop.progress.audio_s / 3600,
        "train_s": loop.progress.train_s,
        "audio_s_per_s": loop.progress.audio_s / max(loop.progress.train_s, 1e-9),
        "parameters": parameters(run.job.student),
        "macs_per_s": macs_per_s(run.job.student.config),
        "valid": run.valid,
        "versions": {name: version(name) for name in ("speechpress", "torch", "transformers", "lhotse")},
    }


def make_fabric(recipe: Recipe, where: Where) -> Fabric:
    """Fabric for this device and precision; under torchrun (or SLURM through it) for all its processes.

    Raises SpeechpressError when the device is not there.
    """
    accelerator = where.device
    if accelerator == "auto":
        mps = torch.backends.mps.is_available()
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise SpeechpressError("--device cuda: this PyTorch sees no CUDA device; use --device cpu")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise SpeechpressError("--device mps: this PyTorch sees no Apple GPU; use --device cpu")
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[recipe.train.precision]
    if precision == "16-mixed" and accelerator == "cpu":
        logger.warning("fp16 needs a GPU; on this CPU the run is in fp32 (--set train.precision=bf16 for bf16)")
        precision = "32-true"
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


def prepare_folder(where: Where) -> None:
    """Refuse a folder that is in use; with --overwrite clear one that holds a run and nothing else's work.

    Raises SpeechpressError; nothing is deleted unless --overwrite was given.
    """
    out = where.out
    if where.resume:
        if not out.is_dir():
            raise SpeechpressError(f"{out}: there is no run to resume; leave out --resume to start one")
        return
    if int(os.environ.get("RANK", 0)) or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not where.overwrite:
        raise SpeechpressError(f"{out}: is not empty. Use --resume to go on with the run there, --overwrite or another --out")
    if not (out / "recipe.yaml").exists():
        raise SpeechpressError(f"{out}: holds something else than a run, so --overwrite leaves it alone; use another --out")
    shutil.rmtree(out)


def make_batches(recipe: Recipe, train_part: Corpus, workers: int) -> Batches:
    train = recipe.train
    return Batches(
        train_part.cuts, batch=train.batch, crop_s=train.crop_s, batch_s=train.batch_s, seed=train.seed, workers=workers
    )


def hold_out(corpus: Corpus, recipe: Recipe) -> tuple[Corpus, Corpus]:
    """(train, held out): a twentieth of the speech, at most two minutes."""
    seconds = min(VALIDATION_S, VALIDATION_SHARE * corpus.hours * 3600)
    return split_heldout(corpus, seconds=seconds, seed=recipe.train.seed)


def heldout_waves(valid: Corpus, crop_s: float) -> list[Tensor]:
    """The held-out clips as (1, S) each, at most `crop_s` long, so that no row is ever padded."""
    waves = []
    for cut in valid.cuts:
        try:
            waves.append(torch.from_numpy(read_cut(cut, 0.0, min(cut.duration, crop_s)))[None])
        except UnreadableAudio as error:
            logger.warning("held-out recording left out: %s", error)
    if not waves:
        raise SpeechpressError(f"{valid.source}: none of the {len(valid.cuts)} held-out recordings can be read")
    return waves


def summary(corpus: Corpus) -> dict[str, Any]:
    return {
        "source": corpus.source,
        "hours": corpus.hours,
        "recordings": len(corpus.cuts),
        "speakers": len(corpus.speakers),
        "skipped": len(corpus.skipped),
    }


def try_out(recipe: Recipe, where: Where) -> dict[str, Any]:
    """A dry run: build everything, take one batch forward and backward, write nothing, and say what it takes."""
    fabric = make_fabric(recipe, where)
    teacher = load_teacher(recipe.teacher)
    job = plan(recipe, teacher)
    corpus = open_corpus(*where.data)
    train_part, valid_part = hold_out(corpus, recipe)
    teacher = teacher.to(fabric.device)
    raw = Distiller(job.student, job.heads).train()
    distiller, optimizer = fabric.setup(raw, make_optimizer(raw, recipe.train))
    loop = Loop(fabric, distiller, teacher, optimizer, job.match, recipe.train, Progress(), lambda event: None)
    stream = make_batches(recipe, train_part, where.workers).start(0)
    batch = next(stream)
    stream.close()
    loss = float(loop.step(batch))
    return {
        **describe(job, corpus, train_part, valid_part, fabric),
        **describe_encoder(job.student.config),
        "first_loss": loss,
        "batch_s": batch.audio_s,
        "peak_memory_bytes": peak_memory_bytes(fabric),
    }


def peak_memory_bytes(fabric: Fabric) -> int:
    """The most memory this process has held so far: on the GPU where there is one, else resident in main memory."""
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated(fabric.device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def describe(job: Plan, corpus: Corpus, train_part: Corpus, valid_part: Corpus, fabric: Fabric) -> dict[str, Any]:
    """What is about to be done, for people and for --json."""
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
        "data": summary(corpus),
        "train_h": train_part.hours,
        "valid_h": valid_part.hours,
        "device": str(fabric.device),
        "processes": fabric.world_size,
    }
