"""What a student kept: retention, and the report of it."""

import json

import numpy as np
import pytest
import torch
from labelled import make_labelled
from pages import CHROMIUM, check_in_browser, check_whole, read, words_of

from speechpress.compressor.evaluate.report import dots, models_table, reported, write_report
from speechpress.compressor.evaluate.retention import kept_intervals, retention
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.tasks.published import COLUMNS, ROWS, published_table
from speechpress.runtime.errors import SpeechpressError


def task(metric, student, teacher, random, logmel, other=None, half=0.02):
    scores = {"student": student, "teacher": teacher, "random": random, "logmel": logmel}
    if other is not None:
        scores["tiny"] = other
    intervals = {n: None if s is None else [max(0, s - half), s + half] for n, s in scores.items()}
    return {"metric": metric, **scores, "ci95": intervals, "ci95_method": "bootstrap", "notes": [f"a note on {metric}"]}


def suite(name="runs/<b>student</b>", against=True):
    """A document as `evaluate.suite.evaluate_suite` returns it."""
    other = {"other": 0.3} if against else {}
    return {
        "checkpoint": name,
        "layers": "weighted",
        "latency": None,
        "hours": 1.5,
        "budget": {"steps": 300, "batch": 16, "lrs": [0.001, 0.01], "seeds": 3},
        "size_bytes": {
            "student": 20e6,
            "random": 20e6,
            "logmel": 0,
            "teacher": 90e6,
            **({"tiny": 5e6} if against else {}),
        },
        "against": ["tiny"] if against else [],
        "tasks": {
            "ks": task("accuracy", 0.8, 0.9, 0.4, 0.3, **other),
            "pr": task("PER", 0.3, 0.1, 0.8, 0.9, **other),
            "asv": task("EER", 0.3, 0.2, 0.4, 0.1, **other),
        },
        "notes": ["asv: logmel above the student: the student kept nothing of the teacher here"],
        "seconds": {"features": 1.0, "all": 2.0},
    }


def test_retention_is_measured_from_the_better_floor():
    kept = retention(suite())
    ks, pr, asv = (kept["tasks"][name]["models"]["student"] for name in ("ks", "pr", "asv"))
    assert kept["tasks"]["ks"]["floor"] == "random"
    assert ks["of_teacher"] == pytest.approx(8 / 9) and ks["kept_above_floor"] == pytest.approx(4 / 5)
    assert pr["of_teacher"] == pytest.approx(7 / 9) and pr["kept_above_floor"] == pytest.approx(5 / 7)
    assert kept["tasks"]["asv"]["floor"] == "logmel" and asv["kept_above_floor"] is None  # the teacher is below log-mel
    assert kept["mean"]["student"]["tasks"] == 2
    assert kept["mean"]["student"]["kept_above_floor"] == pytest.approx((4 / 5 + 5 / 7) / 2)
    assert kept["tasks"]["ks"]["models"]["tiny"]["kept_above_floor"] == pytest.approx(-1 / 5)
    assert kept["left_out"] == {"asv": "the teacher's interval reaches down to that of logmel"}


def test_nothing_is_said_where_nothing_is_known():
    document = suite(against=False)
    for entry in document["tasks"].values():
        entry["teacher"] = entry["ci95"]["teacher"] = None
        entry["random"] = entry["ci95"]["random"] = None
    kept = retention(document)
    assert kept["mean"]["student"] == {"of_teacher": None, "kept_above_floor": None, "tasks": 0}
    assert set(kept["left_out"].values()) == {"there is no teacher"}
    assert kept_intervals(document, {}) == {}
    near = suite()
    near["tasks"]["ks"] |= {"teacher": 0.41}
    near["tasks"]["ks"]["ci95"]["teacher"] = [0.39, 0.43]
    assert retention(near)["tasks"]["ks"]["models"]["student"]["kept_above_floor"] is None  # no more than the floor


def test_a_task_counts_where_the_intervals_of_teacher_and_floor_are_apart():
    near = suite(against=False)
    near["tasks"] = {"ks": task("accuracy", 0.8, 0.45, 0.4, 0.3, half=0.024)}
    assert list(retention(near)["left_out"]) == []
    near["tasks"] = {"ks": task("accuracy", 0.8, 0.45, 0.4, 0.3, half=0.026)}
    assert list(retention(near)["left_out"]) == ["ks"]


def test_a_teacher_whose_seeds_lie_far_apart_counts_for_nothing():
    """Its clips alone would put it above the floor."""
    document = suite(against=False)
    document["tasks"] = {"sd": task("DER", 0.17, 0.234, 0.284, 0.317, half=0.02)}
    assert retention(document)["left_out"] == {}
    document["tasks"]["sd"]["seeds"] = {"teacher": [0.21, 0.222, 0.27], "random": [0.23, 0.284, 0.338]}
    assert list(retention(document)["left_out"]) == ["sd"]


def drawn(document, seed=0, noise=0.01):
    """Draws of every score: what is hard for all is common to them, and cancels out between models."""
    draw, found = np.random.default_rng(seed), {}
    for name, entry in document["tasks"].items():
        common = noise * draw.standard_normal(500)
        found[name] = {model: (score + common).tolist() for model, score in scores_of(entry).items()}
    return found


def scores_of(entry):
    return {model: entry[model] for model in entry["ci95"]}


def test_intervals_of_what_was_kept_are_paired():
    document = suite()
    found = kept_intervals(document, drawn(document))
    assert found["tasks"] == ["ks", "pr"] and found["without_draws"] == []
    middle = retention(document)["mean"]
    # A shift that is common to all models changes no share of the room between floor and teacher.
    for model in ("student", "tiny"):
        assert found["models"][model] == pytest.approx([middle[model]["kept_above_floor"]] * 2)
    apart = found["minus_student"]["tiny"]
    wanted = middle["tiny"]["kept_above_floor"] - middle["student"]["kept_above_floor"]
    assert apart["difference"] == pytest.approx(wanted)
    draws = drawn(document)
    draws["ks"]["student"] = (np.array(draws["ks"]["student"]) + 0.05 * np.sin(np.arange(500))).tolist()
    low, high = kept_intervals(document, draws)["models"]["student"]
    # The student's own spread of 0.05 is a tenth of the room of 0.5 in one of two tasks.
    assert low == pytest.approx(middle["student"]["kept_above_floor"] - 0.05, abs=0.002)
    assert high == pytest.approx(middle["student"]["kept_above_floor"] + 0.05, abs=0.002)


def test_a_task_without_draws_is_named_and_stands_still():
    document = suite()
    draws = drawn(document)
    draws["pr"] = {}
    found = kept_intervals(document, draws)
    assert found["without_draws"] == ["pr"] and found["tasks"] == ["ks", "pr"]


def test_the_interval_and_what_is_left_out_are_in_the_report(tmp_path):
    document = suite()
    document["kept_above_floor"] = {**kept_intervals(document, drawn(document)), "models": {"student": [0.7, 0.8]}}
    text = write_report([document], tmp_path / "kept.md").read_text()
    assert "(70.0 % to 80.0 %)" in text and "asv: not in the mean above the floor: the teacher" in text
    # Of other tasks than those of the document it would be no interval of this mean.
    document["kept_above_floor"]["tasks"] = ["ks"]
    assert "(70.0 % to" not in write_report([document], tmp_path / "kept.md").read_text()


def test_models_stand_where_size_and_score_put_them():
    found = {dot.name: dot for dot in dots([suite("runs/one")])}
    assert set(found) == {"one", "random weights", "teacher", "tiny"}
    assert found["teacher"].score == pytest.approx((0.9 + 0.9 + 0.8) / 3) and found["tiny"].size_bytes == 5e6
    both = dots([suite("runs/one"), suite("runs/two")])
    assert [dot.name for dot in both].count("teacher") == 1 and {"one", "two"} <= {dot.name for dot in both}
    shorter = suite("runs/two")
    del shorter["tasks"]["asv"]
    common = {dot.name: dot.score for dot in dots([suite("runs/one"), shorter])}
    assert common["one"] == pytest.approx((0.8 + 0.7) / 2)


def test_the_page_holds_everything_and_loads_nothing(tmp_path):
    write_report([suite()], tmp_path / "r.html")
    check_whole(tmp_path / "r.html")
    assert read(tmp_path / "r.html").tags.count("svg") == 2 * 2
    text = words_of(tmp_path / "r.html")
    for words in (
        "b>",
        "75.7 %",
        "80.0 %",
        "20.0 MB",
        "of 90.0 MB",
        "1 of 3",
        "a note on PER",
        "DistilHuBERT",
        "300 steps",
    ):
        assert words in text, words
    assert "<b>student" not in (tmp_path / "r.html").read_text()


def test_several_results_become_one_page(tmp_path):
    write_report([suite("runs/one"), suite("runs/two", against=False)], tmp_path / "r.html")
    assert read(tmp_path / "r.html").tags.count("svg") == 2 * 3
    check_whole(tmp_path / "r.html")
    heads, rows = models_table([suite("runs/one"), suite("runs/two", against=False)])
    assert [row[0] for row in rows] == ["one", "tiny", "two"] and len(heads) == len(rows[0])
    assert models_table([suite(against=False)]) is None


def test_markdown_says_the_same(tmp_path):
    write_report([suite("runs/one")], tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for block in tables:
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
    assert "| ks | accuracy ↑ | 0.800 (0.780–0.820) |" in text and "80.0 %" in text and "STaRHuBERT-L" in text


def test_a_hostile_name_stays_text(tmp_path):
    for ending in ("md", "html"):
        write_report([suite("runs/<img src=x onerror=alert(1)>|b")], tmp_path / f"r.{ending}")
        assert "<img" not in (tmp_path / f"r.{ending}").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_opens_it_without_a_word(tmp_path):
    write_report([suite()], tmp_path / "r.html")
    check_in_browser(tmp_path / "r.html", tmp_path)


def test_what_is_no_report_is_refused_at_once(tmp_path):
    with pytest.raises(SpeechpressError, match=r"must end in \.html or \.md"):
        reported(tmp_path / "r.pdf")
    with pytest.raises(SpeechpressError, match="no result to report"):
        write_report([], tmp_path / "r.md")
    with pytest.raises(SpeechpressError, match="has no tasks"):
        write_report([{"out": "x"}], tmp_path / "r.md")
    document = suite()
    assert reported(None)(document) == {**document, "retention": retention(document)}


def test_published_rows_are_whole_and_apart():
    assert all(len(values) == len(COLUMNS) for _, values in ROWS)
    heads, rows = published_table()
    assert all(len(row) == len(heads) for row in rows)
    assert dict(ROWS)["HuBERT Base (teacher)"][1] == 5.41


def test_the_command(cli, tiny_teacher, tiny_config, tmp_path):
    """The quick evaluation has sizes and a report as well."""
    torch.manual_seed(2)
    save_encoder(tmp_path / "student", Encoder(tiny_config.with_layers(1)))
    write_json(tmp_path / "student" / "card.json", {"teacher": {"source": str(tiny_teacher)}})
    speech = make_labelled(tmp_path / "speech")
    words = ("eval", "student", "--data", speech, "--tasks", "sid", "--seeds", "1", "--report", "r.html", "--json")
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["report"] == "r.html" and document["size_bytes"]["teacher"] > document["size_bytes"]["student"] > 0
    assert set(document["retention"]["tasks"]) == {"sid"}
    assert read(tmp_path / "r.html").tags.count("svg") == 2 * 2
    refused = cli("eval", "student", "--report", "r.pdf")
    assert refused.returncode == 1 and "must end in .html or .md" in refused.stderr
