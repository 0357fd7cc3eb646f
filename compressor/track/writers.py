"""What each tracker's library is called with. To add one: a class with `write` and `close`, and a row in `WRITERS`."""

import contextlib
import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from speechpress.runtime.errors import SpeechpressError

NONE, PROJECT = "none", "speechpress"


@dataclass(frozen=True)
class Place:
    """Where a run's curves go: a folder, the run's name, its identity, and the step at which it goes on (None: new)."""

    folder: Path
    name: str
    identity: str
    resumed_at: int | None


class Writer(Protocol):
    """Takes numbers at a step."""

    def write(self, scalars: dict[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files; `tensorboard --logdir runs` shows them."""

    def __init__(self, library: ModuleType, place: Place, about: dict[str, Any]) -> None:
        # What was written of steps that are now trained anew is not shown twice.
        purge = None if place.resumed_at is None else place.resumed_at + 1
        self.writer = library.SummaryWriter(str(place.folder), purge_step=purge)
        if place.resumed_at is None:
            self.writer.add_text("about", ", ".join(f"{key} {value}" for key, value in about.items()), 0)

    def write(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        # At once: a run that is killed keeps its curve up to here.
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """Offline under the run's folder, for `wandb sync`; WANDB_MODE=online sends as it goes."""

    def __init__(self, library: ModuleType, place: Place, about: dict[str, Any]) -> None:
        self.run = library.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=place.identity,
            name=place.name,
            dir=str(place.folder),
            config=about,
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            # Neither the terminal, which may show paths, nor the code and the machine: scalars only.
            settings=library.Settings(
                console="off", silent=True, save_code=False, disable_git=True, x_disable_stats=True, x_disable_meta=True
            ),
        )

    def write(self, scalars: dict[str, float], step: int) -> None:
        self.run.log(scalars, step=step)

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """In Trackio's own folder (TRACKIO_DIR), offline unless TRACKIO_SPACE_ID is set; `trackio show` shows it."""

    def __init__(self, library: ModuleType, place: Place, about: dict[str, Any]) -> None:
        self.library = library
        # It prints, also where stdout carries one JSON document.
        with contextlib.redirect_stdout(sys.stderr):
            self.run = library.init(
                project=PROJECT,
                # Two runs of one name would be one curve.
                name=f"{place.name}-{place.identity[:6]}",
                config=about,
                resume="never" if place.resumed_at is None else "allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def write(self, scalars: dict[str, float], step: int) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self.run.log(scalars, step=step)

    def close(self) -> None:
        # By the library, not by the run: else its exit hook finishes once more, and prints.
        with contextlib.redirect_stdout(sys.stderr):
            self.library.finish()


# Per tracker: the module that is imported, the package that is installed for it, and its writer.
WRITERS: dict[str, tuple[str, str, Callable[[ModuleType, Place, dict[str, Any]], Writer]]] = {
    "tensorboard": ("torch.utils.tensorboard", "tensorboard", TensorBoard),
    "wandb": ("wandb", "wandb", WeightsAndBiases),
    "trackio": ("trackio", "trackio", Trackio),
}


def library_of(kind: str) -> ModuleType | None:
    """The library of a tracker; raises SpeechpressError for an unknown one, and when it is not installed."""
    if kind == NONE:
        return None
    if kind not in WRITERS:
        known = [*WRITERS, NONE]
        close = difflib.get_close_matches(kind.lower(), known, 1, 0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpeechpressError(f"--track {kind}: there is no such tracker.{hint} Known: {', '.join(known)}")
    module, package, _ = WRITERS[kind]
    try:
        return import_module(module)
    except ImportError as error:
        raise SpeechpressError(
            f"--track {kind}: {package} cannot be imported ({error}); install it with: pip install "
            f"'speechpress[{kind}]', or leave out --track: metrics.jsonl has the same numbers"
        ) from error


def open_writer(kind: str, place: Place, about: dict[str, Any]) -> Writer:
    library = library_of(kind)
    assert library is not None
    place.folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[kind][2](library, place, about)
