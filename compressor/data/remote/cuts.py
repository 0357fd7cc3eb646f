"""Lhotse cuts and Shar that lie elsewhere, as the same cuts that they would be here.

A recording's source is "address:offset:size" of kind "shar", as inside a local tar; of a file of its own the offset
is 0.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, parse_json, parse_object

from .. import manifest as lines
from ..audio import Cut, Skipped, UnreadableAudio
from ..shar import Member, members_of, shard_cuts
from . import store
from .address import Beside
from .errors import RemoteError
from .reader import THREADS, RemoteFile, place_of, reader
from .store import Remote

SUMMARY = "cuts.summary.json"
_LHOTSE, _SHAR = "lhotse", "shar"
_INDEX = "index of shar 1"


def remote_cuts(address: str, reading: str | None = None) -> Iterator[tuple[str, Cut | Skipped]]:
    """(file:line, cut or why it is left out) of a manifest or of a folder of shards.

    Args:
        address: of either.
        reading: which of the two was said in front of it, if anything was.

    Raises:
        RemoteError: it cannot be reached, or a part of it is not there.
        SpeechpressError: what is there is damaged, or neither of the two.
    """
    kind = _LHOTSE if address.endswith((".jsonl", ".jsonl.gz")) else _SHAR
    if reading not in (None, kind):
        raise SpeechpressError(
            f"{address}: is read as {kind}, and cannot be read as {reading}: from elsewhere only folders of Shar and "
            "Lhotse cuts manifests (.jsonl, .jsonl.gz) are; write other corpora as Shar with `compress data` first"
        )
    return _manifest_cuts(address) if kind == _LHOTSE else _shar_cuts(address)


def _manifest_cuts(address: str) -> Iterator[tuple[str, Cut | Skipped]]:
    found = []
    for where, text in _text_lines(reader().remote(address)):
        try:
            found.append((where, lines.read_cut_line(lines.parse_json(text), where, Beside(address))))
        except UnreadableAudio as error:
            found.append((where, error.skipped))
        except lines.BadValue as error:
            raise SpeechpressError(f"{where}: not a line of a Lhotse cuts manifest ({error})") from error
    yield from _located(found)


def _located(found: list[tuple[str, Cut | Skipped]]) -> Iterator[tuple[str, Cut | Skipped]]:
    """The same with the size of every file, which is asked for once."""
    sources = [source for _, cut in found if not isinstance(cut, Skipped) for source in cut.recording.sources]
    urls = list(dict.fromkeys(str(source.source) for source in sources))
    looked = dict(zip(urls, reader().look(urls), strict=True))
    for where, cut in found:
        if isinstance(cut, Skipped):
            yield where, cut
            continue
        missing = [one for source in cut.recording.sources if not isinstance(one := looked[source.source], Remote)]
        if not missing:
            for source in cut.recording.sources:
                if isinstance(one := looked[source.source], Remote):
                    source.source = place_of(source.source, 0, one.size)
            yield where, cut
        elif getattr(missing[0], "kind", "") == "absent":
            yield where, Skipped(where, str(missing[0]))
        else:
            raise missing[0]


def _shar_cuts(folder: str) -> Iterator[tuple[str, Cut | Skipped]]:
    names = _names(folder)
    manifests = sorted(name for name in names if name.startswith("cuts") and ".jsonl" in name)
    if not manifests:
        raise SpeechpressError(
            f"{folder}: holds no Shar shards (cuts.*.jsonl.gz). From elsewhere only Shar folders and Lhotse cuts "
            "manifests (.jsonl, .jsonl.gz) are read; write other corpora as Shar with `compress data` first"
        )
    tars = [f"recording{name.removeprefix('cuts').split('.jsonl')[0]}.tar" for name in manifests]
    for manifest, tar in zip(manifests, tars, strict=True):
        if tar not in names:
            packed = " (a compressed tar cannot be read at random: unpack it)" if f"{tar}.gz" in names else ""
            raise SpeechpressError(
                f"{folder}/{manifest}: its recordings must be in {folder}/{tar}, which is not there{packed}"
            )
    known = dict(zip(tars, _known(names, tars), strict=True))
    reader().know(known.values())
    texts = _known(names, manifests)
    reader().know(texts)
    # Each header of a tar is a request that is waited for: the tars of a small corpus are fetched whole, all at once,
    # and many of a large one are looked into side by side.
    kept = reader().want_small(list(known.values()))
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda tar: _members(tar, kept), known.values())
            for text, tar, members in zip(texts, tars, found, strict=True):
                yield from shard_cuts(_text_lines(text), text.url, iter(members), known[tar].url)
    finally:
        reader().drop()


def _names(folder: str) -> Mapping[str, Remote]:
    """What is in a folder. A web server need not list it: what `compress data` wrote says itself what there is."""
    if not folder.startswith("http"):
        return store.listed(folder)
    try:
        summary = _document(f"{folder}/{SUMMARY}")
    except RemoteError as failed:
        if failed.kind == "busy":
            raise
        try:
            return store.listed(folder)
        except RemoteError as error:
            raise SpeechpressError(
                f"{folder}: its server neither lists what is there nor has {SUMMARY}, which `compress data` writes, so "
                f"nobody can tell which shards there are ({error})"
            ) from error
    total = summary.get("shards_in_all")
    if not isinstance(total, int) or not 0 < total <= 1_000_000 or summary.get("complete") is not True:
        raise SpeechpressError(
            f"{folder}/{SUMMARY}: says that not all shards were written; finish it with compress data"
        )
    with ThreadPoolExecutor(THREADS) as pool:
        facts = list(pool.map(_document, (f"{folder}/cuts.{number:06d}.json" for number in range(total))))
    # A shard of which nothing could be read has no other files.
    kept = [number for number, fact in enumerate(facts) if fact.get("cuts")]
    files = [name for number in kept for name in (f"cuts.{number:06d}.jsonl.gz", f"recording.{number:06d}.tar")]
    return {name: Remote(f"{folder}/{name}", -1, "") for name in files}


def _document(address: str) -> dict[str, object]:
    remote = store.info(address)
    return parse_object(store.read(remote, 0, remote.size), address)


def _known(names: Mapping[str, Remote], wanted: list[str]) -> list[Remote]:
    """Files with their sizes, asked for where the list has none."""
    asked = [names[name].url for name in wanted if names[name].size < 0]
    looked = dict(zip(asked, reader().look(asked), strict=True))
    found = [looked.get(names[name].url, names[name]) for name in wanted]
    for one in found:
        if not isinstance(one, Remote):
            raise one
    return [one for one in found if isinstance(one, Remote)]


def _text_lines(remote: Remote) -> Iterator[tuple[str, bytes]]:
    """(file:line, line) of a manifest, which is fetched as a whole."""
    content = reader().read((remote.url, 0, remote.size))
    for number, line in lines.lines_of(io.BytesIO(content), remote.url, packed=remote.url.endswith(".gz")):
        yield f"{remote.url}:{number}", line


def _members(tar: Remote, in_cache: bool) -> list[Member]:
    """What is in a tar, by its headers; kept, so that the next run need not look again."""
    cache, key = reader().cache, f"{_INDEX}\n{tar.url}\n{tar.tag}\n{tar.size}"
    kept = cache.get(key) if tar.tag else None
    if kept is not None:
        rows = parse_json(kept)
    else:
        try:
            rows = [
                [one.name, one.place, None if one.described is None else one.described.decode("latin-1")]
                for one in members_of(RemoteFile(tar, in_cache), tar.url)
            ]
        except (OSError, EOFError, tarfile.TarError, UnicodeError) as error:
            raise SpeechpressError(f"{tar.url}: the tar cannot be read to its end ({error})") from error
        cache.put(key, json_text(rows, ascii=True).encode())
    return [Member(name, place, None if text is None else text.encode("latin-1")) for name, place, text in rows]
