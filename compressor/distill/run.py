"""The folder of a run: whether it may be used, what is written to it and when, and its lineage."""

import math
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechpress.runtime.atomic import discard, filled, write_json, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parts import clear, entries

from ..cluster.ranks import from_first, rank, require_all, require_same
from ..data.batches import Batches
from ..data.corpus import Corpus
from ..lessons.keep import DEFAULT_GB
from ..lessons.told import KeptTeacher
from ..lessons.units import Centres, find_centres
from ..models.checkpoint import CARD, SCHEMA, SEAL, STATE, is_remains, parameters, save_encoder
from ..models.costs import macs_per_s
from ..models.describe import describe_encoder
from ..models.document_schema import Card
from ..models.events import Event, OnEvent
from ..quantize.scheme import save_quantization
from ..recipe.schema import Recipe
from ..teachers.load import Teacher
from ..views.warned import attempt
from .loop import Loop
from .metrics import MetricsLog, plot_run
from .objectives import save_heads
from .plan import Plan
from .qat import QuantizedTraining
from .resume import load_state, save_state
from .standardise import first_waves, standardise_output
from .step import Distiller, rescale_heads
from .validation import validate, validate_units

OUTPUT_S = 300.0  # of speech, by which a student's output is standardised
SHARED = "--out must be on a disk that all hosts share"


@dataclass(frozen=True)
class RunOptions:
    """Where a run happens; what it does stands in the recipe."""

    data: tuple[Path, ...]
    out: Path
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    keep_targets: Path | None = None  # a folder for what the teacher says
    keep_targets_gb: float = DEFAULT_GB
    go_on: bool = False  # begin, or resume where it was begun: for torchrun and batch systems, which start again


@dataclass
class Outcome:
    """How a run ended: `finished` is False when it was interrupted."""

    out: Path
    finished: bool
    card: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """What --json prints."""
        keys = ("steps", "valid", "audio_h", "audio_s_per_s", "train_s", "parameters", "macs_per_s", "notes")
        return {"out": str(self.out), **{key: self.card[key] for key in keys}}


def check_folder(options: RunOptions) -> None:
    """Raises SpeechpressError for a folder in use, unless it holds a run and --overwrite (or --resume) was given."""
    out = options.out
    if options.resume:
        if not out.is_dir():
            raise SpeechpressError(f"{out}: there is no run to resume; leave out --resume to start one")
        return
    # The first process only: when the others look, it may have begun to write.
    if rank() or not out.exists() or (out.is_dir() and not entries(out)):
        return
    if not options.overwrite:
        raise SpeechpressError(
            f"{out}: is not empty. Use --resume to continue the run there, --overwrite or another --out"
            + under_torchrun()
        )
    if not (out / "recipe.yaml").exists() and not (out.is_dir() and is_remains(out)):
        raise SpeechpressError(
            f"{out}: contains something other than a run, so --overwrite does not touch it; use another --out"
        )


def under_torchrun() -> str:
    """What to say besides where torchrun may be what has started this again."""
    words = "; for torchrun to go on after a restart, give --go-on"
    return words if "TORCHELASTIC_RUN_ID" in os.environ else ""


def gone_on(options: RunOptions) -> RunOptions:
    """With `go_on`: the same as a run that is resumed, or begun, as the folder of the first process has it."""
    if not options.go_on:
        return options
    # Asked once, by one process: the others might look when it has begun to write.
    resume, begun = from_first(((options.out / STATE).exists(), (options.out / "recipe.yaml").exists()))
    # Killed before its first checkpoint: there is nothing to lose.
    return replace(options, resume=resume, overwrite=options.overwrite or (begun and not resume))


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
    listen: OnEvent
    valid: dict[str, Any] = field(default_factory=dict)
    quantized: QuantizedTraining | None = None

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
            if self.out.exists() and entries(self.out):  # see check_folder: --overwrite, now that all else is in place
                discard(self.out)
            clear(self.out.parent)
            write_text(self.out / "recipe.yaml", self.recipe.text())
            self.log.restart(at_step=-1)
            if self.job.centres is not None:
                self.job.centres.save(self.out)
        self.validate(loop, "start")

    def restore(self, loop: Loop) -> None:
        state = self.out / STATE
        require_all(state.is_file() or rank() == 0, f"{state} is not there", SHARED)
        loop.progress, extra = load_state(self.out, self.module, self.optimizer, self.fabric, self.identity)
        require_same({"step": loop.progress.step}, SHARED)
        self.valid = extra["valid"]
        rescale_heads(self.module, keep=False)
        if self.fabric.is_global_zero:
            self.log.restart(at_step=loop.progress.step)
            self.listen({"event": "resumed", "step": loop.progress.step})

    def after_step(self, loop: Loop) -> None:
        step, train = loop.progress.step, self.recipe.train
        if step % train.validate_every == 0 or step == train.steps:
            self.validate(loop, "end")
        if step % train.checkpoint_every == 0 and step < train.steps:
            self.save(loop)

    # On one process: the others wait at the broadcast.
    def validate(self, loop: Loop, name: str) -> None:
        if self.fabric.is_global_zero:
            layers, standard = self.job.match.teacher_layers, self.module.standard
            measure = partial(validate, self.module, self.job.teacher, layers, self.waves, standard=standard)
            measure = partial(measure, lag_frames=self.job.lag_frames)
            self.valid[name] = measure()
            event = {"event": "valid", "step": loop.progress.step, "layers": self.valid[name]}
            if self.recipe.streaming is not None:
                config = self.job.student.config
                smallest, _ = self.recipe.streaming.chunk_range(config)
                self.valid["chunk_ms"] = config.stream_spec(smallest).chunk_ms
                event["chunked"] = self.valid[f"{name}_chunked"] = measure(smallest)
            if self.job.centres is not None:
                told = validate_units(
                    self.module, self.job.teacher, self.job.centres, self.waves, lag_frames=self.job.lag_frames
                )
                self.valid.setdefault("units", {})[name] = event["units"] = told
            self.hear(event)
        # Every process returns the card, and with it these figures.
        self.valid = self.fabric.broadcast(self.valid)

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
        elif self.job.output_norm_free:
            self.standardise_output()
        card = make_card(self, loop, finished, corpus)
        if self.fabric.is_global_zero:
            with filled(self.out, SEAL) as part:
                save_encoder(part, self.job.student)
                save_heads(part, self.job.heads)
                if self.job.centres is not None:
                    self.job.centres.save(part, self.job.units)
                if self.quantized is not None:
                    save_quantization(part, self.quantized.learned())
                write_json(part / CARD, card)
            # Last: until the checkpoint is whole, a killed run can be resumed from its state.
            if finished:
                (self.out / STATE).unlink(missing_ok=True)
            # A plot that fails must not fail a run of hours.
            attempt("the plot of the run", lambda: plot_run(self.out / "metrics.jsonl", self.out / "loss.png"))
        self.fabric.barrier()
        self.hear({"event": "end", "step": loop.progress.step, "finished": finished, "out": str(self.out)})
        return Outcome(self.out, finished, card)

    def standardise_output(self) -> None:
        streaming, config = self.recipe.streaming, self.job.student.config
        chunk_frames = None if streaming is None else streaming.chunk_range(config)[1]
        standardise_output(self.job.student, first_waves(self.batches, OUTPUT_S), chunk_frames)


def make_card(run: Run, loop: Loop, finished: bool, corpus: Corpus) -> Card:
    """The lineage of a checkpoint: where it comes from and how it did."""
    skipped = [{"path": item.path, "reason": item.reason} for item in [*corpus.skipped, *run.batches.skipped]]
    return {
        "schema": SCHEMA,
        "kind": "student",
        "finished": finished,
        "supervised": run.job.teacher.card.supervised,
        "recipe": run.recipe.to_dict(),
        "teacher": run.job.teacher.card.to_dict(),
        "match": asdict(run.job.match),
        "parents": run.job.parents,
        "prune": run.job.pruned,
        "notes": run.job.notes,
        "data": {**summary(corpus), "fingerprint": corpus.fingerprint, "skipped": skipped},
        "steps": loop.progress.step,
        "audio_h": loop.progress.audio_s / 3600,
        "train_s": loop.progress.train_s,
        "audio_s_per_s": loop.progress.audio_s / max(loop.progress.train_s, 1e-9),
        "parameters": parameters(run.job.student),
        "macs_per_s": macs_per_s(run.job.student.config),
        "streaming": describe_encoder(run.job.student.config)["streaming"],
        "valid": run.valid,
        **({} if run.quantized is None else {"quantize": {"scheme": run.quantized.scheme, "made_by": "distillation"}}),
        "versions": {name: version(name) for name in ("speechpress", "torch", "transformers", "lhotse")},
    }


def summary(corpus: Corpus) -> dict[str, Any]:
    return {
        "source": corpus.source,
        "hours": corpus.hours,
        "recordings": len(corpus.cuts),
        "speakers": len(corpus.speakers),
        "skipped": len(corpus.skipped),
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
    job.notes.append("teacher: its outputs for each clip are kept, rounded to float16")
    return kept
