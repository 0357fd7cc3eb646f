"""Jobs of a batch system: submitit's own local executor runs one; sbatch is a program that keeps what it is given."""

import json
import shlex
import sys
from pathlib import Path

import pytest
import submitit

from speechpress.compressor.cluster.submit import Order, Training, submit, words_of
from speechpress.runtime.errors import SpeechpressError

SBATCH = """#!{python}
import shutil, sys
shutil.copy(sys.argv[1], {kept!r})
print("Submitted batch job 4321")
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Where the script goes that sbatch is given."""
    programs, kept = tmp_path / "bin", tmp_path / "sbatch.sh"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text(SBATCH.format(python=sys.executable, kept=str(kept)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return kept


WORDS = ["distill", "--recipe", "distilhubert", "--submit", "slurm:gpu", "--nodes=4", "--gpus", "8", "--resume"]


def test_the_job_gets_the_words_of_the_call_without_those_of_the_submission(tmp_path):
    wanted = ("distill", "--recipe", "distilhubert", "--out", str(tmp_path / "x"), "--go-on")
    assert words_of([*WORDS, "--dry-run", "--hours", "2.5"], tmp_path / "x") == wanted
    assert words_of(["distill", "--out=a", "--submit=local"], Path("a")) == ("distill", "--out=a", "--go-on")


def test_a_dry_run_shows_the_very_script_that_sbatch_gets(tmp_path, slurm, monkeypatch):
    order, out = Order("slurm:gpu,dev", 4, 8, 2.5), tmp_path / "run"
    shown = submit(order, WORDS, out, dry_run=True)
    assert shown["job"] is None and not slurm.exists() and not (tmp_path / "run-jobs").exists()
    sent = submit(order, WORDS, out)
    assert sent["job"] == "4321" and slurm.read_text() == shown["script"] == sent["script"]
    for line in ("partition=gpu,dev", "nodes=4", "gpus-per-node=8", "ntasks-per-node=1", "time=150", "job-name=run"):
        assert f"#SBATCH --{line}\n" in shown["script"], line
    assert shown["processes"] == 32
    monkeypatch.setenv("PATH", str(tmp_path))
    assert submit(order, WORDS, out, dry_run=True)["script"] == shown["script"]
    with pytest.raises(SpeechpressError, match=r"--submit slurm:gpu,dev: this machine has no SLURM .*--dry-run"):
        submit(order, WORDS, out)


def test_each_node_runs_torchrun_and_meets_at_the_first_one():
    training = Training(("distill", "--go-on"), 4, 8)
    words = training.command("77", "node-1")
    text = shlex.join(words)
    assert "--nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint node-1:" in text
    assert "--rdzv-id 77" in text and "--max-restarts 3" in text and text.endswith("cli.main distill --go-on")
    assert words == training.command("77", "node-1") != training.command("78", "node-1")
    assert "--standalone" in Training(("distill",), 1, 2).command("77", "node-1")
    assert training.checkpoint().function == training


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (("slurm", 1, 0, 1.0), "must be local, or slurm:PARTITION"),
        (("slurm:a b", 1, 0, 1.0), "must be local, or slurm:PARTITION"),
        (("local", 2, 0, 1.0), "--nodes 2: --submit local has one node"),
    ],
)
def test_a_place_that_there_is_not_is_refused(asked, wanted):
    with pytest.raises(SpeechpressError, match=wanted):
        Order(*asked)


def test_submitits_local_executor_runs_a_distillation(cli, tiny_teacher, few_clips, tmp_path):
    sets = ["student.layers=2", "match.layers=[2,4]", "match.depth=4", "train.steps=2", "train.batch=2"]
    sets += ["train.crop_s=0.5", "train.precision=fp32"]
    words = ["distill", "--recipe", "distilhubert", "--teacher", tiny_teacher, "--data", few_clips, "--device", "cpu"]
    words += [word for one in sets for word in ("--set", one)]
    done = cli(*words, "--out", "run", "--submit", "local", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    job = submitit.LocalJob(told["folder"], told["job"])
    assert job.result() is None, job.stderr()
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["steps"] == 2 and card["finished"] and told["script"] is None
    again = cli(*words, "--out", "run", "--submit", "local")
    assert again.returncode == 1 and "run: is not empty. Use --resume" in again.stderr
