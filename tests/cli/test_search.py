"""`compress search` as a user calls it: one whole search of tiny students, killed on its way and resumed."""

import json
import signal
import subprocess
import sys
import time

import pytest
from searched import tiny_recipe

from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.search.rows import Rows

SPACE = "layers: [1, 2]\nwidth: [32, 48, 64]\nquantize: [none]\n"


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_teacher, few_clips):
    """What a search of tiny students is called with."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.yaml").write_text(tiny_recipe(tiny_teacher))
    (folder / "space.yaml").write_text(SPACE)
    places = ("--recipe", folder / "tiny.yaml", "--space", folder / "space.yaml", "--data", few_clips)
    rest = ("--budget-ms", 50, "--steps", 2, "--chunks", 5, "--train-device", "cpu", "--out", "here")
    return ["search", *map(str, (*places, *rest))]


def test_a_search_that_is_killed_goes_on_where_it_was(cli, tmp_path, words):
    out = tmp_path / "here"
    owner = subprocess.Popen(
        [sys.executable, "-m", "speechpress.compressor.cli.main", *words, "--trials", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    first = wait_for_a_trial(out, owner)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    done = cli(*words, "--trials", 2, "--resume", "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert (document["trials"], document["done"], document["failed"]) == (2, 2, 0), done.stderr
    rows = Rows(out / "trials.jsonl").read()
    assert rows[0] == first and rows[1]["state"] == "done"
    check_outcome(document, rows, out, tmp_path)
    check_resuming(cli, tmp_path, words)


def wait_for_a_trial(out, owner):
    """Its row, once the first trial has ended and the second has begun."""
    for _ in range(2400):
        rows = Rows(out / "trials.jsonl").read()
        if [row["state"] for row in rows] == ["done", "running"]:
            return rows[0]
        assert owner.poll() is None, (out / "workers.log").read_text()
        time.sleep(0.05)
    pytest.fail("no trial ended within two minutes")


def check_outcome(document, rows, out, folder):
    """Figures that belong together, and a recipe that can be trained."""
    best = document["best"]
    assert best in document["front"] and best["fidelity"] == max(row["fidelity"] for row in rows)
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p99_ms"] and row["over_ms"] == row["p50_ms"] - 50
        assert row["ms_per_s"] == pytest.approx(row["p50_ms"] * 12.5) and -1 <= row["fidelity"] <= 1
        assert row["fidelity"] == pytest.approx(sum(row["fidelity_layers"].values()) / 2)
        assert row["size_bytes"] > 10_000 and not (out / "students" / f"{row['trial']:04d}" / "random").exists()
    recipe = load_recipe(str(folder / document["best_recipe"]))
    assert recipe.student.config["width"] == best["shape"]["width"] and recipe.train.steps == 1000
    assert (out / "trials.csv").read_text().count("\n") == 3 and "budget, 50 ms" in (out / "front.svg").read_text()


def check_resuming(cli, folder, words):
    """What --resume does with a search that is complete, and with one of something else."""
    done = cli(*words, "--trials", 2, "--resume")
    assert done.returncode == 0 and "2 trials already done; request more" in done.stdout, done.stderr
    assert "next: compress distill --recipe here/best.yaml" in done.stdout
    other = cli(*words, "--trials", 3, "--resume", "--set", "train.lr=0.01", "--budget-ms", 40)
    assert other.returncode == 1, other.stdout
    assert "holds another search (train.lr: 0.0002 -> 0.01; budget_ms: 50.0 -> 40.0)" in other.stderr
    again = cli(*words, "--trials", 3)
    assert again.returncode == 1 and "is not empty. Use --resume to continue" in again.stderr
    assert len(Rows(folder / "here" / "trials.jsonl").read()) == 2


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--recipe", "pockett"], 1, "there is no recipe 'pockett'. Did you mean 'pocket'?"),
        (["--device", "hots"], 1, "--device hots: is not a device"),
        (["--against", "time"], 1, "--against time: must be one of chunk, second"),
        (["--space", "none.yaml"], 1, "--space none.yaml: there is no such file"),
        (["--set", "train.stepz=3"], 1, "unknown key 'train.stepz'"),
        (["--resume"], 1, "here: there is no search to resume"),
        (["--budget-ms", "0"], 2, "--budget-ms"),
        (["--jobs", "0"], 2, "--jobs"),
    ],
)
def test_what_a_user_can_mend_is_said_at_once(cli, tmp_path, words, more, code, said):
    done = cli(*words, *more, env={"COLUMNS": "300"})
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "here").exists()


def test_without_speech_nothing_begins(cli, tmp_path):
    done = cli("search", "--budget-ms", 5, "--steps", 2)
    assert done.returncode == 1 and "no speech given: use --data FOLDER, or --starter" in done.stderr
    done = cli("search", "--budget-ms", 5, "--steps", 2, "--resume", "--starter")
    assert done.returncode == 1 and "there is no search under searches" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_device_that_cannot_be_reached_is_said_before_anything_is_trained(cli, tmp_path, words):
    done = cli(*words, "--device", "ssh:nobody@127.0.0.1:9", "--json")
    assert done.returncode == 1 and "127.0.0.1" in json.loads(done.stdout)["error"], done.stderr
    assert not (tmp_path / "here").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path, words):
    process = subprocess.Popen(
        [sys.executable, "-m", "speechpress.compressor.cli.main", *words, "--trials", "6"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in process.stdout:
        if "in a space of 6 shapes" in line:
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "interrupted; continue with: compress search" in out and "--out here --trials 6 --resume" in out
    assert Rows(tmp_path / "here" / "trials.jsonl").read()[0]["state"] == "running"
