"""Jobs of `compress` on a Ray cluster of two nodes, one of them killed on the way: nothing lost, nothing done twice?

    python benchmarks/ray_nodes.py [--shards 12]

Needs Ray (pip install 'speechpress[ray]'). Two nodes on this machine (ray.cluster_utils.Cluster), each with a raylet
and workers of its own; a tiny model with random weights. The driver stands on the first node, the second is killed.

    counted     jobs that leave a line when they begin and one when they are done: which were done again, and where
    extract     the shards of `compress extract` over the starter speech: every recording once, the same numbers as in
                one process
"""

import argparse
import logging
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write

from speechpress.compressor.cluster.executor import Job, open_executor, run_jobs
from speechpress.compressor.cluster.jobs import Desk
from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.options import ExtractOptions
from speechpress.compressor.extract.shards import extract_shards
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.starter import SPEECH
from speechpress.runtime.json_file import json_text

KILL_AFTER = 3  # jobs that have ended


def counted(desk: Desk, lines: Path, number: int) -> str:
    """Half a second of work; the node on which it was done."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    for word in ("begun", "done"):
        with (lines / f"{number}").open("a") as file:
            file.write(f"{word} {node} {os.getpid()}\n")
        if word == "begun":
            time.sleep(0.5)
    return node


class TwoNodes:
    """The cluster; `kill` takes the second node away, once."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.second: Any = self.cluster.add_node(num_cpus=1)
        self.killed_s: float | None = None
        self.cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        return f"ray:{self.cluster.address}"

    def kill(self, lines: Path | None = None) -> None:
        """At once, as when the power fails: no goodbye; with `lines` in the middle of one of its jobs."""
        end = time.monotonic() + 30
        while lines is not None and not working(lines, self.second.node_id) and time.monotonic() < end:
            time.sleep(0.01)
        if self.second is not None:
            node, self.second = self.second, None
            started = time.perf_counter()
            # Workers outlive their raylet for a moment, in which a short job would still be answered for.
            for pid in [] if lines is None else working(lines, node.node_id):
                os.kill(pid, signal.SIGKILL)
            self.cluster.remove_node(node, allow_graceful=False)
            self.killed_s = time.perf_counter() - started

    def close(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()


def working(lines: Path, node: str) -> list[int]:
    """Processes of a node that have begun a job and not ended it."""
    last = [path.read_text().split()[-3:] for path in lines.iterdir()]
    return [int(words[2]) for words in last if words[:2] == ["begun", node]]


def count(count: int) -> dict[str, Any]:
    """Of so many jobs: their answers, and what their lines say."""
    nodes = TwoNodes()
    ended: list[str] = []
    killing: list[str] = []  # by the first answer of the second node
    try:
        with tempfile.TemporaryDirectory() as name, open_executor(nodes.address, 4, Path("unused")) as workers:
            lines = Path(name)

            def done(job: str, node: str) -> None:
                ended.append(job)
                second = nodes.second is not None and node == nodes.second.node_id
                if second and not killing:
                    killing.append(job)
                    threading.Thread(target=nodes.kill, args=(lines,)).start()

            jobs = [Job(f"job {number}", counted, (lines, number)) for number in range(count)]
            found = run_jobs(workers, jobs, done=done)
            texts = {f"job {path.name}": path.read_text().splitlines() for path in lines.iterdir()}
    finally:
        nodes.close()
    words = {job: Counter(line.split()[0] for line in text) for job, text in texts.items()}
    return {
        "jobs": count,
        "answers": len(found),
        "answered_twice": [job for job, times in Counter(ended).items() if times > 1],
        "nodes_of_answers": len(set(found.values())),
        "begun_again": sorted(job for job, word in words.items() if word["begun"] > 1),
        "done_twice": sorted(job for job, word in words.items() if word["done"] > 1),
        "seconds_to_kill": nodes.killed_s,
    }


def extracted(shards: int, folder: Path) -> dict[str, Any]:
    """Shards on two nodes, one of which dies, against one process that does all of it."""
    torch.manual_seed(0)
    save_encoder(folder / "model", Encoder(EncoderConfig(
        conv_channels=(16,) * 7, width=32, head_dim=8, num_heads=(4,) * 4, ffn_widths=(64,) * 4,
        pos_conv_kernel=16, pos_conv_groups=4,
    )))  # fmt: skip
    write_json(folder / "model" / "card.json", {})
    plain = extract(str(folder / "model"), [SPEECH], ExtractOptions(folder / "plain", workers=1, device="cpu"))
    nodes = TwoNodes()
    ended = []
    try:

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "shard":
                ended.append(event["shard"])
                if len(ended) == KILL_AFTER:
                    threading.Thread(target=nodes.kill).start()

        options = ExtractOptions(folder / "sharded", workers=1, device="cpu")
        found = extract_shards(str(folder / "model"), [SPEECH], options, shards, listen, executor=nodes.address, jobs=4)
    finally:
        nodes.close()
    files = {path.relative_to(folder / "sharded") for path in (folder / "sharded" / "features").rglob("*.npy")}
    wanted = {path.relative_to(folder / "plain") for path in (folder / "plain" / "features").rglob("*.npy")}
    same = sum(np.array_equal(np.load(folder / "plain" / name), np.load(folder / "sharded" / name)) for name in wanted)
    return {
        "shards": shards,
        "recordings": {"one process": plain["recordings"], "two nodes": found["recordings"]},
        "files": {"one process": len(wanted), "two nodes": len(files)},
        "same_bits": same,
        "shards_ended": len(ended),
        "shards_ended_twice": len(ended) - len(set(ended)),
        "seconds_to_kill": nodes.killed_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=24)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)  # as Ray gives a job of one core: with more threads sums are rounded otherwise
    started = time.perf_counter()
    counts = count(given.jobs)
    print(json_text(counts), flush=True)
    with tempfile.TemporaryDirectory() as name:
        files = extracted(given.shards, Path(name))
    print(json_text(files), flush=True)
    assert counts["answers"] == given.jobs and not counts["answered_twice"] and not counts["done_twice"]
    assert counts["nodes_of_answers"] == 2 and counts["begun_again"] and files["seconds_to_kill"] is not None
    assert files["same_bits"] == files["files"]["one process"] == files["files"]["two nodes"]
    assert files["shards_ended"] == given.shards and not files["shards_ended_twice"]
    write("ray_nodes", {"counted": counts, "extract": files, "wall_s": round(time.perf_counter() - started, 1)})


if __name__ == "__main__":
    main()
