"""The state of an unfinished run: one safetensors file, so that a kill at any moment leaves a whole one."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, parse_object
from speechpress.runtime.schema import Fields, Maybe, Real, Whole, check

from ..models.checkpoint import STATE, read_tensors, write_tensors
from .loop import Progress

_NUMBER = Maybe(Real(measured=True))  # best_ema is infinite before the first step
_COUNTS = {"step": Whole(), "skipped_steps": Whole()}
_PROGRESS = Fields({field.name: _COUNTS.get(field.name, _NUMBER) for field in fields(Progress)}, closed=True)
DOCUMENT = Fields({"identity": Fields({}), "progress": _PROGRESS, "precision": Fields({}), "extra": Fields({})})


def save_state(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    fabric: Fabric,
    progress: Progress,
    identity: dict[str, Any],
    extra: dict[str, Any],
) -> None:
    """Write all that a run needs to go on; `identity` is what a resumed run must agree with."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        # safetensors holds tensors only, and AdamW's step may be a number.
        tensors.update({f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()})
    document = {
        "identity": identity,
        "progress": asdict(progress),
        # The scale of the loss in fp16; empty in other precisions.
        "precision": fabric.strategy.precision.state_dict(),
        "extra": extra,
    }
    write_tensors(folder / STATE, tensors, {"speechpress": json_text(document, ascii=True)})


def load_state(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, fabric: Fabric, identity: dict[str, Any]
) -> tuple[Progress, dict[str, Any]]:
    """Restore what `save_state` wrote into `module` and `optimizer`; returns the progress and `extra`.

    Raises SpeechpressError when there is nothing to resume, or when the run belongs to another recipe, teacher or data.
    """
    if not (folder / STATE).exists():
        if not (folder / "card.json").exists():
            raise SpeechpressError(
                f"{folder}: nothing to resume (there is no saved state yet); leave out --resume, and replace what is "
                "there with --overwrite"
            )
        raise SpeechpressError(
            f"{folder}: nothing to resume (this run is finished); start a new run with another --out"
        )
    tensors, metadata = read_tensors(folder / STATE)
    shown, advice = str(folder / STATE), "restart the run with --overwrite"
    document = parse_object(metadata.get("speechpress", ""), shown, advice)
    check(document, DOCUMENT, shown, advice)
    # Through JSON as the saved one went: its tuples are lists now.
    check_identity(folder, document["identity"], json.loads(json_text(identity)))
    own = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("module.")}
    check_tensors(module, own, shown, advice)
    module.load_state_dict(own)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    # Groups are as the recipe has them, which is the same by now; the rate is set at every step.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if document["precision"]:
        fabric.strategy.precision.load_state_dict(document["precision"])
    # null is what was no number yet: a loss that is still to be bettered.
    known = {name: value for name, value in document["progress"].items() if value is not None}
    return Progress(**known), document["extra"]


def check_tensors(module: nn.Module, saved: dict[str, Tensor], shown: str, advice: str) -> None:
    """Raises SpeechpressError for the first tensor that a saved state lacks, has too much, or has in another shape."""
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | saved.keys()):
        if name not in saved or name not in wanted:
            what = f"has no {name}, which this run needs" if name in wanted else f"has {name}, which this run lacks"
            raise SpeechpressError(f"{shown}: {what}; {advice}")
        if saved[name].shape != wanted[name].shape:
            found, right = list(saved[name].shape), list(wanted[name].shape)
            raise SpeechpressError(f"{shown}: {name} is {found}, but must be {right}; {advice}")


def check_identity(folder: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises SpeechpressError with every field in which the saved run differs from what is asked for now."""
    differences = sorted(_differences(saved, now))
    if differences:
        lines = "\n  ".join(differences)
        raise SpeechpressError(
            f"{folder}: the run there is another one:\n  {lines}\n"
            "Resume it with the options it was started with, or start a new run with another --out."
        )


def _differences(saved: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(now, dict):
        keys = sorted(saved.keys() | now.keys())
        found = [_differences(saved.get(key), now.get(key), f"{path}.{key}" if path else key) for key in keys]
        return [line for lines in found for line in lines]
    return [] if saved == now else [f"{path}: it has {saved!r}, but {now!r} was requested"]
