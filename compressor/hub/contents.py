"""What of a folder is published: the files of a finished checkpoint or a bundle, and nothing that lies beside them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpress.runtime.bundle import DOCUMENT, check_hashes, is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.json_file import read_json
from speechpress.runtime.parts import entries

from ..models import scores
from ..models.checkpoint import CARD, CONFIG, OURS, STATE, WEIGHTS, check_whole, read_config, read_shapes
from ..models.document_schema import read_card
from ..models.fitting import check_fit

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
HEADS = "heads"
README = "README.md"
_RESULTS = re.compile(r"eval(-[\w.-]+)?\.json")


@dataclass(frozen=True)
class Contents:
    """A folder that may be published: `files` by their names in it, and `left_out`, which stay here.

    `document` is card.json of a checkpoint, bundle.json of a bundle; `scores` as `models.scores.scores_of`.
    """

    folder: Path
    kind: str
    name: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    document: dict[str, Any] = field(repr=False)
    scores: dict[str, Any] | None = None

    @property
    def lineage(self) -> dict[str, Any]:
        return self.document["lineage"] if self.kind == BUNDLE else self.document

    @property
    def teacher(self) -> dict[str, Any]:
        """{"source", "revision", "sha256", ...} as far as they are known."""
        return self.lineage.get("teacher") or {}


def contents_of(folder: Path) -> Contents:
    """Raises SpeechpressError for what is no finished checkpoint or bundle, is damaged, or holds a pickle."""
    # Resolved: the folder's name becomes the model's, and "." has none.
    folder = folder.resolve()
    return _bundle(folder) if is_bundle(folder) else _checkpoint(folder)


def _bundle(folder: Path) -> Contents:
    bundle = read_bundle(folder)
    check_hashes(bundle)
    files = [DOCUMENT, *bundle.document["files"], *_results(folder)]
    return _contents(folder, BUNDLE, bundle.name, files, bundle.document, bundle.document["lineage"].get("scores"))


def _checkpoint(folder: Path) -> Contents:
    check_whole(folder)
    if not (folder / CARD).is_file() or "speechpress" not in read_json(folder / CONFIG):
        raise SpeechpressError(
            f"{folder}: is another tool's model; `compress push` publishes checkpoints of `compress distill` and "
            "bundles of `compress export`"
        )
    card = dict(read_card(folder / CARD))
    if not card.get("finished", True):
        raise SpeechpressError(
            f"{folder}: was interrupted at step {card.get('steps')}; finish it with compress distill "
            "--resume, then push it"
        )
    config = read_config(folder)
    check_fit(config, read_shapes(folder / WEIGHTS), f"{folder / WEIGHTS}: does not fit {folder / CONFIG}")
    ours = sorted(OURS - {STATE, scores.NAME})
    heads = sorted(path.name for path in (folder / HEADS).glob("*.safetensors"))
    files = [*(name for name in ours if (folder / name).is_file()), *(f"{HEADS}/{name}" for name in heads)]
    for name in files:
        if name.endswith(".safetensors"):
            read_shapes(folder / name)  # that it is what its name says
    return _contents(folder, CHECKPOINT, folder.name, files + _results(folder), card, scores.scores_of(folder))


def _results(folder: Path) -> list[str]:
    """eval.json and older results; not those about other weights, which a folder that was trained anew still has."""
    if scores.scores_of(folder) is None:
        return []
    return sorted(path.name for path in entries(folder) if _RESULTS.fullmatch(path.name))


def _contents(
    folder: Path, kind: str, name: str, files: list[str], document: dict[str, Any], found: dict[str, Any] | None
) -> Contents:
    rest = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in (*files, README)
    )
    # Also what would be left out: who finds one beside published weights takes it for theirs.
    if pickles := [name for name in rest if name.endswith(PICKLES)]:
        raise SpeechpressError(
            f"{folder / pickles[0]}: is a pickle or an array that loads as one, and opening such a file can run code; "
            "only safetensors and JSON are published. Move it out of the folder"
        )
    return Contents(folder, kind, name, tuple(files), tuple(rest), document, found)
