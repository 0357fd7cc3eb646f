"""The folder of a run: what it says of itself, and whether this run may write into it.

extract.json             the model, the options and the corpus, and a hash over all that decides the content
index.jsonl              a line for each recording that is done
skipped.jsonl            what could not be read, with the reason
summary.json             counts and times; last, so that it says that all is complete
features/                the files, or the files of the table
cuts.jsonl.gz            only for Lhotse, as is features.jsonl.gz

Of a shard, the names of its own files end with its number: index-03-of-16.jsonl.
"""

import hashlib
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import cannot_write, discard, write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json
from speechpress.runtime.parts import entries

from .options import ExtractOptions, Shard

SCHEMA = 1
DOCUMENT = "extract.json"
# What is in the document for people and programs, and does not decide what is written.
_TOLD = ("schema", "hash", "model", "corpus", "version")


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its hash, over everything but what is there for people only."""
    deciding = {key: value for key, value in document.items() if key not in _TOLD}
    return {"schema": SCHEMA, **document, "hash": hashlib.sha256(json_text(deciding).encode()).hexdigest()}


class Folder:
    """The paths of one shard in the folder of a run."""

    def __init__(self, out: Path, shard: Shard) -> None:
        self.out, self.shard = out, shard
        self.document = out / DOCUMENT
        self.index = out / f"index{shard.ending}.jsonl"
        self.skipped = out / f"skipped{shard.ending}.jsonl"
        self.summary = out / f"summary{shard.ending}.json"
        self.features = out / f"features{shard.ending}.jsonl.gz"
        self.cuts = out / f"cuts{shard.ending}.jsonl.gz"

    def check(self, options: ExtractOptions) -> None:
        """What can be told before the model is opened. Raises SpeechpressError for a folder that may not be used."""
        if not self.out.exists():
            if options.resume:
                raise SpeechpressError(f"{self.out}: there is no run to resume; leave out --resume to start one")
            return
        if not self.out.is_dir():
            raise SpeechpressError(f"{self.out}: is not a folder; choose another --out")
        try:
            there = entries(self.out)
        except OSError as error:
            raise SpeechpressError(f"{self.out}: cannot be read ({error.strerror or error})") from error
        if not there:
            return
        if not self.document.is_file():
            raise SpeechpressError(
                f"{self.out}: contains something other than extracted features, so it is left alone; "
                "choose another --out"
            )
        # Another shard's files may be there; its own may not.
        if self.index.exists() and not (options.resume or options.overwrite):
            raise SpeechpressError(
                f"{self.out}: was already started. Use --resume to continue it, --overwrite or another --out"
            )

    def begin(self, document: dict[str, Any], options: ExtractOptions) -> None:
        """Make the folder this run's own. Raises SpeechpressError when it is another's."""
        found = read_json(self.document, "extract again with --overwrite") if self.document.is_file() else None
        if found is not None and found.get("hash") != document["hash"]:
            if not options.overwrite:
                raise SpeechpressError(f"{self.out}: {_differences(found, document)}; use --overwrite or another --out")
            discard(self.out)
            found = None
        elif options.overwrite:
            self._forget()
        if found is None:
            write_json(self.document, document)

    def _forget(self) -> None:
        """Remove this shard's own files but for those of the recordings, which are written anew one by one."""
        for path in (self.summary, self.index, self.skipped, self.features, self.cuts):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What a folder was made with that is not wanted now."""
    words = []
    for key in wanted:
        if key in _TOLD or found.get(key) == wanted[key]:
            continue
        if key == "model_key":
            names = [str((document.get("model") or {}).get("source")) for document in (found, wanted)]
            words.append(f"another model or other weights ({names[0]}, not {names[1]})")
        elif key == "corpus_fingerprint":
            words.append("another corpus, or it has changed since")
        else:
            words.append(f"{key} {json_text(found.get(key))}, not {json_text(wanted[key])}")
    return "was made with " + ("; ".join(words) or "something else")
