"""`voices`: which tokens, that no starter run hears them, the mean against plain loops, and the command."""

import csv
import io
import json
import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from speechpress.compressor.abx.items import Token, read_items
from speechpress.compressor.abx.quick import quick_tasks
from speechpress.compressor.abx.tables import verdict, voices_tables
from speechpress.compressor.abx.voices import Phones, entry, mean_error, two_voices, wrong_of
from speechpress.compressor.cli.main import app
from speechpress.compressor.cli.making import _compared
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.heldout import hold_out
from speechpress.compressor.evaluate.features import LOG_MEL
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.starter import PHONES, SPEECH
from speechpress.compressor.views.screen import Screen
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def phones():
    return two_voices(read_items(PHONES, SPEECH / "audio"), {"logmel": LOG_MEL})


def test_no_recording_is_in_both_voices_and_every_phone_has_tokens_in_each(phones):
    voices = {token.path: token.speaker for token in phones.tokens}
    assert all(voices[token.path] == token.speaker for token in phones.tokens)
    assert set(voices.values()) == {"as recorded", "lower"}
    for phone in set(phones.phone):
        for side in (False, True):
            assert 2 <= np.sum((phones.phone == phone) & (phones.lower == side)) <= 10
    assert [token.speaker == "lower" for token in phones.tokens] == phones.lower.tolist()


def test_tokens_without_a_frame_are_left_out_for_all(phones):
    """Some phones hold no frame of 80 ms; for frames of 20 ms nothing changes."""
    tokens = read_items(PHONES, SPEECH / "audio")
    usual, slow = (two_voices(tokens, {"x": replace(LOG_MEL, hop_samples=hop)}) for hop in (320, 1280))
    assert usual.tokens == phones.tokens and 20 < len(slow.tokens) < len(phones.tokens)
    assert all(start < end for start, end in (token.frames(1280, 16_000) for token in slow.tokens))


def test_times_in_the_lower_voice_are_later_by_as_much_as_it_is_slower(phones):
    told = {(t.path, t.onset_us): t for t in read_items(PHONES, SPEECH / "audio")}
    slower = [token for token, low in zip(phones.tokens, phones.lower, strict=True) if low]
    for token in slower:
        near = [t for (path, onset), t in told.items() if path == token.path and abs(onset * 1.17 - token.onset_us) < 2]
        assert near and token.phone in {t.phone for t in near}
    assert all((t.path, t.onset_us) in told for t in phones.tokens if t.speaker == "as recorded")


def test_no_starter_run_is_trained_on_these_prompts(phones):
    train, _ = hold_out(open_corpus(SPEECH), seed=0, crop_s=15.0)
    trained = {source.source for cut in train.cuts for source in cut.recording.sources}
    assert trained and not trained & {token.path for token in phones.tokens}
    with (SPEECH / "labels.tsv").open(encoding="utf-8") as file:
        split = {str(SPEECH / row["path"]): row["split"] for row in csv.DictReader(file, delimiter="\t")}
    assert {split[path] for path in {token.path for token in phones.tokens}} == {"val", "test"}


def made(counts, recordings=4, seed=0):
    """Phones with so many tokens in each voice, spread over recordings of their own, at drawn distances."""
    draw = np.random.default_rng(seed)
    sides = [(p, low) for p, two in enumerate(counts) for low in (0, 1) for _ in range(two[low])]
    rows = [(p, low, int(draw.integers(recordings))) for p, low in sides]
    token = Token("", 0, 1, "", ("", ""), "")
    found = Phones(
        [replace(token, path=f"{low}-{record}") for _, low, record in rows],
        np.array([record + recordings * low for _, low, record in rows]),
        np.array([p for p, _, _ in rows]),
        np.array([bool(low) for _, low, _ in rows]),
    )
    apart = draw.integers(0, 6, (len(rows),) * 2).astype(np.float32)
    apart = np.minimum(apart, apart.T)
    return found, apart, wrong_of(found, apart)


def by_loops(found, apart, weight):
    numbers, pairs = range(len(weight)), []
    for low, p, q in product((False, True), set(found.phone), set(found.phone)):
        if p == q:
            continue
        wrong = drawn = 0.0
        for x, a, b in product(numbers, numbers, numbers):
            if found.lower[x] != low or found.lower[a] == low or found.lower[b] == low:
                continue
            if (found.phone[x], found.phone[a], found.phone[b]) == (p, p, q):
                heavy = weight[x] * weight[a] * weight[b]
                near, far = apart[x, a], apart[x, b]
                wrong, drawn = wrong + heavy * (1.0 if near > far else 0.5 if near == far else 0.0), drawn + heavy
        if drawn:
            pairs.append(wrong / drawn)
    return np.mean(pairs)


def test_the_mean_is_that_of_plain_loops_over_triples():
    found, apart, errors = made([(2, 3), (4, 2), (2, 2)])
    draw = np.random.default_rng(1)
    for weight in (np.ones(15), draw.integers(0, 3, 15), np.array([0, 0, *[1] * 13])):
        weight = weight.astype(np.float32)
        assert mean_error(found, errors, weight) == pytest.approx(by_loops(found, apart, weight), abs=1e-6)


def test_intervals_are_of_the_same_recordings_for_all_models():
    found, _, errors = made([(3, 3)] * 4, seed=2)
    better = [0.5 * one for one in errors]
    one = entry(found, {"student": better, "logmel": errors, "random": errors, "untrained": better})
    assert one["logmel"] == pytest.approx(2 * one["student"]) and one["teacher"] is None
    assert one["minus_student"]["logmel"] == one["minus_student"]["random"]
    # Half of each draw of log-mel's: only paired draws have these ends.
    assert one["minus_student"]["logmel"]["ci95"] == pytest.approx([x / 2 for x in one["ci95"]["logmel"]], abs=1e-6)
    assert verdict(one).startswith("the student is clearly better than log-mel (+")
    # What it had before training is nothing that it has learned.
    assert verdict(one).endswith("not clearly better than itself before training (+0.00 to +0.00)")
    one["minus_student"]["untrained"] = {"difference": -0.08, "ci95": [-0.095, -0.062]}
    assert verdict(one).endswith("clearly worse than itself before training (-9.50 to -6.20)")
    same = entry(found, {"student": errors, "logmel": errors, "random": errors})
    assert verdict(same) == (
        "the student is not clearly better than log-mel (+0.00 to +0.00), "
        "not clearly better than random weights (+0.00 to +0.00)"
    )
    shown = io.StringIO()
    Console(file=shown, width=100).print(*voices_tables(one))
    assert f"{100 * one['student']:.1f}" in shown.getvalue() and "log-mel" in shown.getvalue()


def test_which_tasks_are_asked_for():
    assert quick_tasks(None, None) == (True, []) and quick_tasks(None, SPEECH) == (False, ["ks", "sid"])
    assert quick_tasks("ks, voices", None) == (True, ["ks"]) and quick_tasks("sid", None) == (False, ["sid"])
    with pytest.raises(SpeechpressError, match="leave out --data"):
        quick_tasks("voices", SPEECH)
    with pytest.raises(SpeechpressError, match="names none"):
        quick_tasks(" ,", None)
    with pytest.raises(SpeechpressError, match="did you mean voices"):
        quick_tasks("voice", None)


def test_the_command_measures_voices_without_any_option(tiny_pair, tmp_path):
    student = shutil.copytree(tiny_pair / "student", tmp_path / "student")
    done = CliRunner().invoke(app, ["eval", str(student), "--json", "--report", str(tmp_path / "r.md")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "voices" in (tmp_path / "r.md").read_text()
    document = json.loads(done.stdout)
    assert set(document["tasks"]) == {"voices"} and document["fidelity"]
    one = document["tasks"]["voices"]
    for name in ("student", "teacher", "random", "logmel"):
        low, high = one["ci95"][name]
        assert 0 < low <= one[name] <= high < 1
    # Another voice costs errors, and is still far from chance.
    assert 0.15 < one["logmel"] < 0.4
    assert json.loads((student / "eval.json").read_text())["tasks"] == document["tasks"]


def test_a_student_that_cannot_be_compared_is_still_a_finished_run(tmp_path):
    gone = load_recipe("distilhubert", [f"teacher={tmp_path / 'gone'}"])
    found, shown = _compared(Screen(json=True), gone, tmp_path)
    assert found == {"voices": None} and "was not compared" in shown[0] and str(tmp_path) in shown[0]


def test_a_starter_run_ends_with_the_comparison_and_a_dry_run_has_none(tiny_pair, tmp_path):
    keys = ("student.layers=1", "match.layers=[1,2]", "train.steps=1", "train.batch=2", "train.crop_s=1")
    words = ["distill", "--recipe", "distilhubert", "--starter", "--teacher", str(tiny_pair / "teacher"), "--json"]
    words += ["--out", str(tmp_path / "run"), *(word for key in keys for word in ("--set", key))]
    dry = CliRunner().invoke(app, [*words, "--dry-run"])
    assert dry.exit_code == 0 and "voices" not in json.loads(dry.stdout), (dry.output, dry.exception)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    one = json.loads(done.stdout)["voices"]
    assert set(one["minus_student"]) == {"untrained", "random", "logmel", "teacher"}
    # A step in warm-up moves next to nothing: its errors are those from before it.
    assert one["student"] == pytest.approx(one["untrained"], abs=0.02)
