"""The command line. Each command is a few lines: read arguments, call one function, show what it returned.

Nothing heavy is imported before a command needs it, so `compress --help` is instant.
"""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from . import measure as cli_measure
from . import options as said
from .data import data as data_command
from .demo import demo
from .eval import evaluate
from .extract import extract
from .head import head
from .options import BUNDLES, RUNS, Json, fail, refused, resume_words
from .prune import prune
from .quantize import quantize
from .search import search
from .share import convert, push
from .study import study

if TYPE_CHECKING:
    from ..targets import Target

app = typer.Typer(
    name="compress",
    help="Turn a large self-supervised speech encoder into a small one that runs live on a phone or a board.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NOISY = ("torchao", "torch.utils._pytree")
LIBRARIES = ("torch", "torchao", "executorch", "transformers", "lightning_fabric", "lhotse")

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")]


def _tell_version(asked: bool) -> None:
    if asked:
        import speechpress

        sys.stdout.write(f"speechpress {speechpress.__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole trace of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> None:
    """Options before the command."""
    del version, debug  # the version has been told; debug is read by main, which also takes it after the command
    others = logging.ERROR if int(os.environ.get("RANK", "0")) else logging.WARNING  # under torchrun one process speaks
    logging.basicConfig(level=logging.INFO if verbose else others, format="%(levelname)s %(message)s")
    if not verbose:
        hush()


def hush() -> None:
    """What libraries say of optional parts that they miss and of each other's future is for --verbose."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Whoever sets -W or PYTHONWARNINGS wants to see them.
    if not sys.warnoptions:
        for name in LIBRARIES:
            warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")


@app.command("ls")
def list_things(
    what: Annotated[str, typer.Argument(help="recipes, teachers, students, targets or devices; all by default.")] = "",
    json: Json = False,
) -> None:
    """List the recipes, teachers, students, targets and devices that there are."""
    from ..views.screen import Screen
    from .show import ls
    from .show_tables import ls_table

    document = ls(what or None)
    Screen(json).result(document, ls_table(document))


@app.command()
def show(
    thing: Annotated[
        str,
        typer.Argument(
            help="A recipe, a target, a teacher (by name or path), or the folder of a checkpoint or bundle."
        ),
    ],
    sets: Sets = None,
    json: Json = False,
) -> None:
    """What there is to know of a recipe's student, a checkpoint, a teacher, a target or a bundle."""
    from ..recipe.files import load_recipe
    from ..views.screen import Screen
    from .show import show, show_recipe
    from .show_tables import show_table

    document = show_recipe(load_recipe(thing, sets)) if sets else show(thing)
    Screen(json).result(document, show_table(document))


@app.command("cp")
def copy(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe.")],
    destination: Annotated[Path, typer.Argument(help="The file to write, such as mine.yaml.")],
    json: Json = False,
) -> None:
    """Copy a shipped recipe to a file of your own."""
    from ..recipe.files import cp_recipe
    from ..views.screen import Screen

    path = cp_recipe(recipe, destination)
    Screen(json).result({"out": str(path)}, f"{path}: edit it, then run: compress distill --recipe {path}")


@app.command()
def distill(
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or the path of a YAML file.")],
    teacher: said.Teacher = None,
    data: said.Data = None,
    out: said.OutOfRun = None,
    starter: said.Starter = False,
    sets: Sets = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out (or the newest one).")] = False,
    go_on: said.GoOn = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    keep_targets: said.KeepTargets = None,
    keep_targets_gb: said.KeepTargetsGb = 20.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build, touch one batch, write nothing.")] = False,
    track: said.Track = "none",
    submit: said.Submit = None,
    nodes: said.Nodes = 1,
    gpus: said.Gpus = 0,
    hours: said.Hours = 24.0,
    json: Json = False,
) -> None:
    """Distil a student: layer-wise, from any teacher, on any folder of speech."""
    from .. import starter as at_hand
    from ..distill.folders import choose_folder
    from ..distill.tables import RunView, dry_run_table, fidelity_table
    from ..recipe.files import load_recipe
    from ..teachers.hub_folder import check_at_hand
    from ..views.screen import Screen

    settings = said.distill_settings(sets or [], teacher, starter, keep_targets)
    data = data or ([at_hand.SPEECH] if starter else None)
    if not data:
        raise SpeechpressError("no speech was named: give --data FOLDER, or --starter for what comes with the package")
    said.check_go_on(go_on, out, resume, overwrite)
    loaded = load_recipe(recipe, settings)
    # Before torch is imported: offline, a teacher that is not there is told at once.
    check_at_hand(loaded.teacher)
    folder = choose_folder(out, RUNS, loaded.name, resume)
    screen = Screen(json)
    if submit is not None:
        return screen.result(*said.submitted((submit, nodes, gpus, hours), folder, resume, overwrite, dry_run))
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
        screen.say(f"interrupted; go on with: compress {resume_words(outcome.out)}")
        raise typer.Exit(130)
    screen.result(
        outcome.document(),
        fidelity_table(outcome.card["valid"]),
        f"checkpoint: {outcome.out}   next: compress eval {outcome.out}",
    )


@app.command("export")
def export_bundle(
    target: Annotated[str, typer.Option(help="Where it will run, see `compress ls targets`.")],
    checkpoint: Annotated[
        str | None, typer.Argument(help="Folder of a checkpoint, or a teacher; the newest checkpoint under ./runs.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(help="none, int8, int4, fp16, ...; else the checkpoint's own, else the target's.")
    ] = None,
    chunk_ms: Annotated[
        list[float] | None,
        typer.Option(help="Chunk size, may be repeated; the first is the default. Else the target's."),
    ] = None,
    layers: Annotated[
        str, typer.Option(help="What comes out: last, all, or numbers such as 0,2,4, side by side in each frame.")
    ] = "last",
    heads: Annotated[
        str,
        typer.Option(help="Heads that go along: none, all of the checkpoint, or names such as phones,vad,features."),
    ] = "none",
    head_tolerance: Annotated[
        float, typer.Option(min=0, help="The share of its figure on held-out speech that a head may lose.")
    ] = 0.05,
    offline_seconds: Annotated[
        float | None, typer.Option(help="Longest recording that can be run at once; 0: none. Else 10, where it can be.")
    ] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Accept a program that runs much beside its backend.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; by default a new one under ./bundles.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle in --out.")] = False,
    json: Json = False,
) -> None:
    """Make a bundle for a device: lowered to ExecuTorch, run, and compared with the checkpoint before it is written."""
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
    screen.result(document, export_table(document), _made(place, folder))


def _made(place: "Target", folder: Path) -> str:
    if place.runtime != "executorch":
        return f"models: {folder}   next: {folder}/README.md"
    return f"bundle: {folder}   next: compress verify {folder}"


@app.command("verify")
def verify_bundle(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a bundle, or USER/NAME on the Hub; else the newest under ./bundles, else the shipped."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to run with.")] = None,
    json: Json = False,
) -> None:
    """Check a bundle: its hashes, its facts, and its golden clip, run here."""
    from speechpress.runtime.choice import choose_bundle
    from speechpress.runtime.verify import verify

    from ..views.screen import Screen, checks_table

    screen = Screen(json)
    if bundle is None:
        bundle = choose_bundle(BUNDLES, screen.say)
    document = verify(bundle, threads)
    screen.result(document, checks_table([{"fix": "", **check} for check in document["checks"]]))
    if not document["ok"]:
        raise typer.Exit(3)


app.command("data")(data_command)
app.command("convert")(convert)
app.command("push")(push)
app.command("eval")(evaluate)
app.command("extract")(extract)
app.command("head")(head)
app.command("prune")(prune)
app.command("quantize")(quantize)
app.command("profile")(cli_measure.profile)
app.command("report")(cli_measure.report)
app.command("demo")(demo)
app.command("search")(search)
app.add_typer(study, name="study")


@app.command()
def doctor(json: Json = False) -> None:
    """Check this installation: Python, PyTorch, ExecuTorch, torchaudio, microphones, adb, ssh, caches, names."""
    from ..views.screen import Screen, checks_table
    from .doctor import examine

    checks = examine()
    document = {"ok": all(check["ok"] for check in checks), "checks": checks}
    Screen(json).result(document, checks_table(checks))
    if not document["ok"]:
        raise typer.Exit(3)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 fine, 1 the user can mend it, 2 usage, 3 a check failed, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    # Taken out here, because click knows options of the root only before the command.
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        app(words, prog_name=Path(sys.argv[0]).name)
    except SpeechpressError as error:
        if debug:
            raise
        fail(error, "--json" in words)
    except OSError as error:
        # What the system refuses about a file that was named is the user's to mend; all else is ours.
        if debug or error.filename is None:
            raise
        fail(refused(error), "--json" in words)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        # 128 + SIGINT, as shells tell it.
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
