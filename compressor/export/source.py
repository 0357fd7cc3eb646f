"""What is exported: the encoder of a checkpoint or of a teacher, and where it came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import name_of
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.students.shipped import shipped_students

from ..models.checkpoint import CONFIG, WEIGHTS, check_whole, load_checkpoint, parameters, sha256
from ..models.encoder import Encoder
from ..models.scores import scores_of
from ..quantize.scheme import Quantization, load_quantization
from ..teachers.backbones import EncoderBackbone
from ..teachers.hub_folder import looks_like_hub_id, pushed
from ..teachers.load import STARTER_NAMES, load_teacher


@dataclass(frozen=True)
class Source:
    """An encoder in eval mode, the name of its bundle, its lineage as in bundle.json, and its own quantisation."""

    name: str
    encoder: Encoder
    lineage: dict[str, Any]
    quantization: Quantization | None = None
    folder: Path | None = None  # of the checkpoint


def open_source(source: str | Path) -> Source:
    """The encoder of a checkpoint folder, else of any teacher (see `teachers.load.load_teacher`).

    Raises SpeechpressError when it is neither, or a teacher whose encoder is not HuBERT's or wav2vec 2.0's.
    """
    folder = Path(source)
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file() and (folder / "card.json").is_file():
        return _of_checkpoint(folder)
    if is_bundle(folder):
        raise SpeechpressError(
            f"{source}: is a bundle, which is what an export makes. Name the checkpoint that it comes from, and "
            "another --out; to see what it is: compress show, to run it: compress verify or compress demo"
        )
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        check_whole(folder)
    elif not folder.exists() and not looks_like_hub_id(str(source)) and ":" not in str(source):
        raise SpeechpressError(
            f"{source}: there is no such file or folder. `compress distill` makes a checkpoint, under ./runs unless "
            "--out says otherwise"
        )
    # A bare word could be a hub id too, but is more likely mistyped, and nothing is downloaded for that.
    if (
        folder.exists()
        or "/" in str(source)
        or str(source) in (*STARTER_NAMES, *shipped_students())
        or ":" in str(source)
    ):
        own = pushed(source, CHECKPOINT)
        return _of_teacher(str(source)) if own is None else _of_checkpoint(own)
    raise SpeechpressError(f"{source}: is neither a checkpoint nor a teacher; `compress distill` makes a checkpoint")


def _of_checkpoint(folder: Path) -> Source:
    opened = load_checkpoint(folder)
    card = opened.card
    lineage = {
        "checkpoint_sha256": sha256(folder / WEIGHTS),
        "recipe": _text(folder / "recipe.yaml"),
        "teacher": card.get("teacher"),
        "steps": card.get("steps"),
        "data": card.get("data"),
        "parents": card.get("parents") or [],
        "fidelity": (card.get("valid") or {}).get("end"),
        "scores": scores_of(folder),
        "parameters": parameters(opened.encoder),
    }
    quantization = load_quantization(folder)
    return Source(name_of(folder), opened.encoder, lineage, quantization, folder)


def _of_teacher(source: str) -> Source:
    teacher = load_teacher(source)
    if not isinstance(teacher.backbone, EncoderBackbone):
        raise SpeechpressError(
            f"{source}: is a {teacher.card.family} that computes otherwise than HuBERT, so it cannot be exported; only "
            "encoders of HuBERT's and wav2vec 2.0's kind can. Distil a student from it and export that"
        )
    encoder = Encoder(teacher.backbone.model.config)
    encoder.load_state_dict(teacher.backbone.model.state_dict())
    nothing: dict[str, Any] = dict.fromkeys(("recipe", "teacher", "steps", "data", "fidelity", "scores"))
    own = {"checkpoint_sha256": teacher.card.sha256, "parents": [], "parameters": parameters(encoder)}
    # torchaudio:NAME becomes the name of a folder, where not every system allows a colon.
    return Source(Path(source).name.replace(":", "-"), encoder.eval(), {**nothing, **own})


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
