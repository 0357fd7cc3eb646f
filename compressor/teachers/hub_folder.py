"""The folder of a model on the Hugging Face hub: from the cache, or downloaded. Loads no torch and no transformers."""

import re
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..models import preprocessor

HUB_TIMEOUT_S = 5.0
MODEL_CONFIG = "config.json"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# So that a mistyped file name is not asked of the hub.
_NOT_HUB_SUFFIXES = (".pt", ".ckpt", ".bin", ".safetensors", ".json", ".yaml", ".yml")


def fetch(source: str) -> Path:
    """The local folder of hub model `source`, from the cache or downloaded.

    Raises:
        SpeechpressError: within seconds, when it is not there or the hub cannot be reached; says what was tried.
    """
    tried = [f"folder or file {Path(source).expanduser()} (not there)"]
    if not looks_like_hub_id(source):
        tried.append("not tried on the Hugging Face hub: it is a path, not an id such as facebook/hubert-base-ls960")
        raise _not_found(source, tried)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    # Before the hub, so that what was fetched once needs no network.
    cached = from_cache(source)
    if cached is not None and (says_its_input(cached) or huggingface_hub.constants.HF_HUB_OFFLINE):
        return cached
    if cached is None:
        tried.append("the Hugging Face cache (not in it)")
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        tried.append("the hub was not asked, because HF_HUB_OFFLINE is set")
        raise _not_found(source, tried)
    try:
        # One request without retries: someone without network gets the answer at once.
        siblings = huggingface_hub.HfApi().model_info(source, timeout=HUB_TIMEOUT_S).siblings or []
        wanted = _wanted_files([sibling.rfilename for sibling in siblings])
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=wanted))
    except HfHubHTTPError as error:
        tried.append(f"{huggingface_hub.constants.ENDPOINT}/{source} ({str(error).strip().splitlines()[0]})")
    except Exception as error:
        # Network trouble comes as another exception type with every HTTP library that huggingface_hub has used.
        tried.append(f"{huggingface_hub.constants.ENDPOINT}/{source} (cannot be reached: {error})")
    if cached is not None:  # all but how its input is normalised, which its reader says
        return cached
    raise _not_found(source, tried)


def check_at_hand(source: str) -> None:
    """Raises SpeechpressError, before anything heavy is loaded, for a hub model that offline mode cannot give."""
    if "/" not in source or not looks_like_hub_id(source) or Path(source).exists():
        return
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        fetch(source)


def looks_like_hub_id(source: str) -> bool:
    return _HUB_ID.fullmatch(source) is not None and not source.endswith(_NOT_HUB_SUFFIXES)


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

    try:
        config = try_to_load_from_cache(source, MODEL_CONFIG)
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
