"""The command line. Each command is a few lines: read arguments, call one function, show what it returned.

Nothing heavy is imported before a command needs it, so `compress --help` is instant.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from . import measure as cli_measure
from .data import data as data_command
from .demo import demo
from .eval import evaluate
from .extract import extract
from .head import head
from .help.complete import complete_bundle, complete_kind, complete_recipe, complete_thing
from .help.looks import DEVICE, Command, Group, group_of
from .making import Sets, distill, export_bundle
from .options import BUNDLES, Json, LogLines, fail, refused
from .prune import prune
from .quantize import quantize
from .search import search
from .share import convert, push
from .study import study

app = typer.Typer(
    name="compress",
    cls=Group,
    help="Turn a large self-supervised speech encoder into a small one that runs live on a phone or a board.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NOISY = ("torchao", "torch.utils._pytree")
LIBRARIES = ("torch", "torchao", "executorch", "transformers", "lightning_fabric", "lhotse")


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
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> None:
    """Options before the command."""
    del version, debug  # the version has been told; debug is read by main, which also takes it after the command
    others = logging.ERROR if int(os.environ.get("RANK", "0")) else logging.WARNING  # under torchrun one process speaks
    level = logging.INFO if verbose else others
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", handlers=[LogLines()])
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


def list_things(
    what: Annotated[
        str,
        typer.Argument(
            help="recipes, teachers, students, targets or devices.", show_default="all", autocompletion=complete_kind
        ),
    ] = "",
    json: Json = False,
) -> None:
    """List recipes, teachers, students, targets and devices."""
    from ..views.screen import Screen
    from .show import ls
    from .show_tables import ls_table

    document = ls(what or None)
    Screen(json).result(document, ls_table(document))


def show(
    thing: Annotated[
        str,
        typer.Argument(
            help="A recipe, target or teacher by name, or the path of a recipe, checkpoint, bundle or teacher.",
            autocompletion=complete_thing,
        ),
    ],
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Show a recipe's student, a checkpoint, a teacher, a target or a bundle."""
    from ..recipe.files import load_recipe
    from ..views.screen import Screen
    from .show import show, show_recipe
    from .show_tables import show_table

    document = show_recipe(load_recipe(thing, sets)) if sets else show(thing)
    Screen(json).result(document, show_table(document))


def copy(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe.", autocompletion=complete_recipe)],
    destination: Annotated[Path, typer.Argument(help="The file to write, such as mine.yaml.")],
    json: Json = False,
) -> None:
    """Copy a built-in recipe to a file that you can edit."""
    from ..recipe.files import cp_recipe
    from ..views.screen import Screen

    path = cp_recipe(recipe, destination)
    Screen(json).result({"out": str(path)}, f"written: {path}", f"next: compress distill --recipe {path}")


def verify_bundle(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a bundle, or USER/NAME on the Hub.",
            show_default="the newest under ./bundles, else the built-in one",
            autocompletion=complete_bundle,
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to use.", rich_help_panel=DEVICE)] = None,
    json: Json = False,
) -> None:
    """Check a bundle on this machine: file hashes, metadata, and its golden clip."""
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


def doctor(json: Json = False) -> None:
    """Check this installation: Python, PyTorch, ExecuTorch, torchaudio, microphones, adb, ssh and caches."""
    from ..views.screen import Screen, checks_table
    from .doctor import examine

    checks = examine()
    document = {"ok": all(check["ok"] for check in checks), "checks": checks}
    Screen(json).result(document, checks_table(checks))
    if not document["ok"]:
        raise typer.Exit(3)


COMMANDS: dict[str, Callable[..., None]] = {
    "doctor": doctor,
    "ls": list_things,
    "show": show,
    "cp": copy,
    "data": data_command,
    "search": search,
    "distill": distill,
    "head": head,
    "prune": prune,
    "quantize": quantize,
    "eval": evaluate,
    "extract": extract,
    "export": export_bundle,
    "verify": verify_bundle,
    "profile": cli_measure.profile,
    "report": cli_measure.report,
    "demo": demo,
    "convert": convert,
    "push": push,
}
for _name, _function in COMMANDS.items():
    app.command(_name, cls=Command, rich_help_panel=group_of(_name))(_function)
app.add_typer(study, name="study", rich_help_panel=group_of("study"))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 success, 1 user error, 2 usage error, 3 failed check, 130 interrupted."""
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
