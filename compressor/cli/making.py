"""The main job: `compress distill` makes a student, `compress export` a bundle of it. `main.py` adds them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

from .help.complete import complete_model, complete_recipe, complete_scheme, complete_target, complete_teacher
from .help.looks import INPUT, METHOD, OUTPUT, TRAINING, choices
from .options import (
    BUNDLES,
    RUNS,
    GoOn,
    Gpus,
    Hours,
    Json,
    KeepTargets,
    KeepTargetsGb,
    Nodes,
    Submit,
    TrainingDevice,
    check_go_on,
    distill_settings,
    resume_words,
    submitted,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..distill.run import Outcome
    from ..recipe.schema import Recipe as RecipeKeys
    from ..targets import Target
    from ..views.screen import Screen

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe. Repeatable.", rich_help_panel=METHOD),
]


Recipe = Annotated[
    str,
    typer.Option(help="Name or YAML file of the recipe.", autocompletion=complete_recipe, rich_help_panel=INPUT),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="Hub id, folder, file or torchaudio:NAME.",
        show_default="the recipe's",
        autocompletion=complete_teacher,
        rich_help_panel=INPUT,
    ),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(help="Speech: folder, manifest, Shar or another toolkit's corpus. Repeatable.", rich_help_panel=INPUT),
]
Starter = Annotated[
    bool,
    typer.Option("--starter", help="Use the teacher, speech and step count in the package.", rich_help_panel=INPUT),
]
Track = Annotated[
    str,
    typer.Option(
        help="Also log curves to tensorboard, wandb or trackio, offline.",
        metavar=choices("none", "tensorboard", "wandb", "trackio"),
        rich_help_panel=TRAINING,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run.", show_default="a new one under ./runs", rich_help_panel=OUTPUT),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in --out, or the newest one.", rich_help_panel=OUTPUT),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel=OUTPUT)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Build the student, try one batch, write nothing.", rich_help_panel=OUTPUT),
]


def last_words(outcome: "Outcome") -> tuple[str, str]:
    """Where a finished run is, and what comes next."""
    notes = f" ({counted(len(outcome.card['notes']), 'note')} in card.json)" if outcome.card.get("notes") else ""
    return f"checkpoint: {outcome.out}{notes}", f"next: compress eval {outcome.out}"


def distill(
    recipe: Recipe,
    teacher: Teacher = None,
    data: Data = None,
    starter: Starter = False,
    sets: Sets = None,
    device: TrainingDevice = "auto",
    keep_targets: KeepTargets = None,
    keep_targets_gb: KeepTargetsGb = 20.0,
    track: Track = "none",
    out: Out = None,
    resume: Resume = False,
    go_on: GoOn = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    submit: Submit = None,
    nodes: Nodes = 1,
    gpus: Gpus = 0,
    hours: Hours = 24.0,
    json: Json = False,
) -> None:
    """Distil a student from any teacher, on any folder of speech."""
    from .. import starter as at_hand
    from ..distill.folders import choose_folder
    from ..distill.tables import RunView, dry_run_table, fidelity_table
    from ..recipe.files import load_recipe
    from ..teachers.hub_folder import check_at_hand
    from ..views.screen import Screen

    settings = distill_settings(sets or [], teacher, starter, keep_targets)
    data = data or ([at_hand.SPEECH] if starter else None)
    if not data:
        raise SpeechpressError("no speech given: use --data FOLDER, or --starter for the speech in the package")
    check_go_on(go_on, out, resume, overwrite)
    loaded = load_recipe(recipe, settings)
    # Before torch is imported: offline, a teacher that is not there is told at once.
    check_at_hand(loaded.teacher)
    folder = choose_folder(out, RUNS, loaded.name, resume)
    screen = Screen(json)
    if submit is not None:
        return screen.result(*submitted((submit, nodes, gpus, hours), folder, resume, overwrite, dry_run))
    from ..distill.distill import try_out
    from ..distill.run import RunOptions
    from ..distill.stages import distill_in_stages
    from ..models.events import to_all
    from ..track.tracker import tracker

    options = RunOptions(tuple(data), folder, device, resume, overwrite, 1, keep_targets, keep_targets_gb, go_on)
    if dry_run:
        return screen.result(document := try_out(loaded, options), dry_run_table(document))
    with RunView(screen) as view, tracker(track) as curves:
        outcome = distill_in_stages(loaded, options, to_all(view, curves))
    if not outcome.finished:
        screen.say(f"interrupted; continue with: compress {resume_words(outcome.out)}")
        raise typer.Exit(130)
    found, shown = _compared(screen, loaded, outcome.out) if starter else ({}, [])
    screen.result({**outcome.document(), **found}, fidelity_table(outcome.card["valid"]), *shown, *last_words(outcome))


def _compared(screen: "Screen", recipe: "RecipeKeys", out: Path) -> tuple[dict[str, Any], "list[RenderableType]"]:
    """What a starter's run shows: its student beside itself untrained, log-mel, random weights and its teacher.

    Under torchrun the first process alone measures; what cannot be measured does not make a finished run a failure.
    """
    from ..abx.asked import VOICES
    from ..abx.quick import compared
    from ..abx.tables import voices_tables
    from ..distill.plan import untrained

    if screen.console.quiet:
        return {}, []
    try:
        entry = compared(out, untrained(recipe), "cpu", screen.say)
    except SpeechpressError as error:
        return {VOICES: None}, [f"[yellow]note:[/] the student was not compared with its teacher: {error}"]
    return {VOICES: entry}, voices_tables(entry)


ExportTarget = Annotated[
    str,
    typer.Option(
        help="Where the bundle will run; see `compress ls targets`.",
        autocompletion=complete_target,
        rich_help_panel=INPUT,
    ),
]
ExportCheckpoint = Annotated[
    str | None,
    typer.Argument(
        help="Folder of a checkpoint, or a teacher.",
        show_default="the newest under ./runs",
        autocompletion=complete_model,
    ),
]
ExportQuantize = Annotated[
    str | None,
    typer.Option(
        help="none, int8, int8-linear, int8-static, int4, fp16 or mixed.",
        metavar=choices("none", "int8", "..."),
        show_default="the checkpoint's, else the target's",
        autocompletion=complete_scheme,
        rich_help_panel=METHOD,
    ),
]
ExportChunkMs = Annotated[
    list[float] | None,
    typer.Option(
        help="Chunk size in ms. Repeatable; the first is the bundle's default.",
        show_default="the target's",
        rich_help_panel=METHOD,
    ),
]
ExportLayers = Annotated[
    str,
    typer.Option(help="Layers in each frame: last, all, or numbers such as 0,2,4.", rich_help_panel=METHOD),
]
ExportHeads = Annotated[
    str,
    typer.Option(help="Heads to include: none, all, or names such as phones,vad,features.", rich_help_panel=METHOD),
]
ExportOfflineSeconds = Annotated[
    float | None,
    typer.Option(
        help="Longest recording to process in one piece; 0 for none.",
        show_default="10, where the target can",
        rich_help_panel=METHOD,
    ),
]
ExportHeadTolerance = Annotated[
    float,
    typer.Option(
        min=0, help="Share of its held-out score that a head may lose by the export.", rich_help_panel="Checks"
    ),
]
ExportAllowFallback = Annotated[
    bool,
    typer.Option(
        "--allow-fallback",
        help="Accept a program that spends much time outside its backend.",
        rich_help_panel="Checks",
    ),
]
ExportOut = Annotated[
    Path | None,
    typer.Option(help="Folder of the bundle.", show_default="a new one under ./bundles", rich_help_panel=OUTPUT),
]
ExportOverwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the bundle in --out.", rich_help_panel=OUTPUT)
]


def export_bundle(
    target: ExportTarget,
    checkpoint: ExportCheckpoint = None,
    quantize: ExportQuantize = None,
    chunk_ms: ExportChunkMs = None,
    layers: ExportLayers = "last",
    heads: ExportHeads = "none",
    offline_seconds: ExportOfflineSeconds = None,
    head_tolerance: ExportHeadTolerance = 0.05,
    allow_fallback: ExportAllowFallback = False,
    out: ExportOut = None,
    overwrite: ExportOverwrite = False,
    json: Json = False,
) -> None:
    """Export a bundle for a device with ExecuTorch, and compare it with the checkpoint before it is written."""
    from ..distill.folders import choose_folder, newest
    from ..export.tables import export_table
    from ..targets import check_scheme, target_of
    from ..teachers.hub_folder import check_at_hand
    from ..views.screen import Screen

    screen, place = Screen(json), target_of(target)
    check_scheme(place, quantize or place.quantize)
    source_name = checkpoint or str(newest(RUNS, screen.say))
    check_at_hand(source_name)
    from ..export.export import export, plan
    from ..export.source import open_source

    source = open_source(source_name)
    order = plan(source, place, quantize, tuple(chunk_ms or ()), offline_seconds, layers, heads)
    if not order.chunks:
        screen.say(f"{source.name} does not stream ({source.encoder.config.blockers[0]}): whole recordings and windows")
    name = "-".join([source.name, place.name, *([order.scheme] if order.scheme != "none" else [])])
    folder = choose_folder(out, BUNDLES, name, resume=False)
    with screen.busy("export") as say:
        document = export(order, folder, overwrite, allow_fallback, say, head_tolerance)
    if not place.runs_here:
        screen.say(f"{place.backend} does not run here: check the golden clip on the device")
    screen.result(document, export_table(document), *_made(place, folder))


def _made(place: "Target", folder: Path) -> tuple[str, str]:
    if place.runtime != "executorch":
        return f"models: {folder}", f"next: read {folder}/README.md"
    return f"bundle: {folder}", f"next: compress verify {folder}"
