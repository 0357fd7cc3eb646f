"""Names of repositories on the Hub, with an optional revision: USER/NAME@v1. Told from paths without asking anybody."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..students.shipped import shipped_name

_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)?)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?", re.ASCII
)
# So that a mistyped file name is not asked of the hub.
_FILES = (".pt", ".ckpt", ".bin", ".safetensors", ".json", ".yaml", ".yml", ".pte", ".onnx")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubId:
    """A repository, and the branch, tag or commit that is meant; None: its newest state."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"

    @property
    def pinned(self) -> bool:
        """Its revision is a commit, which never changes."""
        return self.revision is not None and COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str | None) -> "HubId":
        return HubId(self.repo, commit)


def hub_id(source: str) -> HubId | None:
    """What a text names on the hub; None where it is no such name."""
    found = _ID.fullmatch(source)
    if found is None or found["repo"].endswith(_FILES):
        return None
    return HubId(found["repo"], found["revision"])


def named_on_hub(source: str | Path) -> HubId | None:
    """As `hub_id`, for what is more often a folder: None too where one is there, or the folder that it would lie in.

    So bundles/phone is a path wherever there is a folder ./bundles, and nobody is asked for a mistyped one.
    """
    path = Path(source)
    asked = hub_id(str(source))
    if asked is None or "/" not in asked.repo or path.exists() or Path(path.parts[0]).is_dir():
        return None
    return asked


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache holds; None for another folder."""
    return folder.name if COMMIT.fullmatch(folder.name) and folder.parent.name == "snapshots" else None


def cached_id(folder: Path) -> str | None:
    """USER/NAME@COMMIT of a folder of the hub's cache, NAME of a student in the package; None for another folder."""
    if (name := shipped_name(folder)) is not None:
        return name
    commit, kind, _, repo = commit_of(folder), *folder.parent.parent.name.partition("--")
    return f"{repo.replace('--', '/')}@{commit}" if commit and kind == "models" and repo else None


def name_of(source: str | Path) -> str:
    """What a folder or a name on the hub is called, without the rest of its path and its revision."""
    asked = named_on_hub(source)
    if asked is None:
        path = Path(source).resolve()  # "." has no name
        asked = hub_id(cached_id(path) or "")
        if asked is None:
            return path.name
    return asked.repo.rpartition("/")[2]
