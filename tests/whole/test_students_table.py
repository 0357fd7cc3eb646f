"""The tables of students in docs/benchmarks.md are what benchmarks/students_table.py makes of the results file."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "students.json").read_text())


@pytest.fixture
def students_table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("students_table")


def test_docs_hold_every_line_of_the_tables(students_table):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    lines = [line for line in students_table.markdown(RESULTS).splitlines() if line.startswith("|")]
    assert len(lines) > 20
    assert [line for line in lines if line not in page] == []


@pytest.mark.parametrize("name", ["pocket", "pocket-s"])
def test_cards_hold_what_was_measured(students_table, name):
    card = (ROOT / "runtime" / "students" / name / "CARD.md").read_text()
    lines = students_table.card_table(RESULTS, f"{name}-long-0")
    assert len(lines) > 10
    assert [line for line in lines if line not in card] == []
    phones, vad = (RESULTS["shipped"][name]["heads"][head]["value"] for head in ("phones", "vad"))
    facts, page = RESULTS["students"][f"{name}-long-0"], (ROOT / "docs" / "students.md").read_text()
    sizes = (facts["parameters"] / 1e6, facts["macs_per_s"] / 1e9)
    program_mb = (ROOT / "runtime" / "students" / name / "encoder.pte").stat().st_size / 1e6
    assert f"{sizes[0]:.2f} M parameters, {sizes[1]:.2f} GMAC/s;" in card and f"{program_mb:.1f} MB." in card
    assert re.search(rf"{sizes[0]:.2f} M[a-z ]*, {sizes[1]:.2f} GMAC/s and {program_mb:.1f} MB", page)
    chunks = RESULTS["long_speed"]["sides"][f"{name}-long-0"]["int8"]
    times = [f"{chunks[chunk]['cpu_ms']:.2f} ms per chunk of" for chunk in ("320 ms", "80 ms")]
    assert all(time in card for time in times)
    assert re.search(rf"phone error rate {phones:.3f},.*\b{vad:.3f}\.", card, re.S)


def test_what_is_said_of_the_long_runs_is_so(students_table):
    page = " ".join((ROOT / "docs" / "benchmarks.md").read_text().split())
    found = students_table.joined(RESULTS, students_table.LONG, students_table.SMALL, "")
    kept = students_table.kept_percent(found["suite"])
    both = {f"{value:.0f}" for value in (students_table.mean(kept, students_table.DISTILHUBERT), kept["pocket-long-0"])}
    assert len(both) == 1 and f"both keep {both.pop()} % above the floor" in page
    assert f"of its parameters, keeps {kept['pocket-s-long-0']:.0f} %." in page
    below = students_table.kept_percent(students_table.floored(RESULTS, "")["suite"])
    assert f"the same DistilHuBERT keeps {students_table.mean(below, students_table.DISTILHUBERT):.0f} %." in page
    chunked = {
        name: [100 * (ways["320 ms"][mode][-1] / ways["whole"][mode][-1] - 1) for mode in ("within", "across")]
        for name, ways in RESULTS["long_ways"].items()
    }
    first, second = chunked["pocket-long-0"], chunked["pocket-s-long-0"]
    assert f"`pocket` makes {first[0]:.1f} % more errors within speakers and {first[1]:.1f} % more across them" in page
    assert f"`pocket-s` {second[0]:.1f} and {second[1]:.1f} %" in page
    for ways in RESULTS["long_ways"].values():
        assert all(ways["bundle, whole"][mode][-1] < 1.01 * ways["320 ms"][mode][-1] for mode in ("within", "across"))
    verdicts = students_table.wins(found, ("pocket-long-0",), students_table.DISTILHUBERT)
    named = {
        words: {line.split(":")[0] for line in verdicts if words in line} for words in ("better", "each of", "worse")
    }
    assert named["better"] == {"sid", "asv", "er", "pr", "asr", "qbe"}
    assert named["better"] & named["each of"] == {"sid", "asv", "er", "asr"}
    assert named["worse"] & named["each of"] == {"ks", "ic", "abx-within"}


def test_a_mean_is_of_all_seeds_or_of_none(students_table):
    values = {"a-0": 1.0, "a-1": 3.0}
    assert students_table.mean(values, ("a-0", "a-1")) == 2.0
    assert students_table.mean(values, ("a-0", "a-1", "a-2")) is None


def test_wins_say_whether_runs_overlap(students_table):
    tasks = {
        "ks": {"metric": "accuracy", "scores": {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}},
        "asv": {"metric": "EER", "scores": {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.5}},
    }
    document = {"suite": {"tasks": tasks}, "abx": {"errors": {}}}
    assert students_table.wins(document, ("a", "b"), ("c", "d")) == [
        "ks: better, each of the runs",
        "asv: better, the runs overlap",
    ]


def test_students_that_were_scored_later_stand_among_the_others(students_table):
    document = {
        "suite": {"tasks": {"ks": {"metric": "accuracy", "scores": {"pocket-0": 0.9}, "ci95": {"pocket-0": [0, 1]}}}},
        "abx": {"errors": {"pocket-0": {"within": [0.2]}}},
    }
    assert students_table.joined(document, "", "frames_") == document
    theirs = {
        "scores": {"pocket-0": 0.1, "pocket-frames-0": 0.8},
        "ci95": {"pocket-0": [0, 0], "pocket-frames-0": [0, 1]},
    }
    later = {"tasks": {"ks": theirs}}
    document |= {"frames_suite": later, "frames_abx": {"errors": {"pocket-frames-0": {"within": [0.1]}}}}
    found = students_table.joined(document, "", "frames_")
    assert found["suite"]["tasks"]["ks"]["scores"] == {"pocket-0": 0.9, "pocket-frames-0": 0.8}
    assert found["suite"]["tasks"]["ks"]["ci95"] == {"pocket-0": [0, 1], "pocket-frames-0": [0, 1]}
    assert set(found["abx"]["errors"]) == {"pocket-0", "pocket-frames-0"}


def test_a_part_gets_the_random_weights_that_are_scaled_by_measured_speech(students_table):
    def part(random):
        one = {"random": random, "pocket-0": 0.9}
        tasks = {"ks": {"metric": "accuracy", "scores": one, "ci95": {name: [0, value] for name, value in one.items()}}}
        return {"tasks": tasks}, {"errors": {name: {"within": [value]} for name, value in one.items()}}

    document = dict(zip(("small_suite", "small_abx"), part(0.1), strict=True))
    assert students_table.floored(document, "small_")["suite"] == document["small_suite"]
    document |= dict(zip(("long_suite", "long_abx"), part(0.3), strict=True))
    found = students_table.floored(document, "small_")
    assert found["suite"]["tasks"]["ks"]["scores"] == {"random": 0.3, "pocket-0": 0.9}
    assert found["suite"]["tasks"]["ks"]["ci95"] == {"random": [0, 0.3], "pocket-0": [0, 0.9]}
    assert found["abx"]["errors"]["random"] == {"within": [0.3]}
    assert students_table.floored({}, "small_") is None
