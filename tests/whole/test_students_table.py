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
    card, run = (ROOT / "runtime" / "students" / name / "CARD.md").read_text(), RESULTS["shipped"][name]["run"]
    lines = students_table.card_table(RESULTS, name, run)
    assert len(lines) > 10
    assert [line for line in lines if line not in card] == []
    phones, vad = (RESULTS["shipped"][name]["heads"][head]["value"] for head in ("phones", "vad"))
    facts, page = RESULTS["students"][run], " ".join((ROOT / "docs" / "students.md").read_text().split())
    assert f"student `{run}`" in card and f"{facts['steps']:,} steps" in card and f"{facts['audio_h']:.0f} h of" in card
    sizes = (facts["parameters"] / 1e6, facts["macs_per_s"] / 1e9)
    program_mb = (ROOT / "runtime" / "students" / name / "encoder.pte").stat().st_size / 1e6
    assert f"{sizes[0]:.2f} M parameters, {sizes[1]:.2f} GMAC/s;" in card and f"{program_mb:.1f} MB." in card
    assert re.search(rf"{sizes[0]:.2f} M[a-z ]*, {sizes[1]:.2f} GMAC/s and {program_mb:.1f} MB", page)
    sides = {**RESULTS["longest_speed"]["sides"], **RESULTS["layers_speed"]["sides"]}
    chunks = sides[run]["int8"]
    times = [f"{chunks[chunk]['cpu_ms']:.2f} ms per chunk of" for chunk in ("320 ms", "80 ms")]
    assert all(time in card for time in times)
    assert re.search(rf"phone error rate {phones:.3f},.*\b{vad:.3f}\.", card, re.S)


def test_what_is_said_of_the_longest_runs_is_so(students_table):
    page = " ".join((ROOT / "docs" / "benchmarks.md").read_text().split())
    found = students_table.layers_found(RESULTS)
    ours, small, peers = students_table.LAYERS_110, students_table.POCKET_S_110, students_table.DISTILHUBERT_110
    heads = students_table.EVEN_110
    kept = students_table.kept_percent(found["suite"])
    shares = [f"{students_table.mean(kept, names):.0f} %" for names in (ours, peers, heads, small)]
    assert f"`pocket` keeps {shares[0]} above the floor and DistilHuBERT {shares[1]}" in page
    assert f"`pocket-heads` keeps {shares[2]}, `pocket-s` {shares[3]}" in page
    verdicts = students_table.wins(found, ours, peers)
    named = {
        words: {line.split(":")[0] for line in verdicts if words in line} for words in ("better", "each of", "worse")
    }
    abx, nine = {"abx-within", "abx-across"}, {"ks", "ic", "sf", "sid", "asv", "er", "pr", "asr", "qbe"}
    assert named["better"] == nine | abx and not named["worse"]
    assert named["each of"] == (nine - {"sf"}) | abx
    assert "better in all nine tasks, in eight of them each of its runs than each of DistilHuBERT's" in page
    students = RESULTS["students"]
    costs = [students[names[0]]["macs_per_s"] for names in (ours, peers)]
    assert f"{costs[0] / costs[1]:.2f} of DistilHuBERT's MACs" in page and costs[0] < 1e9
    assert students[ours[0]]["parameters"] < 20.6e6 / 3
    assert f"({students['pocket-deep-longest-0']['parameters'] / 1e6:.2f} M parameters)" in page
    assert [students[names[0]]["lr"] for names in (heads, small, peers)] == [1.5e-3, 4e-3, 1e-3]
    for names in (heads, small, peers):
        rates = {float(rate): cosine for rate, cosine in students[names[0]]["cosine_at_rates"].items()}
        assert max(rates, key=rates.__getitem__) == students[names[0]]["lr"]


def test_all_students_heard_as_much(students_table):
    kinds = (students_table.LAYERS_110, students_table.EVEN_110, students_table.DISTILHUBERT_110)
    heard = {round(RESULTS["students"][name]["audio_h"], 1) for names in kinds for name in names}
    assert len(heard) == 1


def test_what_is_said_of_streaming_and_int8_is_so():
    page = " ".join((ROOT / "docs" / "benchmarks.md").read_text().split())
    parts = {"pocket": "layers_ways", "pocket-s": "longest_ways"}

    def apart(name, one, other):
        ways = RESULTS[parts[name]][RESULTS["shipped"][name]["run"]]
        return [100 * (ways[one][mode][-1] / ways[other][mode][-1] - 1) for mode in ("within", "across")]

    seeds = {**RESULTS["layers_ways"], **RESULTS["layers_seeds_ways"]}
    assert len(seeds) == 3
    whole, chunks = (
        [sum(ways[way][mode][-1] for ways in seeds.values()) for mode in ("within", "across")]
        for way in ("whole", "320 ms")
    )
    within, across = (100 * (one / other - 1) for one, other in zip(chunks, whole, strict=True))
    assert f"`pocket` makes {-within:.1f} % fewer errors within speakers and {across:.1f} % more across them" in page
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "in chunks of 320 ms it makes at most 3 % more errors in ABX than on whole recordings" in readme
    assert max(within, across) < 3
    within, across = apart("pocket", "bundle, whole", "320 ms")
    assert f"makes {-within:.1f} % fewer errors within and {-across:.1f} % fewer across speakers than float32" in page
    within, across = apart("pocket-s", "320 ms", "whole")
    assert f"`pocket-s` {within:.1f} and {across:.1f} % more" in page
    within, across = apart("pocket-s", "bundle, whole", "320 ms")
    assert f"that of `pocket-s` {within:.1f} and {across:.1f} % more" in page


def test_what_is_said_of_standardised_layers_is_so(students_table):
    found = RESULTS["layers_standardised"]
    best = {mode: students_table.best_abx(found, mode) for mode in ("within", "across")}
    within, across = (students_table.mean(best[mode], students_table.DISTILHUBERT_110) for mode in best)
    theirs = " and ".join(f"{best[mode]['teacher']:.1f}" for mode in best)
    page, readme = (" ".join((ROOT / name).read_text().split()) for name in ("docs/benchmarks.md", "README.md"))
    assert f"DistilHuBERT has {within:.1f} and {across:.1f} % (best layers, mean of three seeds)" in page
    assert f"and the teacher {theirs} %." in page
    assert f"likewise, have {across:.1f} % across speakers, the teacher's {best['across']['teacher']:.1f} %" in readme


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
