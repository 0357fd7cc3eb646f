"""`compress study layers`, with encoders and speech so small that it takes seconds."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from labelled import make_labelled
from pages import CHROMIUM, check_in_browser, check_whole, read, words_of

from speechpress.compressor.evaluate import probes
from speechpress.compressor.models.checkpoint import read_json, save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.study import probes as layer_probes
from speechpress.compressor.study.probes import corpora_of, open_tasks
from speechpress.compressor.study.report import write_study
from speechpress.compressor.study.students import Training, choose_arms, verdict
from speechpress.compressor.study.study import study_layers
from speechpress.runtime.errors import SpeechpressError

SETS = ("train.batch=2", "train.crop_s=1", "train.precision=fp32", "student.layers=1")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return make_labelled(tmp_path_factory.mktemp("speech") / "voices")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(probes, "STEPS", 50)
    monkeypatch.setattr(probes, "SWEEP", ((1e-2, 0.01),))
    monkeypatch.setattr(layer_probes, "COMPARED_S", 6.0)


@pytest.fixture(scope="module")
def student(tmp_path_factory, tiny_config):
    """A checkpoint of one layer."""
    folder = tmp_path_factory.mktemp("students") / "small"
    torch.manual_seed(1)
    save_encoder(folder, Encoder(tiny_config.with_layers(1)))
    write_json(folder / "card.json", {"match": {"layers": [2, 4]}, "steps": 7})
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_teacher, speech, student):
    """A study with students of its own, and what was said meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "STEPS", 50)
        patch.setattr(probes, "SWEEP", ((1e-2, 0.01),))
        patch.setattr(layer_probes, "COMPARED_S", 6.0)
        out = tmp_path_factory.mktemp("study") / "out"
        said = []
        tasks = open_tasks(["sid"], None, speech)
        training = Training((speech,), out, steps=2, sets=SETS, device="cpu")
        document = study_layers(str(tiny_teacher), tasks, [student], training=training, listen=said.append)
        return document, training, said


def test_every_layer_is_probed_beside_the_floors(trained, tiny_teacher):
    document = trained[0]
    task = document["tasks"]["sid"]
    assert [entry["layer"] for entry in task["layers"]] == [0, 1, 2, 3, 4]
    assert sum(task["weighted"]["layer_weights"]) == pytest.approx(1, abs=1e-4)
    assert task["best_layer"] == max(range(5), key=lambda k: task["layers"][k]["val"])
    for score in (*task["layers"], task["weighted"], task["logmel"], task["random"]):
        assert score["ci95"][0] <= score["test"] <= score["ci95"][1]
    assert task["logmel"]["test"] > 2 * task["chance"]  # three studio voices
    assert document["teacher"]["source"] == str(tiny_teacher) and document["hours"] > 0
    assert json.loads(json.dumps(document)) == document


def test_layers_are_compared_with_each_other_and_with_students(trained, student):
    cka = trained[0]["cka"]
    assert all(cka["teacher"][k][k] == pytest.approx(1) for k in range(5))
    assert cka["teacher"][1][3] == pytest.approx(cka["teacher"][3][1])
    given = cka["students"][student.name]
    assert len(given) == 5 and len(given[0]) == 2
    assert trained[0]["students"][student.name]["layers"] == [2, 4]


def test_students_differ_in_their_layers_only(trained):
    document, training, _ = trained
    arms = document["comparison"]["arms"]
    kinds = {kind for arm in arms for kind in arm["kinds"]}
    assert {"suggested-1", "suggested-2", "suggested-3", "last", "even-2", "even-3"} == kinds
    for arm in arms:
        card = read_json(training.out / "students" / arm["student"] / "card.json")
        assert card["match"]["layers"] == arm["layers"] and card["steps"] == 2
        own = {**card["recipe"], "match": {**card["recipe"]["match"], "layers": None}}
        assert own == {**own, "teacher": document["teacher"]["source"]}
        assert set(document["cka"]["students"]) >= {arm["student"]}
    assert document["comparison"]["verdict"][-1].startswith("the suggestion ")
    assert any(note.startswith("sid: students of the comparison are trained on") for note in document["notes"])


def test_finished_students_are_taken_as_they_are_and_others_go_on(trained, tiny_teacher, speech):
    document, training, _ = trained
    arm = document["comparison"]["arms"][0]["student"]
    gone = training.out / "students" / document["comparison"]["arms"][1]["student"]
    shutil.rmtree(gone)
    before = (training.out / "students" / arm / "model.safetensors").stat().st_mtime_ns
    said = []
    again = study_layers(str(tiny_teacher), open_tasks(["sid"], None, speech), training=training, listen=said.append)
    assert (training.out / "students" / arm / "model.safetensors").stat().st_mtime_ns == before
    assert (gone / "card.json").exists() and sum("already exists" in line for line in said) == len(
        document["comparison"]["arms"]
    ) - 1
    assert again["comparison"] == document["comparison"]


def test_a_student_of_another_run_does_not_pass_for_one(trained, tiny_teacher, speech):
    training = replace(trained[1], steps=3)
    with pytest.raises(SpeechpressError, match=r"the run there is another one:\n.*recipe.train.steps: it has 2"):
        study_layers(str(tiny_teacher), open_tasks(["sid"], None, speech), training=training, listen=[].append)


def test_the_page_holds_everything_and_loads_nothing(trained, tmp_path):
    written = write_study(trained[0], tmp_path)
    page = tmp_path / "study.html"
    check_whole(page)
    assert read(page).tags.count("svg") == 2 * 5  # for wide and for narrow windows
    text = words_of(page)
    for words in (
        trained[0]["suggestion"]["reason"],
        "Does the suggestion hold?",
        "the suggestion",
        "last layer only",
        "log-mel",
    ):
        assert words in text, words
    assert {path.name for path in written} >= {"study.json", "study.md", "accuracy.png", "cka-students.svg"}
    assert read_json(tmp_path / "study.json") == trained[0]
    markdown = (tmp_path / "study.md").read_text()
    assert trained[0]["comparison"]["verdict"][-1] in markdown and "![" in markdown
    assert "#0072b2" not in page.read_text().split("</style>", 1)[1]  # plots have the page's colours
    assert "#0072b2" in (tmp_path / "accuracy.svg").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_opens_it_without_a_word(trained, tmp_path):
    write_study(trained[0], tmp_path)
    check_in_browser(tmp_path / "study.html", tmp_path)


def test_arms_of_the_same_layers_are_trained_once(tmp_path):
    from speechpress.compressor.study.choose import Step, Suggestion

    steps = tuple(Step(layer, 1.0, "") for layer in (4, 2, 1))
    arms = choose_arms(Suggestion(steps, 2, ""), 4, 3, tmp_path)
    assert {arm.layers: arm.kinds for arm in arms} == {
        (4,): ("suggested-1", "last"),
        (2, 4): ("suggested-2", "even-2"),
        (1, 2, 4): ("suggested-3",),
        (1, 3, 4): ("even-3",),
    }


def arm(layers, kinds, accuracy, noise=0.01):
    return {"student": str(layers), "layers": layers, "kinds": kinds, "accuracy": accuracy, "noise": noise, "r2": 0.5}


@pytest.mark.parametrize(
    ("other", "words"),
    [(0.5, "holds"), (0.69, "is neither confirmed nor refuted"), (0.8, "does not hold")],
)
def test_the_verdict_follows_the_figures(other, words):
    arms = [arm([1], ["suggested-1"], 0.7), arm([4], ["last"], other)]
    lines = verdict(arms, heads=1)
    assert len(lines) == 2 and lines[-1].startswith(f"the suggestion {words}: layer 1 0.700")
    assert verdict([arm([4], ["suggested-1", "last"], 0.7)], heads=1) == [
        "1 head: the suggested and the evenly spaced choice are the same, layer 4"
    ]


def test_a_teacher_of_one_layer_leaves_no_choice(tmp_path, tiny_config, speech):
    save_encoder(tmp_path / "one", Encoder(tiny_config.with_layers(1)))
    with pytest.raises(SpeechpressError, match="has one layer, so there is no choice"):
        study_layers(str(tmp_path / "one"), open_tasks(["sid"], None, speech))


def test_a_student_of_another_frame_rate(tmp_path, tiny_config, tiny_teacher, speech):
    slow = replace(tiny_config, conv_strides=(5, 2, 2, 2, 2, 2, 4))
    save_encoder(tmp_path / "slow", Encoder(slow))
    write_json(tmp_path / "slow" / "card.json", {})
    with pytest.raises(SpeechpressError, match=r"has a frame every 40 ms, but .* has one every 20 ms"):
        study_layers(str(tiny_teacher), open_tasks(["sid"], None, speech), [tmp_path / "slow"])


@pytest.mark.parametrize(
    ("tasks", "root", "data", "words"),
    [
        (["pr"], None, None, "task 'pr' cannot be studied here; .* can do ks, sid, lid, er"),
        (["qbe"], "here", None, "task 'qbe' cannot be studied here; .* can do ks, ic, sid, er"),
        ([" ", ""], None, None, "no task given"),
        (["ks"], "here", None, "arabic_speech_commands/labels.tsv: is not there"),
        (["sid"], "here", "here", "not both"),
        (["sid"], None, "here", "has no labels.tsv"),
    ],
)
def test_tasks_and_data_that_do_not_fit(tasks, root, data, words, tmp_path):
    with pytest.raises(SpeechpressError, match=words):
        open_tasks(tasks, root and tmp_path, data and tmp_path)


def test_too_few_clips(tmp_path):
    few = make_labelled(tmp_path / "few", per_voice=1)
    with pytest.raises(SpeechpressError, match="fewer than two of 3 classes"):
        open_tasks(["sid"], None, few)


def test_corpora_are_found_by_their_labels(speech):
    assert corpora_of(open_tasks(["sid"], None, speech)) == [speech]


def test_training_that_cannot_be_is_refused_before_any_work(tmp_path, tiny_teacher, speech):
    tasks = open_tasks(["sid"], None, speech)
    said = []

    def attempt(**changes):
        training = replace(Training((speech,), tmp_path / "out", 2, sets=SETS), **changes)
        study_layers(str(tiny_teacher), tasks, training=training, listen=said.append)

    with pytest.raises(SpeechpressError, match=r"match\.layers is not used by style layers"):
        attempt(recipe="distill-hidden")
    with pytest.raises(SpeechpressError, match="there is no recipe 'distil'"):
        attempt(recipe="distil")
    with pytest.raises(SpeechpressError, match="nowhere"):
        attempt(data=(tmp_path / "nowhere",))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(SpeechpressError, match="contains something other than a study"):
        attempt(out=tmp_path / "other")
    with pytest.raises(SpeechpressError, match="at least one step"):
        attempt(steps=0)
    assert not said


def test_the_command(cli, tiny_config, speech, tmp_path):
    save_encoder(tmp_path / "two", Encoder(tiny_config.with_layers(2)))
    words = ("study", "layers", "two", "--data", speech, "--tasks", "sid", "--out", "s", "--cache", "c")
    done = cli(*words, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["out"] == "s" and document["comparison"] is None and "distil layer" in done.stderr
    assert (tmp_path / "s" / "study.html").exists() and list((tmp_path / "c").iterdir())


@pytest.mark.parametrize(
    ("words", "error"),
    [(("--set", "train.lr=1"), "add --train-heads"), (("--tasks", "asr"), "task 'asr' cannot be studied here")],
)
def test_the_command_says_what_is_wrong(cli, words, error):
    done = cli("study", "layers", *words)
    assert done.returncode == 1 and error in done.stderr and "Traceback" not in done.stderr
