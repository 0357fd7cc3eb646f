import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from searched import tiny_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechpress.compressor.cli.main import main
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.distill.stages import distill_in_stages
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.track.tracker import identity, scalars, tracker
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json_lines


def plan(out):
    return {"event": "plan", "out": str(out), "recipe": "pocket", "steps": 30}


def train(step, loss):
    return {"event": "train", "step": step, "loss": loss, "layers": {"4": {"cosine": 0.5, "l1": 0.25}}}


def read_back(folder):
    """{name: [(step, value), ...]} of TensorBoard's files."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_every_number_of_an_event_has_its_path():
    event = {**train(3, float("nan")), "finished": True, "note": "text", "streaming": {"chunk": {"cosine": 0.75}}}
    assert scalars(event) == {
        "train/layers/4/cosine": 0.5,
        "train/layers/4/l1": 0.25,
        "train/streaming/chunk/cosine": 0.75,
    }


def test_tensorboard_has_the_numbers_of_metrics_jsonl_and_no_audio(tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe("hubert-mini"))
    recipe = load_recipe(str(tmp_path / "tiny.yaml"), ["train.steps=4", "train.validate_every=2"])
    with tracker("tensorboard") as curves:
        distill_in_stages(recipe, RunOptions((SPEECH,), tmp_path / "run"), curves)
    wanted = {}
    for _, event in read_json_lines(tmp_path / "run" / "metrics.jsonl"):
        for name, value in scalars(event).items():
            wanted.setdefault(name, []).append((event["step"], pytest.approx(value, rel=1e-6)))
    assert read_back(tmp_path / "run" / "track") == wanted and "train/loss" in wanted
    found = EventAccumulator(str(tmp_path / "run" / "track"))
    found.Reload()
    assert not found.Tags()["audio"] and not found.Tags()["images"]


def test_a_resumed_run_goes_on_in_the_same_curve_and_shows_no_step_twice(tmp_path):
    with tracker("tensorboard") as curves:
        for event in (plan(tmp_path), train(0, 4.0), train(10, 3.0), train(20, 2.0)):
            curves(event)
    first = identity(tmp_path / "track", resumed=True)
    with tracker("tensorboard") as curves:
        for event in (plan(tmp_path), {"event": "resumed", "step": 10}, train(20, 1.5), train(30, 1.0)):
            curves(event)
    assert read_back(tmp_path / "track")["train/loss"] == [(0, 4.0), (10, 3.0), (20, 1.5), (30, 1.0)]
    assert identity(tmp_path / "track", resumed=True) == first != identity(tmp_path / "track", resumed=False)


def test_nothing_is_written_before_the_run_writes_and_each_stage_has_its_own(tmp_path):
    with tracker("tensorboard") as curves:
        curves(plan(tmp_path / "a-joint"))
        assert not (tmp_path / "a-joint").exists()
        curves(train(0, 4.0))
        curves(plan(tmp_path / "a"))
        curves(train(0, 2.0))
    assert read_back(tmp_path / "a-joint" / "track")["train/loss"] == [(0, 4.0)]
    assert read_back(tmp_path / "a" / "track")["train/loss"] == [(0, 2.0)]


def test_a_tracker_that_fails_is_a_warning_once_and_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "track").write_text("in the way")
    with tracker("tensorboard") as curves, caplog.at_level(logging.WARNING):
        for event in (plan(tmp_path), train(0, 4.0), train(10, 3.0)):
            curves(event)
    assert len(caplog.records) == 1 and "the run continues" in caplog.text


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_a_package_that_is_missing_is_told_before_the_run(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if kind == "tensorboard" else kind, None)
    words = ["distill", "--recipe", "pocket", "--starter", "--track", kind, "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1 and f"speechpress[{kind}]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused_with_what_may_be_meant():
    with pytest.raises(SpeechpressError, match="Did you mean 'tensorboard'"):
        tracker("tensorbord")


EVENTS = (
    "import sys\nfrom pathlib import Path\nfrom speechpress.compressor.track.tracker import tracker\n"
    "kind, out = sys.argv[1], sys.argv[2]\n"
    "plan = {'event': 'plan', 'out': out, 'recipe': 'pocket', 'steps': 3}\n"
    "def train(step): return {'event': 'train', 'step': step, 'loss': 4.0 - step}\n"
    "with tracker(kind) as curves:\n    [curves(e) for e in (plan, train(0), train(1))]\n    assert not curves.off\n"
    "with tracker(kind) as curves:\n"
    "    [curves(e) for e in (plan, {'event': 'resumed', 'step': 1}, train(2))]\n    assert not curves.off\n"
)


def in_another_process(kind, out, monkeypatch, script=""):
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    words = [sys.executable, "-c", EVENTS + script, kind, str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wandb_writes_offline_files_of_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    in_another_process("wandb", tmp_path / "run", monkeypatch)
    name = json.loads((tmp_path / "run" / "track" / "run.json").read_text())["id"]
    files = sorted((tmp_path / "run" / "track").rglob(f"run-{name}.wandb"))
    assert files and all(b"train/loss" in path.read_bytes() for path in files)


def test_trackio_keeps_all_steps_of_a_resumed_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    script = (
        "import json\nfrom trackio.sqlite_storage import SQLiteStorage as S\n"
        "runs = S.get_runs('speechpress')\n"
        "print(json.dumps([runs, [[e['step'], e['train/loss']] for e in S.get_logs('speechpress', runs[0])]]))"
    )
    said = in_another_process("trackio", tmp_path / "run", monkeypatch, script)
    assert len(said.splitlines()) == 1, said  # with --json stdout carries one document
    runs, logs = json.loads(said)
    assert len(runs) == 1 and logs == [[0, 4.0], [1, 3.0], [2, 2.0]]
    assert Path(tmp_path / "trackio").is_dir()
