"""Hear a corpus and write what comes out, file by file: planned, checked, then done by several workers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from speechpress.runtime.atomic import cannot_write, write_json, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text
from speechpress.runtime.parts import part_of

from ..data.audio import Skipped, cut_place
from ..data.corpus import Corpus, list_skipped, open_corpus
from ..distill.process import keep_freed_memory
from ..models.config import SAMPLE_RATE
from ..models.events import OnEvent, silent
from .folder import Folder, described
from .index import Index
from .lhotse_manifests import write_manifests
from .makers import Maker, maker_of
from .names import file_names
from .options import LONGEST_S, ExtractOptions
from .plan import Item, batches, item_of, share
from .source import Listener, open_listener
from .table import TableWriter, import_pyarrow
from .work import Work, run
from .writers import ENDINGS, FEATURES, FileWriter, Writer, encoder_of

MOST_WORKERS = 8
BATCH_S = {"cpu": 0.0, "cuda": 60.0, "mps": 60.0}


@dataclass(frozen=True)
class Part:
    """What one shard is to do: its recordings, those that cannot be heard, and how many names are not those of ids."""

    items: list[Item]
    skipped: list[Skipped]
    renamed: int


def extract(source: str, data: Sequence[Path], options: ExtractOptions, listen: OnEvent = silent) -> dict[str, Any]:
    """Write what `source` makes of a corpus, and return the summary.

    Args:
        source: a checkpoint, a bundle, or a teacher by its name, folder or file.
        data: what `open_corpus` takes.
        options: what is wanted.
        listen: hears the events "plan" and "done" (a batch), perhaps from other threads, one at a time.

    Raises:
        SpeechpressError: no such model, corpus, layer or shard, a folder that is another's or cannot be written, or
            nothing that can be read.
    """
    folder = Folder(options.out, options.shard)
    folder.check(options)
    if options.form == "parquet":
        import_pyarrow()
    started = time.monotonic()
    keep_freed_memory()
    listener = open_listener(source, options.device, options.chunk_ms, options.offline)
    maker = maker_of(listener, source, options)
    corpus = open_corpus(*data)
    part = _part(corpus, listener, options)
    document = _document(listener, source, corpus, maker, options)
    folder.begin(document, options)
    index = Index(folder.index)
    try:
        broken = index.open(options.out)
        before = len(index.rows)
        with part_of(options.out / "work", folder=True) as unfinished, _computing(listener, options) as workers:
            writer = _writer(options, unfinished, index, document)
            work = Work(maker, listener.threads and listener.device == "cpu", writer, index)
            plan = _plan(part.items, listener, options, index)
            listen(_plan_event(document, plan, part, before, broken, workers))
            try:
                finished = run(work, plan, workers, listen)
            finally:  # what was heard is kept, whatever ended it
                writer.close()
    except OSError as error:
        raise cannot_write(options.out, error) from error
    finally:
        index.close()
    skipped = sorted([*part.skipped, *work.skipped], key=lambda item: (item.path, item.reason))
    summary = _summary(document, options, part, index, skipped)
    summary |= {"finished": finished, "written": len(index.rows) - before, "kept": before}
    summary |= _speed(plan, time.monotonic() - started, listener.device, workers)
    return _end(folder, options, part, index, document, summary, skipped)


def _part(corpus: Corpus, listener: Listener, options: ExtractOptions) -> Part:
    """A shard's recordings, without those that the model cannot hear."""
    cuts = list(corpus.cuts)
    names = [cut.id for cut in cuts]
    ending = ENDINGS["jsonl" if options.what == "answers" else options.form] if options.form != "parquet" else ""
    # Of the whole corpus, so that no two shards give the same name.
    paths = {name: f"{FEATURES}/{path}" for name, path in file_names(names, ending).items()}
    mine = share([item_of(cut, paths[cut.id]) for cut in cuts], options.shard)
    if not mine:
        raise SpeechpressError(
            f"--shard {options.shard.number}/{options.shard.count}: has nothing to do, because {corpus.source} holds "
            f"{len(cuts)} recordings; make fewer shards"
        )
    heard, skipped = [], list(corpus.skipped[options.shard.number - 1 :: options.shard.count])
    most = _most_samples(listener, options)
    for item in mine:
        if item.samples < listener.min_samples:
            reason = f"too short: {item.samples / SAMPLE_RATE:.3f} s give no frame"
            skipped.append(Skipped(cut_place(item.cut), reason))
        elif most is not None and item.samples > most:
            reason = f"lasts {item.samples / SAMPLE_RATE:.1f} s, longer than {most / SAMPLE_RATE:g} s (--longest-s)"
            skipped.append(Skipped(cut_place(item.cut), reason))
        else:
            heard.append(item)
    return Part(heard, skipped, 0 if not ending else sum(f"{FEATURES}/{i.name}{ending}" != i.path for i in mine))


def _most_samples(listener: Listener, options: ExtractOptions) -> int | None:
    longest_s = options.longest_s or (None if listener.streams else LONGEST_S)
    limits = [listener.max_samples, None if longest_s is None else round(longest_s * SAMPLE_RATE)]
    return min((limit for limit in limits if limit is not None), default=None)


def _document(listener: Listener, source: str, corpus: Corpus, maker: Maker, options: ExtractOptions) -> dict[str, Any]:
    """extract.json: what decides the content of the files, and what people want to know of it."""
    return described(
        {
            "version": version("speechpress"),
            "model": {"source": source, "name": listener.name},
            "model_key": listener.key,
            "what": options.what,
            "format": "jsonl" if options.what == "answers" else options.form,
            **{"layers": [], "heads": {}, "dtype": None, "dedup": False},
            **maker.about,
            "width": listener.width,
            "hop_samples": listener.hop_samples,
            "sample_rate": SAMPLE_RATE,
            "chunk_ms": options.chunk_ms,
            "longest_s": options.longest_s,
            "shards": options.shard.count,
            "corpus": {"source": corpus.source, "recordings": len(corpus.cuts), "hours": corpus.hours},
            "corpus_fingerprint": corpus.fingerprint,
        }
    )


def _writer(options: ExtractOptions, unfinished: Path, index: Index, document: dict[str, Any]) -> Writer:
    told = {key: document[key] for key in ("model", "model_key", "layers", "hop_samples", "sample_rate", "hash")}
    metadata = {"speechpress": json_text(told)}
    if options.form == "parquet":
        return TableWriter(options.out, unfinished, index, options.shard.ending, metadata)
    return FileWriter(options.out, unfinished, index, encoder_of(document["format"], metadata))


@contextmanager
def _computing(listener: Listener, options: ExtractOptions) -> Iterator[int]:
    """How many workers there are; PyTorch's threads are divided among them meanwhile."""
    threads = torch.get_num_threads()
    shared = listener.threads and listener.device == "cpu"
    # A model that cannot be shared has one worker that hears while another one reads or writes.
    workers = options.workers or (min(threads, MOST_WORKERS) if shared else 2)
    torch.set_num_threads(max(1, threads // workers) if shared else threads)
    # Convolutions on a GPU are rounded to 10 bits by default, far from the frames of a CPU.
    exact = torch.backends.cudnn.flags(allow_tf32=False) if listener.device == "cuda" else nullcontext()
    try:
        with exact:
            yield workers
    finally:
        torch.set_num_threads(threads)


def _plan(items: Sequence[Item], listener: Listener, options: ExtractOptions, index: Index) -> list[list[Item]]:
    """The batches that hold something that is not done; how they are made up does not depend on what is."""
    batch_s = BATCH_S[listener.device] if options.batch_s is None else options.batch_s
    planned = batches(items, batch_s, listener.frames is not None)
    return [batch for batch in planned if any(item.name not in index.rows for item in batch)]


def _plan_event(
    document: dict[str, Any], plan: Sequence[Sequence[Item]], part: Part, before: int, broken: int, workers: int
) -> dict[str, Any]:
    return {
        "event": "plan",
        **{key: document[key] for key in ("model", "what", "format", "layers", "width", "corpus")},
        "recordings": len(part.items),
        "kept": before,
        "damaged": broken,
        "skipped": len(part.skipped),
        "audio_s": _audio_s(plan),
        "batches": len(plan),
        "workers": workers,
    }


def _audio_s(plan: Sequence[Sequence[Item]]) -> float:
    return sum(item.samples for batch in plan for item in batch) / SAMPLE_RATE


def _speed(plan: Sequence[Sequence[Item]], wall_s: float, device: str, workers: int) -> dict[str, Any]:
    return {"device": device, "workers": workers, "wall_s": wall_s, "audio_s_per_s": _audio_s(plan) / wall_s}


def _summary(
    document: dict[str, Any], options: ExtractOptions, part: Part, index: Index, skipped: Sequence[Skipped]
) -> dict[str, Any]:
    rows = index.rows.values()
    return {
        **{
            key: document[key] for key in ("model", "what", "format", "dtype", "layers", "width", "hop_samples", "hash")
        },
        "heads": list(document["heads"]),
        "out": str(options.out),
        "shard": f"{options.shard.number}/{options.shard.count}",
        "recordings": len(rows),
        "frames": sum(row.frames for row in rows),
        "audio_s": sum(row.duration_s for row in rows),
        "size_bytes": sum({row.path: row.size_bytes for row in rows}.values()),
        "events": sum(row.events or 0 for row in rows),
        "renamed": part.renamed,
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
    }


def _end(
    folder: Folder,
    options: ExtractOptions,
    part: Part,
    index: Index,
    document: dict[str, Any],
    summary: dict[str, Any],
    skipped: Sequence[Skipped],
) -> dict[str, Any]:
    """Write the index in order, what was skipped, and the summary last.

    Raises SpeechpressError when nothing at all could be read.
    """
    index.write()
    write_text(folder.skipped, "".join(json_text(item) + "\n" for item in summary["skipped"]))
    if summary["finished"] and not index.rows:
        raise SpeechpressError(
            f"{document['corpus']['source']}: none of its {len(skipped)} recordings can be used: "
            f"{list_skipped(skipped)}"
        )
    if options.form == "lhotse":
        width, kind = len(document["layers"]) * document["width"], f"speechpress-{document['hash'][:12]}"
        write_manifests(folder.features, folder.cuts, part.items, index.rows, width, document["hop_samples"], kind)
    if summary["finished"]:
        write_json(folder.summary, summary)
    return summary
