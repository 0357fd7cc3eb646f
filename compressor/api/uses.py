"""The verbs that use what was made: evaluate, extract, profile, push; see `verbs`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechpress.compressor.models.events import OnEvent, OnText
from speechpress.verbs import PathLike, Paths, paths_of, silent


def evaluate(
    checkpoint: PathLike,
    *,
    data: PathLike | None = None,
    tasks: str | None = None,
    teacher: str | None = None,
    chunk_ms: float | None = None,
    seeds: int = 3,
    device: str = "cpu",
    say: OnText = silent,
) -> dict[str, Any]:
    """What a student kept: fidelity, and tasks beside its teacher, random weights and log-mel.

    Args:
        checkpoint: a student's folder or a bundle.
        data: a labelled folder (labels.tsv); else the starter speech.
        tasks: of ks (keywords), sid (speakers) and, on the starter speech, voices (phones across two voices), separated
            by commas; by default voices on the starter speech, else ks and sid.
        teacher: if it is no longer where the card says.
        chunk_ms: hear the audio in chunks, as a streaming student does.
        seeds: heads per task.

    Raises SpeechpressError for what is no student, or a folder without labels.
    """
    from speechpress.compressor.abx.quick import quick

    place = None if data is None else Path(data)
    shared: dict[str, Any] = {"teacher": teacher, "chunk_ms": chunk_ms, "device": device, "listen": say}
    return quick(checkpoint, place, tasks, seeds=seeds, **shared)


def extract(
    model: PathLike,
    data: Paths,
    *,
    out: PathLike,
    layers: str = "last",
    what: str = "features",
    heads: Sequence[str] = (),
    dedup: bool = False,
    form: str = "npy",
    dtype: str = "float32",
    shard: str = "1/1",
    chunk_ms: float | None = None,
    offline: bool = False,
    longest_s: float | None = None,
    batch_s: float | None = None,
    workers: int = 0,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_event: OnEvent = silent,
) -> dict[str, Any]:
    """Write the features, units or answers of a corpus; recordings that cannot be read are in `skipped`.

    Args:
        model: a checkpoint's or bundle's folder, or a teacher.
        data: folders of audio, Lhotse cuts manifests or Shar folders, here or at an address (s3://...).
        out: the folder to write.
        layers: last, all, or numbers such as "0,2,4".
        what: features, units or answers.
        heads: for units and answers; by default all that fit.
        dedup: units: one number for each run of the same unit.
        form: npy, safetensors, parquet or lhotse.
        dtype: float32 or float16.
        shard: "K/N", the K-th of N parts.
        chunk_ms: process chunks of this size; for a bundle one of its chunk sizes.
        offline: bundle: process whole recordings at once.
        longest_s: skip longer recordings.
        batch_s: audio in one batch, in seconds; 0: one recording at a time.
        workers: recordings in parallel; 0: chosen for the machine.
        device: auto, cpu, cuda or mps.
        resume: continue what is in `out`.
        overwrite: replace what is in `out`.

    Raises SpeechpressError for bad input, a folder in use, a corpus without readable recordings, or an interrupted run.
    """
    from speechpress.compressor.extract.extract import extract as run
    from speechpress.compressor.extract.options import ExtractOptions, parse_shard
    from speechpress.runtime.errors import SpeechpressError

    how = (Path(out), layers, what, form, dtype, parse_shard(shard), tuple(heads), dedup)
    options = ExtractOptions(*how, chunk_ms, offline, longest_s, batch_s, workers, device, resume, overwrite)
    document = run(str(model), paths_of(data), options, on_event)
    if not document["finished"]:
        raise SpeechpressError(f"{out}: was interrupted; call extract again with resume=True")
    return document


def profile(
    bundle: PathLike,
    device: str = "host",
    *,
    chunk_ms: float | None = None,
    threads: int | None = None,
    chunks: int | None = None,
    pace: str = "both",
    budget_ms: float | None = None,
    per_op: bool = False,
    on_event: OnEvent = silent,
) -> dict[str, Any]:
    """Check a bundle's golden clip on a device, time it there chunk by chunk, and return the record.

    Args:
        bundle: its folder.
        device: host, ssh:user@host[:port] or adb:SERIAL.
        chunk_ms: chunk size; else the bundle's first.
        threads: number of threads; else by the facts about the device.
        chunks: number of chunks to time.
        pace: real, flat or both.
        budget_ms: largest time of a chunk.
        per_op: also the time of every operator.

    Raises SpeechpressError if the device cannot be reached; a profile that stopped early has the reason in `stopped`.
    """
    from speechpress.devices.open import open_device
    from speechpress.devices.profile import ProfileOptions
    from speechpress.devices.profile import profile as measure
    from speechpress.runtime.bundle import read_bundle
    from speechpress.runtime.hub.fetch import local_folder
    from speechpress.runtime.hub.manifest import BUNDLE

    options = ProfileOptions(
        chunk_ms=chunk_ms,
        threads=threads,
        chunks=chunks,
        paces=("real", "flat") if pace == "both" else (pace,),
        budget_ms=budget_ms,
        per_op=per_op,
    )
    return dict(measure(read_bundle(local_folder(bundle, BUNDLE)), open_device(device), options, on_event))


def push(
    folder: PathLike,
    repo: str,
    *,
    license_id: str | None = None,
    datasets: Sequence[str] = (),
    private: bool = False,
    dry_run: bool = False,
    say: OnText = silent,
) -> dict[str, Any]:
    """Publish a finished run or a bundle on the Hugging Face Hub, with a model card and the hash of every file.

    Args:
        folder: folder of the run or bundle.
        repo: USER/NAME.
        license_id: licence as the Hub names it, such as "apache-2.0".
        datasets: names on the Hub of the training data.
        private: make a new repository visible to its owner only.
        dry_run: only list what would be uploaded, without a request.

    Raises SpeechpressError for a folder that cannot be published, a missing or invalid token, and a repository that
    belongs to someone else, holds something else, or received another push at the same time.
    """
    from speechpress.compressor.hub.push import plan_push
    from speechpress.compressor.hub.push import push as upload

    plan = plan_push(Path(folder), repo, license_id, datasets)
    return plan.document() if dry_run else upload(plan, private, say)
