"""All shards of a corpus as independent jobs, on processes here or on a Ray cluster; what they wrote is summed up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from speechpress.runtime.atomic import cannot_write, discard
from speechpress.runtime.errors import SpeechpressError

from ..cluster.executor import PROCESSES, Job, check_executor, open_executor, run_jobs
from ..cluster.jobs import Desk
from ..models.events import OnEvent, silent
from .folder import Folder
from .options import ExtractOptions, Shard

SUMS = ("recordings", "frames", "audio_s", "size_bytes", "events", "renamed", "written", "kept")


def extract_shards(
    source: str,
    data: Sequence[Path],
    options: ExtractOptions,
    count: int,
    listen: OnEvent = silent,
    *,
    executor: str = PROCESSES,
    jobs: int = 1,
) -> dict[str, Any]:
    """`extract` in `count` shards, `jobs` of them at a time; the summary is that of all.

    Args:
        source, data, options: as for `extract`, but for the shard.
        count: of shards.
        listen: hears "part" (a shard begins), "done" (a batch) and "shard" (a shard has ended).
        executor: see `cluster.executor`.
        jobs: at a time; they divide PyTorch's threads among them.

    Raises:
        SpeechpressError: as `extract`, with the shard's number.
    """
    if options.shard.count > 1:
        raise SpeechpressError("--shards makes all of them; --shard is for one alone. Leave one of the two out")
    check_executor(executor)
    parts = [replace(options, shard=Shard(number, count)) for number in range(1, count + 1)]
    for part in parts:
        Folder(options.out, part.shard).check(part)
    try:
        # Once, and before the first begins: shards must not throw away each other's files.
        if options.overwrite and options.out.exists():
            discard(options.out)
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(options.out, error) from error
    counts = Counts(listen)
    log = options.out.with_name(f"{options.out.name}-jobs.log")
    started, gpus = monotonic(), 1 if options.device == "cuda" else 0
    work = [
        Job(f"shard {part.shard.number}/{count}", extract_shard, (source, tuple(data), replace(part, overwrite=False)))
        for part in parts
    ]
    with open_executor(executor, min(jobs, count), log, gpus) as workers:
        found = run_jobs(workers, work, counts.hear, counts.ended)
    log.unlink(missing_ok=True)
    return _summed([found[job.name] for job in work], monotonic() - started, min(jobs, count))


def extract_shard(desk: Desk, source: str, data: Sequence[Path], options: ExtractOptions) -> dict[str, Any]:
    """One shard, in a worker; what a killed one has left is gone on with."""
    import torch

    # Imported here: who owns the shards needs neither torch nor the model.
    from .extract import extract

    torch.set_num_threads(max(1, torch.get_num_threads() // desk.beside))
    resume = options.resume or Folder(options.out, options.shard).index.exists()
    # What it heard stands in the index; a message for each batch is for people only.
    return extract(source, data, replace(options, resume=resume and options.out.exists()), desk.tell)


class Counts:
    """Events of one shard in, events of all of them out."""

    def __init__(self, listen: OnEvent) -> None:
        self.listen, self.last = listen, dict[str, dict[str, int]]()
        self.shards = 0

    def hear(self, name: str, event: dict[str, Any]) -> None:
        if event["event"] == "plan":
            self.listen({**event, "event": "part", "shard": name.removeprefix("shard ")})
            return
        self.last[name] = {key: event[key] for key in ("recordings", "skipped")}
        sums = Counter[str]()
        for counts in self.last.values():
            sums.update(counts)
        self.listen({**event, "recordings": sums["recordings"], "skipped": sums["skipped"]})

    def ended(self, name: str, summary: dict[str, Any]) -> None:
        self.shards += 1
        words = {"shard": name.removeprefix("shard "), "ended": self.shards, "recordings": summary["recordings"]}
        self.listen({"event": "shard", **words})


def _summed(summaries: Sequence[dict[str, Any]], wall_s: float, jobs: int) -> dict[str, Any]:
    """One summary of all shards: what is counted is added, what is alike is taken from the first."""
    first = summaries[0]
    sums = {key: sum(summary[key] for summary in summaries) for key in SUMS}
    heard_s = sum(summary["audio_s_per_s"] * summary["wall_s"] for summary in summaries)
    skipped = sorted((item for summary in summaries for item in summary["skipped"]), key=lambda item: item["path"])
    return {
        **first,
        **sums,
        "shard": f"1-{len(summaries)}/{len(summaries)}",
        "skipped": skipped,
        "finished": all(summary["finished"] for summary in summaries),
        "workers": jobs * first["workers"],
        "wall_s": wall_s,
        "audio_s_per_s": heard_s / wall_s,
    }
