"""Audio-seconds per second that training batches are read at: Shar on the disk, and the same Shar in S3 (on loopback).

    pip install -e '.[test]'        # moto, a server of S3, and s3fs
    python benchmarks/remote_data.py [--copies 2] [--rounds 5]

Nothing is trained: batches are read as fast as they come (free), or with the pauses of a training step (paced), by the
two threads that decode them in training. moto runs in a process of its own on the same cores, so that what it costs is
charged to S3. In turn, several times, one epoch each:

    disk     the shards as files, which the system holds in memory after the first round
    first    from S3 with an empty cache: small as they are, the shards are fetched when they are opened
    again    from S3 by a process that finds in its cache what an earlier one fetched
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import busy_s, write

from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.remote import reader, store
from speechpress.compressor.data.to_shar import SharOptions, write_shar
from speechpress.compressor.starter import SPEECH

BUCKET = "speech"
BATCH, CROP_S, WORKERS = 16, 15.0, 2


def make_shar(out: Path, copies: int) -> None:
    """The starter speech several times over, under other names, as one shard."""
    with tempfile.TemporaryDirectory() as folder:
        for copy in range(copies):
            shutil.copytree(SPEECH / "audio", Path(folder) / str(copy))
        write_shar([folder], SharOptions(out, per_shard=1_000_000))


@contextmanager
def storage(shar: Path) -> Iterator[str]:
    """moto with the shards in it, in its own process; the environment then leads to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    try:
        import boto3

        client = boto3.client("s3")
        for _ in range(100):
            try:
                client.create_bucket(Bucket=BUCKET)
                break
            except Exception:
                time.sleep(0.2)
        for path in shar.iterdir():
            client.put_object(Bucket=BUCKET, Key=f"shar/{path.name}", Body=path.read_bytes())
        yield f"s3://{BUCKET}/shar"
    finally:
        server.terminate()
        server.wait()


def epoch(source: str | Path, pace: float | None) -> dict[str, float]:
    """Seconds to open a corpus and to read each recording once; `pace`: for training that hears so many audio-s/s."""
    store.forget()
    reader._reader.cache_clear()
    started = time.perf_counter()
    batches = Batches(open_corpus(source).cuts, batch=BATCH, crop_s=CROP_S, seed=0, workers=WORKERS)
    opened = time.perf_counter()
    audio_s, stream = 0.0, batches.start(0)
    for batch in stream:
        if batch.epoch:
            break
        audio_s += batch.audio_s
        if pace is not None:
            time.sleep(batch.audio_s / pace)  # a step on a GPU, which needs nothing of these cores
    ended = time.perf_counter()
    stream.close()
    return {"open_s": opened - started, "read_s": ended - opened, "audio_s_per_s": audio_s / (ended - opened)}


def measure(shar: Path, address: str, cache: Path, rounds: int, pace: float) -> dict[str, Any]:
    """Every side in turn, as fast as it goes and at a pace; medians and all values."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    sources = {"disk": shar, "first": address, "again": address}
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {"free": [], "paced": []} for name in sources}
    for turn in range(rounds + 1):
        for kind, limit in (("free", None), ("paced", pace)):
            shutil.rmtree(cache, ignore_errors=True)
            for name, source in sources.items():
                one = epoch(source, limit)
                # The first round fills the memory of the system.
                found[name][kind] += [one] if turn else []
    sides: dict[str, Any] = {}
    for name, kinds in found.items():
        sides[name] = {"open_s": statistics.median(one["open_s"] for one in kinds["free"])}
        for kind, values in kinds.items():
            speeds = [one["audio_s_per_s"] for one in values]
            # Round by round, as the load of the machine changes.
            shares = [
                one["audio_s_per_s"] / disk["audio_s_per_s"]
                for one, disk in zip(values, found["disk"][kind], strict=True)
            ]
            sides[name][kind] = {
                "audio_s_per_s": statistics.median(speeds),
                "of_disk": statistics.median(shares),
                "all_audio_s_per_s": speeds,
            }
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pace", type=float, default=300.0, help="audio-s/s of the training that is pretended")
    given = parser.parse_args()
    before, started = busy_s(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shar = Path(folder) / "shar"
        make_shar(shar, given.copies)
        sizes = {path.name: path.stat().st_size for path in shar.glob("*.tar")}
        with storage(shar) as address:
            sides = {"sides": measure(shar, address, Path(folder) / "cache", given.rounds, given.pace)}
    busy = (busy_s() - before) / (time.perf_counter() - started)
    how = {
        "batch": BATCH,
        "crop_s": CROP_S,
        "workers": WORKERS,
        "copies": given.copies,
        "rounds": given.rounds,
        "pace_audio_s_per_s": given.pace,
    }
    note = "the cores were shared with moto and with other people's work; the sides are measured in turn"
    document = {"how": how, "note": note, "busy_cores": busy, "tar_bytes": sum(sizes.values()), **sides}
    write("remote_data", document)
    for name, side in sides["sides"].items():
        shares = ", ".join(f"{pace}: {side[pace]['of_disk']:.2f} of disk" for pace in ("free", "paced"))
        print(f"{name:6} {side['free']['audio_s_per_s']:6.0f} audio-s/s; {shares}; opened in {side['open_s']:.2f} s")


if __name__ == "__main__":
    main()
