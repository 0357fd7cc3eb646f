"""The folder of a model on the Hugging Face hub: from the cache, or downloaded. Loads no torch and no transformers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import TIMEOUT_S, import_hub, listed, note_revision, told, unreachable
from speechpress.runtime.hub.fetch import fetch as fetch_pushed
from speechpress.runtime.hub.fetch import from_cache as pushed_before
from speechpress.runtime.hub.ids import HubId, hub_id, named_on_hub
from speechpress.runtime.hub.manifest import CHECKPOINT, MANIFEST, check_files
from speechpress.runtime.students.shipped import shipped_folder

from ..models import preprocessor

HUB_TIMEOUT_S = TIMEOUT_S
MODEL_CONFIG = "config.json"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"


def fetch(source: str) -> Path:
    """The local folder of hub model `source` (USER/NAME or USER/NAME@REVISION), from the cache or downloaded.

    What `compress push` put there is checked against its hashes.

    Raises:
        SpeechpressError: within seconds, when it is not there or the hub cannot be reached; says what was tried.
    """
    tried = [f"folder or file {Path(source).expanduser()} (not there)"]
    asked = hub_id(source)
    if asked is None:
        tried.append("not tried on the Hugging Face hub: it is a path, not an id such as facebook/hubert-base-ls960")
        raise _not_found(source, tried)
    hub = import_hub()
    # Before the hub, so that what was fetched once needs no network.
    cached = from_cache(source)
    if cached is not None and (cached / MANIFEST).is_file():
        check_files(cached, source)
        return cached
    if cached is not None and (says_its_input(cached) or hub.constants.HF_HUB_OFFLINE):
        return cached
    if cached is None:
        tried.append("the Hugging Face cache (not in it)")
    if hub.constants.HF_HUB_OFFLINE:
        tried.append("the hub was not asked, because HF_HUB_OFFLINE is set")
        raise _not_found(source, tried)
    try:
        return _download(hub, asked)
    except SpeechpressError:
        raise
    except hub.errors.HfHubHTTPError as error:
        tried.append(told(hub, asked, error))
    except Exception as error:
        # Network trouble comes as another exception type with every HTTP library that huggingface_hub has used.
        tried.append(f"{hub.constants.ENDPOINT}/{asked.repo} ({unreachable(hub, error)})")
    if cached is not None:  # all but how its input is normalised, which its reader says
        return cached
    raise _not_found(source, tried)


def pushed(source: str | Path, *kinds: str) -> Path | None:
    """The local folder of what `compress push` put on the hub under a name, as it is there now, or of a student
    in the package.

    None for a path and for another tool's model, and where the hub does not answer: whoever opens it then says why.

    Raises:
        SpeechpressError: it is of none of these kinds, or its files are not those that were pushed.
    """
    asked = named_on_hub(source)
    if asked is None:
        return shipped_folder(source, *kinds)
    hub = import_hub()
    if pushed_before(hub, asked) is None:
        if hub.constants.HF_HUB_OFFLINE or from_cache(str(source)) is not None:
            return None
        try:
            if MANIFEST not in listed(hub, asked)[1]:
                return None
        # As in `fetch`, which asks again and has the words for each of them.
        except Exception:
            return None
    return fetch_pushed(asked, *kinds).folder


def _download(hub: Any, asked: HubId) -> Path:
    """The files of one commit; raises SpeechpressError for a repository without a model, and what the hub raises."""
    # One request without retries: someone without network gets the answer at once.
    commit, names = listed(hub, asked)
    if MANIFEST in names:
        return fetch_pushed(asked, CHECKPOINT).folder
    wanted = _wanted_files(names)
    if not any(name.startswith(("model", "pytorch_model")) for name in wanted):
        raise SpeechpressError(
            f"{asked}: is on the hub, but has no weights (looked for {SAFE} and {PICKLED}); it holds: "
            f"{', '.join(sorted(names)[:8]) or 'nothing'}"
        )
    # By its commit: what is pushed meanwhile must not be mixed with what was listed.
    folder = Path(hub.snapshot_download(asked.repo, revision=commit, allow_patterns=wanted))
    if folder.name != commit:
        raise SpeechpressError(f"{asked}: was changed while it was read; nothing of it is used. Try again")
    note_revision(folder, asked, commit)
    return folder


def pinned(card: Mapping[str, Any]) -> str | None:
    """The name under which a card's teacher is found again, the very same where it came from the hub."""
    source, revision = card.get("source"), card.get("revision")
    asked = hub_id(source) if isinstance(source, str) else None
    return source if asked is None or not revision else str(asked.at(str(revision)))


def check_at_hand(source: str) -> None:
    """Raises SpeechpressError, before anything heavy is loaded, for a hub model that offline mode cannot give."""
    if "/" not in source or not looks_like_hub_id(source) or Path(source).exists():
        return
    from huggingface_hub import constants

    asked = hub_id(source)
    if constants.HF_HUB_OFFLINE and asked is not None and pushed_before(import_hub(), asked) is None:
        fetch(source)


def looks_like_hub_id(source: str) -> bool:
    return hub_id(source) is not None


def _not_found(source: str, tried: list[str]) -> SpeechpressError:
    return SpeechpressError(
        f"teacher {source!r} was not found. Tried: {'; '.join(tried)}. Give the path of a local folder or checkpoint "
        "file, or hubert-mini, which comes with the package (distill: --starter)"
    )


def from_cache(source: str) -> Path | None:
    """The cached folder, when it is complete enough to be read.

    Not by snapshot_download: it wants every file of the repository, and never finds what was fetched in part.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    asked = hub_id(source)
    if asked is None:
        return None
    try:
        config = try_to_load_from_cache(asked.repo, MODEL_CONFIG, revision=asked.revision)
    except HFValidationError:
        return None
    # No string: not in the cache, or noted there as missing on the hub (a marker object).
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and _has_weights(folder) else None


def says_its_input(folder: Path) -> bool:
    """Whether a cached model came with the files on its input; what was fetched by older versions lacks some."""
    return any((folder / name).is_file() for name in preprocessor.FILES)


def _has_weights(folder: Path) -> bool:
    return any((folder / f"{name}{end}").is_file() for name in (SAFE, PICKLED) for end in ("", ".index.json"))


def _wanted_files(names: list[str]) -> list[str]:
    """Configs, and the weights in one format: safetensors before pickles."""
    # The whole name must match: repositories hold adapters and other frameworks' weights as well.
    weights = [name for name in names if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?", name)]
    if not weights:
        weights = [name for name in names if re.fullmatch(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?", name)]
    return [MODEL_CONFIG, *preprocessor.FILES, *weights]
