"""`compress profile`, `compress report` and `compress ls devices` as a user calls them."""

import json
import signal
import subprocess
import sys

import pytest
from profiled import made

from speechpress.runtime.atomic import write_json


def one_document(done):
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_profile_then_report(cli, tmp_path, small_bundle):
    words = ("--chunks", 3, "--budget-ms", 1000, "--json")
    done = cli("profile", small_bundle, *words)
    document = one_document(done)
    assert done.returncode == 0, done.stderr
    named = {"out", "device", "threads", "chunk_ms", "p50_ms", "p90_ms", "p99_ms", "load_ms", "peak_rss_bytes", "rtf"}
    assert named | {"over_budget"} <= set(document) and document["out"] == "profiles/small-host-host.json"
    assert "golden clip: matches" in done.stderr and "Traceback" not in done.stderr
    done = cli("report", document["out"], "--html", "r.html", "--markdown", "r.md", "--csv", "r.csv", "--json")
    told = one_document(done)
    assert told["out"] == ["r.html", "r.md", "r.csv"] and all((tmp_path / name).stat().st_size for name in told["out"])
    assert told["results"][0]["p50_ms"] == document["p50_ms"]


def test_a_budget_that_is_not_kept_is_exit_3(cli, tmp_path, small_bundle):
    done = cli("profile", small_bundle, "--chunks", 2, "--pace", "flat", "--budget-ms", 0.001, "--out", "here.json")
    assert done.returncode == 3 and "over the budget of 0.001 ms" in done.stderr
    assert json.loads((tmp_path / "here.json").read_text())["finished"]
    assert "flat out" in done.stdout and "next: compress report here.json" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("profile", "BUNDLE", "--device", "hots"), 1, "--device hots: is not a device"),
        (("profile", "BUNDLE", "--pace", "slow"), 1, "--pace slow: must be one of both, real, flat"),
        (("profile", "BUNDLE", "--chunk-ms", "100"), 1, "runs chunks of 80 ms"),
        (("profile", "BUNDLE", "--cores", "900"), 1, "--cores 900: the device has the cores"),
        (("profile", "BUNDLE", "--chunks", "0"), 2, "--chunks"),
        (("profile", "BUNDLE", "--runner", "nothing"), 1, "nothing does not exist"),
        (("report",), 1, "profiles: "),
        (("report", "nothing.json"), 1, "nothing.json: there is no such file or folder"),
    ],
)
def test_what_a_user_can_mend(cli, small_bundle, words, code, said):
    done = cli(*(small_bundle if word == "BUNDLE" else word for word in words), env={"COLUMNS": "300"})
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_slower_than_the_baseline_is_exit_3(cli, tmp_path):
    write_json(tmp_path / "profiles" / "now.json", made(12.0, seed=1))
    write_json(tmp_path / "before.json", made(10.0, seed=2))
    done = cli("report", "--baseline", "before.json")
    assert done.returncode == 3 and "slower than the baseline: pocket, fp32: p50 10.0" in done.stderr
    assert (tmp_path / "report.html").exists()
    assert cli("report", "--baseline", "profiles/now.json", "--csv", "r.csv").returncode == 0


def test_ls_devices(cli):
    listed = one_document(cli("ls", "devices", "--json"))["devices"]
    assert listed[0]["address"] == "host" and listed[0]["state"] == "this machine"
    assert {"raspberry-pi-4", "raspberry-pi-5", "pixel-8", "jetson-orin-nano"} <= {item["name"] for item in listed}
    assert "raspberry-pi-5" in cli("ls", "devices", env={"COLUMNS": "200"}).stdout


def test_ctrl_c_keeps_what_was_measured(tmp_path, small_bundle):
    words = ["profile", str(small_bundle), "--duration", "120", "--pace", "real", "--out", "r.json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "speechpress.compressor.cli.main", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    next(line for line in process.stdout if line.startswith("timing"))
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said, said
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["stopped"]["exit_code"] == 130 and not record["finished"] and "stopping" in out
