"""A checkpoint or bundle that was pushed to the Hub, from the cache or downloaded, and checked against its hashes.

A name is turned into a commit once, and every file is taken from that commit: what is read is never half of one push
and half of the next.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SpeechpressError
from ..students.shipped import shipped_folder
from .ids import HubId, named_on_hub
from .manifest import BUNDLE, CHECKPOINT, MANIFEST, check_files, read_manifest, unfitting

logger = logging.getLogger(__name__)
TIMEOUT_S = 5.0
OPENS = {
    BUNDLE: "compress demo, compress verify and load_bundle open it",
    CHECKPOINT: "--teacher, load_encoder and compress export take it",
}


@dataclass(frozen=True)
class Fetched:
    """A folder of the cache, and the commit that it is."""

    folder: Path
    commit: str


def local_folder(source: str | Path, *kinds: str) -> Path:
    """The folder itself, or what a name stands for: USER/NAME or USER/NAME@v1 on the Hub, or a student
    in the package such as `pocket`.

    Raises SpeechpressError as `fetch` does.
    """
    shipped = shipped_folder(source, *kinds)
    if shipped is not None:
        return shipped
    asked = named_on_hub(source)
    return Path(source) if asked is None else fetch(asked, *kinds).folder


def import_hub() -> Any:
    """huggingface_hub; raises SpeechpressError when it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise SpeechpressError(
            f"what lies on the Hugging Face Hub needs huggingface_hub ({error}); "
            "install it with: pip install 'huggingface_hub>=1'"
        ) from error
    return huggingface_hub


def fetch(asked: HubId, *kinds: str) -> Fetched:
    """What was pushed as one of `kinds`, whole and as it was pushed.

    A commit that is in the cache is not asked for again. Without network the cached copy is taken, which is said.

    Raises SpeechpressError, within seconds: it is not there, closed, of another kind, not pushed by speechpress, was
    exchanged while it was read, or the hub cannot be reached and nothing is cached.
    """
    library = import_hub()
    cached = from_cache(library, asked)
    if library.constants.HF_HUB_OFFLINE:
        if cached is None:
            raise SpeechpressError(
                f"{asked}: there is no such folder, it is not in the Hugging Face cache, and the hub was not asked, "
                "because HF_HUB_OFFLINE is set"
            )
        return _checked(cached, kinds, asked)
    if cached is not None and asked.pinned:
        return _checked(cached, kinds, asked)
    try:
        commit, names = listed(library, asked)
    except library.errors.HfHubHTTPError as error:
        raise SpeechpressError(
            f"{asked}: there is no such folder, and on the hub: {told(library, asked, error)}"
        ) from error
    except Exception as error:
        # Network trouble comes as another exception type with every HTTP library that huggingface_hub has used.
        if cached is None:
            raise SpeechpressError(f"{asked}: there is no such folder, and {unreachable(library, error)}") from error
        logger.warning(
            "%s: %s; taken from the cache, commit %s", asked, unreachable(library, error), cached.commit[:12]
        )
        return _checked(cached, kinds, asked)
    if cached is not None and cached.commit != commit:
        logger.warning("%s: has moved from commit %s to %s", asked, cached.commit[:12], commit[:12])
    if MANIFEST not in names:
        raise SpeechpressError(
            f"{asked}: was not put on the hub by `compress push` (it has no {MANIFEST}), so nothing says what its "
            "files must be. A foreign model is a teacher: compress distill --teacher, compress export"
        )
    return _checked(Fetched(_download(library, asked, commit), commit), kinds, asked)


def listed(library: Any, asked: HubId) -> tuple[str, list[str]]:
    """The commit that is meant, and the names of its files; one request without retries, for a quick answer."""
    info = library.HfApi().model_info(asked.repo, revision=asked.revision, timeout=TIMEOUT_S)
    return info.sha, [sibling.rfilename for sibling in info.siblings or []]


def from_cache(library: Any, asked: HubId) -> Fetched | None:
    """What was fetched before under this name, to its end; None where there is none."""
    try:
        found = library.try_to_load_from_cache(asked.repo, MANIFEST, revision=asked.revision)
        # No string: not in the cache, or noted there as missing on the hub (a marker object).
        folder = Path(found).parent if isinstance(found, str) else None
        if folder is None or not all((folder / name).is_file() for name in read_manifest(folder / MANIFEST)["files"]):
            return None
    except (library.errors.HFValidationError, SpeechpressError):
        return None
    return Fetched(folder, folder.name)


def _download(library: Any, asked: HubId, commit: str) -> Path:
    """The folder of the cache with all files of one commit; raises SpeechpressError when they are not of it."""

    def take(name: str, again: bool = False) -> Path:
        try:
            path = Path(library.hf_hub_download(asked.repo, name, revision=commit, force_download=again))
        except library.errors.HfHubHTTPError as error:
            raise SpeechpressError(f"{asked}: {name}: {told(library, asked, error)}") from error
        except Exception as error:
            raise SpeechpressError(
                f"{asked}: {name} was not received to its end ({error}); run the same command again to continue"
            ) from error
        folder = path.parents[name.count("/")]
        if folder.name != commit:
            raise SpeechpressError(
                f"{asked}: was changed while it was read (commit {commit[:12]} was asked for, {folder.name[:12]} "
                "came); nothing of it is used. Try again"
            )
        return folder

    folder = take(MANIFEST)
    files = read_manifest(folder / MANIFEST, f"{asked}: {MANIFEST}")["files"]
    for name in files:
        take(name)
    # A copy that was damaged on this disk is mended by fetching it anew; what is wrong on the hub stays wrong.
    for name in unfitting(folder, files):
        take(name, again=True)
    note_revision(folder, asked, commit)
    return folder


def note_revision(folder: Path, asked: HubId, commit: str) -> None:
    """Let the cache know what the name stands for, as the hub's client itself notes it: refs/NAME holds the commit."""
    if not asked.pinned:
        note = folder.parents[1] / "refs" / (asked.revision or "main")
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit, encoding="utf-8")


def _checked(found: Fetched, kinds: tuple[str, ...], asked: HubId) -> Fetched:
    document = check_files(found.folder, str(asked))
    if document["kind"] not in kinds:
        raise SpeechpressError(
            f"{asked}: is a {document['kind']}, and no {' or '.join(kinds)}; {OPENS[document['kind']]}"
        )
    return found


def told(library: Any, asked: HubId, error: Exception) -> str:
    """What the hub said, for people, and what to do."""
    errors, status = library.errors, getattr(getattr(error, "response", None), "status_code", None)
    place = f"{library.constants.ENDPOINT}/{asked.repo}"
    if isinstance(error, errors.GatedRepoError):
        return f"{place} is gated: ask for access on that page, then log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {place}, or it is private and you are not logged in (`hf auth login`)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place} has no revision {asked.revision}"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{place} lacks a file that its list names; it was pushed incompletely or a file was deleted"
    if status in (401, 403):
        return f"{place} is closed to your token ({status}); log in with `hf auth login`"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{place} ({lines[0]})"


def unreachable(library: Any, error: Exception) -> str:
    return f"{library.constants.ENDPOINT} cannot be reached ({error})"
