"""`compress eval` as a user calls it: suites, what is written beside the weights, exit codes, commands for s3prl."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from speechpress.compressor.cli.main import app
from speechpress.runtime.errors import SpeechpressError

runner = CliRunner()


@pytest.fixture
def student(tiny_pair, tmp_path, monkeypatch):
    """A copy that may be written to; probes that end soon."""
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(tiny_pair / "student", tmp_path / "student")


def call(*words, code=0):
    done = runner.invoke(app, ["eval", *map(str, words)], env={"COLUMNS": "250"})
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_a_suite_prints_one_document_and_writes_it_beside_the_weights(student, mini_data, tmp_path):
    words = ("--suite", "mini", "--data-root", mini_data, "--steps", 3, "--seeds", 1)
    done = call(student, "--tasks", "ks,pr", *words, "--json")
    document = json.loads(done.stdout)
    assert document["suite"] == "mini" and set(document["tasks"]) == {"ks", "pr"}
    written = json.loads((student / "eval.json").read_text())
    assert written["tasks"] == document["tasks"] and document["retention"]["mean"]["student"]
    assert list((tmp_path / "cache/speechpress/features").rglob("frames-*.npy"))
    call(student, "--tasks", "sid", "--data-root", mini_data, "--steps", 3, "--seeds", 1)  # mini unless told otherwise
    kept = json.loads((student / "eval.json").read_text())
    assert set(kept["tasks"]) == {"ks", "pr", "sid"}
    assert not list(student.glob("eval-*.json"))


def test_the_quick_measure_stays_and_is_written_too(student, mini_data):
    data = mini_data / "arabic_speech_commands"
    done = call(student, "--data", data, "--tasks", "ks", "--seeds", 1)
    assert f"accuracy of linear probes on frozen features: {data}" in done.output
    assert json.loads((student / "eval.json").read_text())["suite"] == "probes of arabic_speech_commands"
    call(student, "--tasks", "ks", "--data-root", mini_data, "--steps", 3, "--seeds", 1)
    assert (student / "eval-probes-of-arabic_speech_commands-weighted.json").is_file()


def test_a_report_of_the_suite(student, mini_data, tmp_path):
    words = ("--tasks", "ks", "--data-root", mini_data, "--steps", 3, "--seeds", 1)
    call(student, *words, "--report", tmp_path / "kept.html")
    assert "<html" in (tmp_path / "kept.html").read_text()


def test_nothing_is_kept_without_a_cache(student, mini_data, tmp_path):
    call(student, "--tasks", "ks", "--data-root", mini_data, "--steps", 3, "--seeds", 1, "--no-cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_to_loses_nothing(student, mini_data):
    (student / "eval.json").mkdir()
    done = call(student, "--tasks", "ks", "--data-root", mini_data, "--steps", 3, "--seeds", 1)
    assert "accuracy ↑" in done.output and "could not be written beside the weights" in done.output.replace("\n", " ")


def test_sanity_that_fails_is_exit_3_with_what_is_wrong(student, mini_data):
    """A random teacher is below log-mel, which must not be."""
    words = ("--tasks", "ks", "--data-root", mini_data, "--steps", 3, "--seeds", 1, "--sanity")
    done = call(student, *words, "--json", code=3)
    document = json.loads(done.stdout)
    assert not document["sanity"]["ok"] and document["tasks"]["ks"]["shuffled"]["of"] == "teacher"
    assert "error: sanity: ks: logmel (accuracy" in done.stderr and "is above the teacher" in done.stderr


def test_s3prls_commands_need_no_data(tmp_path):
    from bundled import saved

    folder = saved(tmp_path / "student")
    done = call(folder, "--s3prl")
    assert "compress convert" in done.output and "-u distiller_local" in done.output
    assert json.loads(call(folder, "--s3prl", "--json").stdout)["upstream"] == "distiller_local"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suite", "mini"), "needs --data-root"),
        (("--suite", "minni", "--data-root", "."), "did you mean mini"),
        (("--data-root", "gone"), "is not a folder"),
        (("--data-root", ".", "--data", "."), "--data is for the quick measure"),
        (("--data-root", ".", "--tasks", "kss"), "did you mean ks"),
        (("--data-root", ".", "--tasks", "ks"), "arabic_speech_commands/labels.tsv: is not there"),
        (("--data-root", ".", "--tasks", "er"), "no freely usable corpus of emotions"),
        (("--data-root", ".", "--cache", "x", "--no-cache"), "contradict each other"),
        (("--sanity",), "--sanity: only for suites"),
        (("--against", "hubert-mini"), "--against: only for suites"),
        (("--no-cache",), "--no-cache: only for suites"),
        (("--tasks", "asr"), "task 'asr' is one of the suites': add --suite mini"),
        (("--tasks", "sdi"), "there is no task 'sdi'; did you mean sid"),
    ],
)
def test_what_a_user_can_mend_is_said_before_any_work(student, words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["eval", str(student), *words])
    assert isinstance(done.exception, SpeechpressError) and said in str(done.exception)
    assert not (student / "eval.json").exists()
