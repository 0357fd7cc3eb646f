"""A run or bundle put on the Hugging Face Hub: first what would go up, which asks nobody, then the upload.

A push is one commit on top of the one that was seen before it: either all of its files are there or none, and of two
pushes at once the second one is refused by the hub.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import TIMEOUT_S, import_hub, told, unreachable
from speechpress.runtime.hub.ids import HubId, hub_id
from speechpress.runtime.hub.manifest import MANIFEST, facts_of, read_manifest
from speechpress.runtime.json_file import json_text

from ..models.events import OnText
from .contents import README, Contents, contents_of
from .model_card import model_card

# What the hub itself puts into a new repository.
EMPTY = {".gitattributes", README}
CONFLICT = 412


@dataclass(frozen=True)
class PushPlan:
    """What goes up: the files of `contents`, a model card and the manifest; `notes` is what a person should know."""

    repo: str
    contents: Contents
    card: str = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """What --dry-run prints."""
        files = self.manifest["files"]
        return {
            "repo": self.repo,
            "kind": self.contents.kind,
            "files": files,
            "size_bytes": sum(facts["size_bytes"] for facts in files.values()),
            "left_out": list(self.contents.left_out),
            "notes": list(self.notes),
            "card": self.card,
        }


def plan_push(folder: Path, repo: str, license_id: str | None = None, datasets: Sequence[str] = ()) -> PushPlan:
    """What `push` would put there; asks nobody and needs no token.

    Raises SpeechpressError for a name that is none, or a folder that cannot be published, see `contents_of`.
    """
    asked = hub_id(repo)
    if asked is None or asked.repo.count("/") != 1 or asked.revision is not None:
        raise SpeechpressError(
            f"{repo}: is not a name of a repository on the hub; give USER/NAME, such as me/pocket-hubert"
        )
    contents = contents_of(folder)
    files = {name: facts_of(contents.folder / name) for name in contents.files}
    teacher = {key: contents.teacher.get(key) for key in ("source", "revision", "sha256")} if contents.teacher else None
    manifest = {"schema": 1, "kind": contents.kind, "name": contents.name, "teacher": teacher, "files": files}
    notes = []
    if license_id is None:
        notes.append("no licence is stated; give one with --license, and respect that of the teacher and of the speech")
    notes += [f"{path} stands in {name} and will be public" for name, path in local_paths(contents)]
    return PushPlan(repo, contents, model_card(contents, repo, license_id, datasets), manifest, tuple(notes))


def local_paths(contents: Contents) -> list[tuple[str, str]]:
    """(file, path) of what documents say of this machine's folders."""
    data = contents.lineage.get("data") or {}
    name = "bundle.json" if "lineage" in contents.document else "card.json"
    said = [contents.teacher.get("source"), data.get("source")]
    said += [parent.get("path") for parent in contents.lineage.get("parents") or []]
    paths = [str(path) for path in said if isinstance(path, str) and Path(path).expanduser().is_absolute()]
    return [(name, path) for path in dict.fromkeys(paths)]


def push(plan: PushPlan, private: bool = False, say: OnText = print) -> dict[str, Any]:
    """Upload it; returns `plan.document()` with "url" and "commit".

    What of an interrupted upload came to its end is not sent again by the next one.

    Raises SpeechpressError, within seconds where nothing has been sent: no or no valid token, a repository of
    somebody else or of something else, a push by another at the same time, or the hub cannot be reached.
    """
    library = import_hub()
    if library.constants.HF_HUB_OFFLINE:
        raise SpeechpressError(f"{plan.repo}: cannot be pushed to, because HF_HUB_OFFLINE is set")
    asked, api = HubId(plan.repo), library.HfApi()
    try:
        check_owner(library, api, plan.repo)
    except library.errors.HfHubHTTPError as error:
        raise refused(library, asked, error) from error
    except SpeechpressError:
        raise
    except Exception as error:
        # Network trouble comes as another exception type with every HTTP library that huggingface_hub has used.
        raise SpeechpressError(f"{plan.repo}: {unreachable(library, error)}; nothing was sent") from error
    try:
        api.create_repo(plan.repo, private=private, exist_ok=True)
        info = api.model_info(plan.repo, timeout=TIMEOUT_S)
        present = {sibling.rfilename for sibling in info.siblings or []}
        stale = _stale(library, plan, info.sha, present)
        say(f"uploading {len(plan.manifest['files'])} files to {plan.repo}")
        commit = api.create_commit(
            plan.repo,
            operations=_operations(library, plan, stale),
            commit_message=f"compress push: {plan.contents.kind} {plan.contents.name}",
            # The hub refuses it when somebody else's commit came in between.
            parent_commit=info.sha,
        )
    except SpeechpressError:
        raise
    except library.errors.HfHubHTTPError as error:
        raise refused(library, asked, error) from error
    except Exception as error:
        if isinstance(error.__cause__, library.errors.HfHubHTTPError):
            raise refused(library, asked, error.__cause__) from error
        raise SpeechpressError(
            f"{plan.repo}: the push broke off ({error}). Push it again: what arrived whole is not sent twice, and the "
            "repository shows all of a push or nothing"
        ) from error
    return {**plan.document(), "url": f"{library.constants.ENDPOINT}/{plan.repo}", "commit": commit.oid}


def check_owner(library: Any, api: Any, repo: str) -> None:
    """Raises SpeechpressError without a token, with one that the hub does not know, and for a name of somebody else."""
    if library.get_token() is None:
        raise SpeechpressError(
            f"{repo}: pushing needs a token with the right to write; log in with `hf auth login`, or set HF_TOKEN. "
            "--dry-run shows what would go up without one"
        )
    try:
        me = api.whoami()
    except library.errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) == 401:
            raise SpeechpressError(
                f"{repo}: the hub does not know the token that is set here; make one at "
                f"{library.constants.ENDPOINT}/settings/tokens and log in with `hf auth login`"
            ) from error
        raise
    names = [me["name"], *(group["name"] for group in me.get("orgs") or [])]
    owner = repo.split("/")[0]
    if owner not in names:
        raise SpeechpressError(
            f"{repo}: belongs to {owner}, but the token is {me['name']}'s"
            f"{', of ' + ', '.join(names[1:]) if names[1:] else ''}; push to {me['name']}/{repo.split('/')[1]}"
        )


def _stale(library: Any, plan: PushPlan, commit: str, present: set[str]) -> list[str]:
    """Files of an earlier push that this one does not have; SpeechpressError for a repository of something else."""
    if MANIFEST not in present:
        if present - EMPTY:
            raise SpeechpressError(
                f"{plan.repo}: holds something that `compress push` did not put there ({sorted(present - EMPTY)[0]}); "
                "choose another name, or delete that repository on the hub"
            )
        return []
    path = library.hf_hub_download(plan.repo, MANIFEST, revision=commit)
    old = read_manifest(Path(path), f"{plan.repo}: {MANIFEST}")
    if old["kind"] != plan.contents.kind:
        raise SpeechpressError(
            f"{plan.repo}: holds a {old['kind']}, and a {plan.contents.kind} beside it would confuse whoever opens it; "
            "choose another name"
        )
    # Only what a push put there: a file that its owner added by hand is not ours to delete.
    return sorted((set(old["files"]) & present) - set(plan.manifest["files"]))


def _operations(library: Any, plan: PushPlan, stale: list[str]) -> list[Any]:
    add, folder = library.CommitOperationAdd, plan.contents.folder
    texts = {README: plan.card, MANIFEST: json_text(plan.manifest, ascii=True) + "\n"}
    return [
        *(add(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in plan.contents.files),
        *(add(path_in_repo=name, path_or_fileobj=text.encode()) for name, text in texts.items()),
        *(library.CommitOperationDelete(path_in_repo=name) for name in stale),
    ]


def refused(library: Any, asked: HubId, error: Exception) -> SpeechpressError:
    """What the hub said to a push."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == CONFLICT:
        return SpeechpressError(
            f"{asked}: somebody else pushed to it at the same time; theirs is there, and nothing of this push is. Look "
            "at it, then push again to replace it, or choose another name"
        )
    if status == 403:
        return SpeechpressError(
            f"{asked}: the token may not write there (403); make one with the right to write at "
            f"{library.constants.ENDPOINT}/settings/tokens"
        )
    return SpeechpressError(f"{asked}: {told(library, asked, error)}; nothing was changed there")
