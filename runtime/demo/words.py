"""Taught words on disk: one safetensors file, no audio.

It holds the examples of each word, and those of what is not it: features, or what the bundle's words head says of them.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import SpeechpressError
from ..json_file import json_text, parse_object
from ..regular import check_regular
from ..schema import Fields, Items, Real, Text, Whole, check
from .names import word_name
from .spotting import Background, Word, learn

SCHEMA = 2  # 1: no counter-examples, and always features
_WORD = Fields({"name": Text(200), "examples": Whole(1, 1000)}, {"against": Whole(0, 1000)})
ABOUT = Fields(
    {
        "schema": Whole(1),
        "bundle": Text(64),
        "bundle_name": Text(1000),
        "chunk_ms": Real(high=1e6, above=0),
        "words": Items(_WORD),
    },
    {"head": Text(200)},
)


def save_words(path: str | Path, words: Sequence[Word], bundle: Bundle, chunk_ms: float, head: str = "") -> None:
    """Write words to a file, whole or not at all; `head` is the `Background`'s.

    Raises SpeechpressError when it cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path)
    about = {
        "schema": SCHEMA,
        "bundle": bundle.document["digest"],
        "bundle_name": bundle.name,
        "chunk_ms": chunk_ms,
        "head": head,
        "words": [{"name": word.name, "examples": len(word.examples), "against": len(word.against)} for word in words],
    }
    # By number, not by name: a word may hold any sign, a slash too.
    tensors = {name: frames for i, word in enumerate(words) for name, frames in _named(i, word)}
    content = save(tensors, metadata={"speechpress_words": json_text(about)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the file, because a rename cannot cross disks.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be written ({error}); choose another file with --words") from error


def load_words(path: str | Path, bundle: Bundle, chunk_ms: float, background: Background) -> list[Word]:
    """The words of a file, their thresholds found anew.

    Raises:
        SpeechpressError: it cannot be read, or its words were taught to another bundle or in other chunks.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="numpy") as file:
            # Any safetensors file opens; ours has this key.
            told = (file.metadata() or {})["speechpress_words"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError, SpeechpressError) as error:
        raise SpeechpressError(f"{path}: is not a file of taught words ({error}); teach them again") from error
    about = parse_object(told, str(path), "teach them again", strict=True)
    # Before the check, which would call a newer file damaged.
    if type(about.get("schema")) is int and about["schema"] > SCHEMA:
        raise SpeechpressError(f"{path}: was written by a newer speechpress; upgrade with: pip install -U speechpress")
    check(about, ABOUT, str(path), "teach them again")
    _check_examples(about, tensors, path)
    if (about["bundle"], about["chunk_ms"]) != (bundle.document["digest"], chunk_ms):
        raise SpeechpressError(
            f"{path}: its words were taught to {about['bundle_name']} in chunks of {about['chunk_ms']:g} ms "
            f"({about['bundle'][:12]}...), not to {bundle.name} in chunks of {chunk_ms:g} ms "
            f"({bundle.document['digest'][:12]}...), whose features differ. Run that bundle, or teach them again"
        )
    if about.get("head", "") != background.head:
        was, now = (f"the head {name!r}" if name else "features" for name in (about.get("head", ""), background.head))
        raise SpeechpressError(f"{path}: its words were taught by {was}, but are matched by {now}; teach them again")
    names = [name for i, word in enumerate(about["words"]) for name in (*_own(i, word), *_against(i, word))]
    if missing := [name for name in names if name not in tensors]:
        raise SpeechpressError(
            f"{path}: is not a file of taught words (it lacks the example {missing[0]}); teach them again"
        )
    return [
        # Thresholds are not stored: they depend on the background, which may be another one now.
        learn(
            named,
            [np.asarray(tensors[name]) for name in _own(i, word)],
            background,
            against=[np.asarray(tensors[name]) for name in _against(i, word)],
        )
        for i, (word, named) in enumerate(zip(about["words"], _names(about, path), strict=True))
    ]


def _own(i: int, word: Mapping[str, Any]) -> list[str]:
    return [f"{i}/{k}" for k in range(word["examples"])]


def _against(i: int, word: Mapping[str, Any]) -> list[str]:
    return [f"{i}/not/{k}" for k in range(word.get("against", 0))]


def _named(i: int, word: Word) -> list[tuple[str, np.ndarray]]:
    own = [(f"{i}/{k}", frames) for k, frames in enumerate(word.examples)]
    return own + [(f"{i}/not/{k}", frames) for k, frames in enumerate(word.against)]


def _names(about: dict[str, Any], path: str | Path) -> list[str]:
    try:
        return [word_name(word["name"]) for word in about["words"]]
    except SpeechpressError as error:
        raise SpeechpressError(f"{path}: {error}; teach them again") from error


def _check_examples(about: dict[str, Any], tensors: Mapping[str, np.ndarray], path: str | Path) -> None:
    for i, word in enumerate(about["words"]):
        for name in (*_own(i, word), *_against(i, word)):
            example = tensors.get(name)
            if example is None or example.ndim != 2 or not np.isfinite(example).all():
                raise SpeechpressError(f"{path}: example {name} is missing or damaged; teach them again")
