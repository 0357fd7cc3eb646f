"""Heads that an evaluation of the suite trained become heads of the checkpoint, with the scores that it gave."""

import json
import shutil

import pytest
import torch

from speechpress.compressor.data.sounds import identity, read_sound
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import evaluate_suite
from speechpress.compressor.heads.files import read_heads
from speechpress.compressor.heads.from_eval import take
from speechpress.compressor.heads.judge import judged
from speechpress.compressor.heads.learn import HeadOptions
from speechpress.compressor.models.checkpoint import load_checkpoint, load_encoder
from speechpress.compressor.models.scores import stamped, write_back
from speechpress.compressor.tasks.mini import mini_task
from speechpress.runtime.errors import SpeechpressError

QUICK = Budget(steps=4, batch=4, lrs=(1e-2,), seeds=2)
NAMES = ("ks", "pr", "asv", "asr", "sf")
silent = lambda text: None  # noqa: E731


@pytest.fixture(scope="module")
def data(mini_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("few")
    for name in ("arabic_speech_commands", "picovoice_barista", "speechocean762"):
        shutil.copytree(mini_data / name, root / name)
    table = root / "speechocean762" / "labels.tsv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *(line for line in lines if "/0.wav" in line or "/1.wav" in line)]) + "\n")
    return root


@pytest.fixture(scope="module")
def evaluated(small_checkpoint, data, tmp_path_factory):
    """A student that was evaluated in chunks of 80 ms, its result, and the cache."""
    root = tmp_path_factory.mktemp("evaluated")
    folder = shutil.copytree(small_checkpoint, root / "s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
        patch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))
        patch.setattr("speechpress.compressor.evaluate.lineup._add_teacher", lambda *given: None)
        tasks = [mini_task(name, data) for name in NAMES]
        result = evaluate_suite(folder, tasks, chunk_ms=80.0, budget=QUICK, cache=root / "cache")
    write_back(stamped(result, "mini", folder), folder)
    return folder, result, root / "cache"


def test_heads_that_can_stream_are_taken_and_the_others_named(evaluated, data, tmp_path):
    folder, result, cache = evaluated
    said = take(folder, HeadOptions("", data, out=tmp_path / "o", cache=cache), silent)
    heads = read_heads(tmp_path / "o")
    assert {name: head.kind for name, head in heads.items()} == {
        **{"keywords": "classify", "phones": "ctc", "voice": "speaker"}
    }
    assert set(said["left_out"]) == {"asr", "sf"} and "LSTM" in said["left_out"]["asr"]
    for name, task in (("keywords", "ks"), ("phones", "pr"), ("voice", "asv")):
        line = load_checkpoint(tmp_path / "o").card["heads"][name]
        assert line["value"] == result["tasks"][task]["student"] and line["task"] == task
        assert line["ci95"] == result["tasks"][task]["ci95"]["student"] and line["chunks_ms"] == [80.0]
        assert "eval" in line["by"] and json.loads(json.dumps(line)) == line


class Straight:
    """Frames of a student in chunks, without any cache."""

    def __init__(self, encoder, task):
        self.kept = {}
        with torch.inference_mode():
            for item in task.items:
                states = encoder.hidden_states(torch.from_numpy(read_sound(item.sound))[None], chunk_frames=4)
                self.kept[identity(item.sound)] = torch.stack(states, 2)[0].numpy()

    def frames(self, name):
        return self.kept[name]


@pytest.mark.parametrize(("task", "name"), [("ks", "keywords"), ("pr", "phones"), ("asv", "voice")])
def test_a_head_that_was_taken_answers_as_it_was_scored(evaluated, data, tmp_path, task, name):
    folder, result, cache = evaluated
    take(folder, HeadOptions(task, data, out=tmp_path / "o", cache=cache), silent)
    opened, head = mini_task(task, data), read_heads(tmp_path / "o")[name]
    score, _ = judged(head.module, head.labels, opened, Straight(load_encoder(folder), opened), 320)
    # One of the two seeds that the mean in eval.json is made of.
    assert min(abs(score.test - one) for one in result["tasks"][task]["seeds"]["student"]) < 0.03


def test_it_goes_into_the_checkpoint_itself_and_under_another_name(evaluated, data, tmp_path):
    folder, cache = shutil.copytree(evaluated[0], tmp_path / "s"), evaluated[2]
    assert take(folder, HeadOptions("pr", data, name="mine", cache=cache), silent)["heads"] == ["mine"]
    take(folder, HeadOptions("pr", data, cache=cache), silent)
    with pytest.raises(SpeechpressError, match="has a head 'phones' already"):
        take(folder, HeadOptions("", data, cache=cache), silent)
    assert sorted(read_heads(folder)) == ["mine", "phones"]  # all or nothing: no other was written
    take(folder, HeadOptions("", data, cache=cache, overwrite=True), silent)
    assert sorted(read_heads(folder)) == ["keywords", "mine", "phones", "voice"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: {**told, "suite": "superb"}, "only heads of the mini suite"),
        (lambda told: {**told, "layers": "last"}, "the last layer alone"),
        (lambda told: {**told, "of": {"weights_sha256": "0" * 64}}, "is stale"),
        (lambda told: {key: value for key, value in told.items() if key != "budget"}, "is not a result"),
        (lambda told: {**told, "budget": {"steps": "many"}}, "its budget is damaged"),
        (lambda told: {**told, "budget": {**told["budget"], "steps": 5}}, "no head of it is kept"),
        (lambda told: {**told, "tasks": {"ks": told["tasks"]["ks"]}}, "holds no result of task 'pr'"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(evaluated, data, tmp_path, change, said):
    folder = shutil.copytree(evaluated[0], tmp_path / "s")
    told = json.loads((folder / "eval.json").read_text())
    (folder / "eval.json").write_text(json.dumps(change(told)))
    with pytest.raises(SpeechpressError, match=said):
        take(folder, HeadOptions("pr", data, cache=evaluated[2]), silent)


def test_without_a_result_or_a_cache_there_is_nothing_to_take(evaluated, data, tmp_path):
    with pytest.raises(SpeechpressError, match="no head of it is kept in a cache"):
        take(evaluated[0], HeadOptions("pr", data), silent)
    folder = shutil.copytree(evaluated[0], tmp_path / "s")
    (folder / "eval.json").unlink()
    with pytest.raises(SpeechpressError, match="is not there, so no head was scored"):
        take(folder, HeadOptions("pr", data, cache=evaluated[2]), silent)
    with pytest.raises(SpeechpressError, match="none of these tasks has a head that can stream"):
        take(evaluated[0], HeadOptions("sf", data, cache=evaluated[2]), silent)


def test_a_damaged_head_in_the_cache_is_an_error(evaluated, data, tmp_path):
    from speechpress.compressor.models.checkpoint import read_tensors, write_tensors

    cache = shutil.copytree(evaluated[2], tmp_path / "cache")
    for path in (cache / "outcomes").glob("*.safetensors"):
        tensors, _ = read_tensors(path)
        write_tensors(path, {name: value for name, value in tensors.items() if "bias" not in name})
    with pytest.raises(SpeechpressError, match="its kept head is damaged"):
        take(evaluated[0], HeadOptions("pr", data, cache=cache, out=tmp_path / "o"), silent)
