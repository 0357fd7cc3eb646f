"""`compress distill --submit`: the same call as a job of SLURM, or of this machine, through submitit.

One task a node, which is torchrun; torchrun starts a process a GPU, and starts them again when one dies. A job that
SLURM ends early (its time, or somebody's precedence) saves where it is, is queued again, and goes on.
"""

import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

RESTARTS = 3
# torch's rendezvous compares the clocks of hosts, and takes one that is 15 s behind for dead; so it is 2 hours.
CLOCKS_APART = "keep_alive_max_attempt=1440"
JOBS = "-jobs"  # of the folder beside a run, with the job and its logs
SAVING_S = 75.0  # of the 90 that SLURM gives between its signal and the end
OWN = {"--submit": 1, "--nodes": 1, "--gpus": 1, "--hours": 1, "--dry-run": 0, "--resume": 0, "--go-on": 0}


@dataclass(frozen=True)
class Order:
    """What is asked of the batch system; `gpus` of each node, of which 0 is one process on its CPU."""

    where: str
    nodes: int
    gpus: int
    hours: float

    def __post_init__(self) -> None:
        if self.where != "local" and not re.fullmatch(r"slurm:[A-Za-z0-9_.,-]+", self.where):
            raise SpeechpressError(f"--submit {self.where}: must be local, or slurm:PARTITION")
        if self.where == "local" and self.nodes > 1:
            raise SpeechpressError(f"--nodes {self.nodes}: --submit local has one node, this one; use slurm:PARTITION")

    @property
    def partition(self) -> str | None:
        return self.where.partition(":")[2] or None


@dataclass(frozen=True)
class Training:
    """What the job does on each node: torchrun, which runs `compress` with these words."""

    words: tuple[str, ...]
    nodes: int
    processes: int

    def __call__(self) -> None:
        """Raises SpeechpressError when training ended with an error, which is in the log."""
        import submitit

        here = submitit.JobEnvironment()
        running = subprocess.Popen(self.command(str(here.job_id), here.hostnames[0]))
        _Running.process = running
        code = running.wait()
        if code:
            raise SpeechpressError(f"compress distill ended with {code}; see the log of this job")

    def command(self, job: str, first_host: str) -> list[str]:
        """torchrun for one node of a job."""
        # A job's own port: two may share a host. Below those that systems hand out.
        port = 20_000 + int(hashlib.sha256(job.encode()).hexdigest(), 16) % 12_000
        meeting = ["--standalone"]
        if self.nodes > 1:
            meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first_host}:{port}", "--rdzv-id", job]
            meeting += ["--rdzv-conf", CLOCKS_APART]
        counts = ["--nnodes", str(self.nodes), "--nproc-per-node", str(self.processes)]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *counts, *meeting, "--max-restarts", str(RESTARTS)]
        return [*torchrun, "-m", "speechpress.compressor.cli.main", *self.words]

    def checkpoint(self) -> Any:
        """What submitit calls before SLURM ends the job: let training save, and come again with the same words."""
        from submitit.helpers import DelayedSubmission

        if _Running.process is not None:
            _Running.process.send_signal(signal.SIGTERM)
            try:
                _Running.process.wait(SAVING_S)
            except subprocess.TimeoutExpired:
                # The last checkpoint is there all the same.
                _Running.process.kill()
        return DelayedSubmission(self)


class _Running:
    """The torchrun of this process, for the signal that finds it; no part of what is pickled."""

    process: subprocess.Popen[bytes] | None = None


def words_of(words: Sequence[str], out: Path) -> tuple[str, ...]:
    """The words of `compress distill` without those of the submission, and with which the run begins or goes on."""
    kept, left = list[str](), list(words)
    while left:
        word = left.pop(0)
        if word.partition("=")[0] not in OWN:
            kept.append(word)
        elif "=" not in word:
            del left[: OWN[word]]
    named = any(word == "--out" or word.startswith("--out=") for word in kept)
    return (*kept, *([] if named else ["--out", str(out)]), "--go-on")


def submit(order: Order, words: Sequence[str], out: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Hand the call over, or only show it.

    Returns:
        {"submit", "nodes", "processes", "folder", "command" (on each node), "script" (of sbatch; None for "local"),
        "job" (None for a dry run), "log"}.

    Raises:
        SpeechpressError: no submitit, or no SLURM here.
    """
    training = Training(words_of(words, out), order.nodes, max(1, order.gpus))
    folder = out.with_name(out.name + JOBS).absolute()
    executor = _executor(order, folder, out.name, dry_run)
    script = None
    if order.partition is not None:
        script = executor._make_submission_file_text(executor._submitit_command_str, "shown")
    job = None if dry_run else executor.submit(training)
    return {
        "submit": order.where,
        "nodes": order.nodes,
        "processes": order.nodes * max(1, order.gpus),
        "folder": str(folder),
        "command": training.command("JOB", "FIRST_HOST"),
        "script": script,
        "job": None if job is None else str(job.job_id),
        "log": None if job is None else str(job.paths.stderr),
    }


def _executor(order: Order, folder: Path, name: str, dry_run: bool) -> Any:
    try:
        import submitit
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise SpeechpressError(
            f"--submit needs submitit ({error}); install it with: pip install 'speechpress[slurm]'"
        ) from error

    class Shown(SlurmExecutor):
        """Of which only the script is wanted, so that it is shown on a machine without SLURM as well."""

        @classmethod
        def affinity(cls) -> int:
            return 2

    minutes = max(1, round(60 * order.hours))
    if order.partition is None:
        local = submitit.LocalExecutor(folder)
        local.update_parameters(timeout_min=minutes, gpus_per_node=order.gpus)
        return local
    try:
        slurm = (Shown if dry_run else SlurmExecutor)(folder)
    except RuntimeError as error:
        raise SpeechpressError(
            f"--submit {order.where}: this machine has no SLURM ({error}); submit from a login node, or see the script "
            "with --dry-run"
        ) from error
    gpus = {"gpus_per_node": order.gpus} if order.gpus else {}
    slurm.update_parameters(
        job_name=name, partition=order.partition, time=minutes, nodes=order.nodes, ntasks_per_node=1, **gpus
    )
    return slurm
