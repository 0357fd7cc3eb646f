"""`compress distill` under torchrun over two hosts, one rank killed on the way: the weights of an undisturbed run?

    python benchmarks/two_hosts.py [--steps 12]

Needs root and iproute2. Two network namespaces, each with a host name of its own and joined by a veth pair, stand for
two hosts: all that the processes of one know of the other goes over that wire (torchrun's c10d rendezvous, gloo). They
share the disk, as hosts of a cluster do. A tiny teacher with random weights, the starter speech.

    undisturbed   two ranks, one a host
    rank 1        killed with SIGKILL after the second checkpoint; torchrun starts both again (--max-restarts)
    rank 0        the same with the rank that writes
    clocks        rank 1 killed, and the second host's clock an hour ahead (a preloaded clock_gettime; needs cc)
    other recipe, other code    on the second host: both are to refuse, and to name rank and host
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from common import ROOT, write
from safetensors.torch import load_file

from speechpress.compressor.models.checkpoint import save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.runtime.json_file import json_text

HOSTS = {"host-a": "10.77.0.1", "host-b": "10.77.0.2"}
PORT = 29555
# A clock that is an hour ahead, for every program of a host (Linux gives namespaces no wall clock of their own).
AHEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += 3600;
    return failed;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return out ? (*out = now.tv_sec) : now.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec, out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
# torch's rendezvous takes a host for dead whose clock is 15 s behind (3 heartbeats of 5 s): here it may be 2 hours.
CLOCKS_APART = "keep_alive_max_attempt=1440"
COMPARED = ("model.safetensors", "heads.safetensors")


def sh(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces, host-a and host-b, joined by a wire.

    Raises SystemExit, with the reason, where they cannot be made.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise SystemExit("two hosts: needs root and the command ip (apt-get install iproute2)")
    for name in HOSTS:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    try:
        try:
            for name in HOSTS:
                sh("ip", "netns", "add", name)
            sh("ip", "link", "add", "wire", "netns", "host-a", "type", "veth", "peer", "wire", "netns", "host-b")
            for name, address in HOSTS.items():
                sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
                for link in ("lo", "wire"):
                    sh("ip", "-n", name, "link", "set", link, "up")
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"two hosts: this machine makes no network namespaces ({error.stderr.strip()})") from error
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def on_host(name: str, words: list[str], log: Path, **env: str) -> subprocess.Popen[str]:
    """A command on one of the hosts; its words go to a file."""
    names = log.with_suffix(".hosts")
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in HOSTS.items()))
    # Names of its own, and a table in which they are found: as a cluster has them.
    prelude = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'
    inside = ["unshare", "--uts", "--mount", "sh", "-c", prelude, name, str(names), *words]
    there = ["ip", "netns", "exec", name, *inside]
    settings = {"GLOO_SOCKET_IFNAME": "wire", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        return subprocess.Popen(
            there, stdout=file, stderr=subprocess.STDOUT, text=True, env={**os.environ, **settings, **env}
        )


def torchrun(name: str, restarts: int = 3, conf: str = "") -> list[str]:
    """The command of one host, without what it is to run."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{HOSTS['host-a']}:{PORT}", "--rdzv-id", "two-hosts"),
        *("--local-addr", HOSTS[name], "--max-restarts", str(restarts)),
        *(["--rdzv-conf", conf] if conf else []),
    ]


@dataclass
class Case:
    """One run on both hosts."""

    name: str
    kill: int | None = None
    restarts: int = 3
    conf: str = ""
    sets_of_b: tuple[str, ...] = ()
    env_of_b: dict[str, str] = field(default_factory=dict)


def run(case: Case, folder: Path, steps: int, patience_s: float = 400) -> dict[str, Any]:
    """What came of it: exit codes, at which step it went on, hashes of the weights, and what was said last."""
    out = folder / case.name.replace(" ", "-")
    distil = [
        *("-m", "speechpress.compressor.cli.main", "distill", "--recipe", "distilhubert", "--starter"),
        *("--teacher", str(folder / "teacher"), "--out", str(out), "--device", "cpu", "--go-on"),
        *settings(steps),
    ]
    started, logs, hosts = time.perf_counter(), {}, {}
    for name in HOSTS:
        logs[name] = folder / f"{out.name}-{name}.log"
        more = [word for one in case.sets_of_b for word in ("--set", one)] if name == "host-b" else []
        env = case.env_of_b if name == "host-b" else {}
        hosts[name] = on_host(name, [*torchrun(name, case.restarts, case.conf), *distil, *more], logs[name], **env)
    try:
        killed_at = None if case.kill is None else kill_rank(case.kill, out, logs, hosts)
        codes = {name: process.wait(patience_s) for name, process in hosts.items()}
    finally:
        for process in hosts.values():
            process.kill()
    said = {name: log.read_text() for name, log in logs.items()}
    resumed = [line.strip() for text in said.values() for line in text.splitlines() if "resumed" in line]
    return {
        "codes": codes,
        "killed_after_step": killed_at,
        "resumed": resumed,
        "steps": trained(out),
        "weights": {name: weights_sha256(out / name) for name in COMPARED if (out / name).exists()},
        "refused": next((refusal(text) for text in said.values() if "error: rank" in text), None),
        "wall_s": round(time.perf_counter() - started, 1),
    }


def settings(steps: int) -> list[str]:
    sets = ["student.layers=2", "match.layers=[2,4]", "match.depth=4", f"train.steps={steps}", "train.batch=4"]
    sets += ["train.crop_s=0.5", "train.checkpoint_every=2", "train.precision=fp32"]
    return [word for one in sets for word in ("--set", one)]


def kill_rank(rank: int, out: Path, logs: dict[str, Path], hosts: dict[str, subprocess.Popen[str]]) -> int:
    """Kill one of the processes once the second checkpoint is there; the last step of the log by then."""
    end = time.monotonic() + 200
    while sum(log.read_text().count("saved at step") for log in logs.values()) < 2:
        if time.monotonic() > end or any(process.poll() is not None for process in hosts.values()):
            raise SystemExit("no second checkpoint:\n" + "\n".join(log.read_text()[-3000:] for log in logs.values()))
        time.sleep(0.02)
    (process,) = [pid for pid in trainers(out) if environment(pid).get("RANK") == str(rank)]
    os.kill(process, signal.SIGKILL)
    return max(trained(out), default=0)


def trainers(out: Path) -> list[int]:
    """Processes that train into this folder: those that torchrun has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(out).encode() in words and "RANK" in environment(int(folder.name)):
            found.append(int(folder.name))
    return found


def environment(pid: int) -> dict[str, str]:
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def trained(out: Path) -> list[int]:
    """The steps in the log of the run, in its order; none may stand there twice."""
    path = out / "metrics.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [event["step"] for event in events if event["event"] == "train"]


def refusal(text: str) -> str:
    """The error that names a rank, with its advice."""
    lines = text[text.index("error: rank") :].splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("Install "))
    return " ".join(line.strip() for line in lines[: end + 1])


def weights_sha256(path: Path) -> str:
    """Of names, types and bits of the tensors: safetensors writes what else a file says in any order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def other_code(folder: Path) -> dict[str, str]:
    """The environment of a host whose package differs in one comment."""
    package = folder / "other" / "speechpress"
    (folder / "other").mkdir()
    package.mkdir()
    for part in ("compressor", "runtime", "devices", "recipes"):
        shutil.copytree(ROOT / part, package / part)
    shutil.copy(ROOT / "compressor" / "api" / "__init__.py", package)
    for path in (ROOT / "compressor" / "api").glob("*.py"):
        shutil.copy(path, package)
    with (package / "compressor" / "distill" / "step.py").open("a") as file:
        file.write("# another version\n")
    return {"PYTHONPATH": str(package.parent)}


def cases(folder: Path) -> list[Case]:
    ahead = {"LD_PRELOAD": str(hour_ahead(folder))}
    return [
        Case("undisturbed"),
        Case("rank 1", kill=1),
        Case("rank 0", kill=0),
        Case("other recipe", restarts=0, sets_of_b=("train.lr=1e-3",)),
        Case("other code", restarts=0, env_of_b=other_code(folder)),
        Case("clocks", kill=1, conf=CLOCKS_APART, env_of_b=ahead),
    ]


def hour_ahead(folder: Path) -> Path:
    """The library that makes it an hour later for whoever loads it; tried out."""
    source, library = folder / "ahead.c", folder / "ahead.so"
    source.write_text(AHEAD)
    sh("cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
    told = subprocess.run(
        [sys.executable, "-c", "import datetime, time; print(time.time(), datetime.datetime.now().timestamp())"],
        env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(3500 < float(word) - time.time() < 3700 for word in told.stdout.split()), told.stdout
    return library


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", action="append", help="Only these cases, and nothing is written.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, two_hosts():
        folder = Path(name)
        torch.manual_seed(0)
        save_encoder(folder / "teacher", Encoder(EncoderConfig(
            conv_channels=(16,) * 7, width=32, head_dim=8, num_heads=(4,) * 4, ffn_widths=(64,) * 4,
            pos_conv_kernel=16, pos_conv_groups=4,
        )))  # fmt: skip
        found = {}
        for case in cases(folder):
            if not given.only or case.name in given.only:
                found[case.name] = run(case, folder, given.steps)
                print(case.name, json_text(found[case.name]), flush=True)
        if given.only:
            return
        check(found, given.steps)
        write("two_hosts", {"steps": given.steps, "cases": found})


def check(found: dict[str, dict[str, Any]], steps: int) -> None:
    """Raises AssertionError where it is not as the page says."""
    plain = found["undisturbed"]["weights"]
    for name in ("undisturbed", "rank 1", "rank 0", "clocks"):
        assert found[name]["codes"] == dict.fromkeys(HOSTS, 0), name
        assert found[name]["weights"] == plain, name
        assert found[name]["steps"] == list(range(1, steps + 1)), name
        assert name == "undisturbed" or found[name]["resumed"], name
    for name, word in (("other recipe", "recipe.train.lr"), ("other code", "code.sources")):
        assert "rank 1 on host-" in found[name]["refused"] and word in found[name]["refused"], name
        assert all(found[name]["codes"].values()) and not found[name]["steps"], name


if __name__ == "__main__":
    main()
