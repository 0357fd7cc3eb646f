"""What a person sees of the suite's results."""

import io

from rich.console import Console

from speechpress.compressor.evaluate.tables import s3prl_words, suite_tables


def task(better="higher", **values):
    names = ("student", "teacher", "random", "logmel", "other")
    found = {name: values.get(name) for name in names}
    return {
        "metric": "accuracy" if better == "higher" else "PER",
        "better": better,
        **found,
        "ci95": {name: None if value is None else [value - 0.01, value + 0.02] for name, value in found.items()},
        "also": {"student": {"CER": 0.25}, "teacher": {}, "random": None},
        "retention": {"student": values.get("kept")},
        "clips": {"test": 40},
        "chance": 0.125,
        "speaker_disjoint": True,
        "notes": ["split: made here"],
    }


RESULT = {
    "suite": "mini",
    "checkpoint": "runs/a",
    "layers": "last",
    "latency": {"chunk_ms": 320.0},
    "against": ["other"],
    "tasks": {
        "ks": task(student=0.5, teacher=0.75, random=0.125, other=0.625, kept=0.667),
        "pr": task("lower", student=0.3),
    },
    "fidelity": {"1": 0.9},
    "fidelity_detail": {"1": {"heads": None, "linear": {"cosine": 0.9, "r2": 0.8}, "cka": 0.7}},
    "sanity": None,
    "notes": ["er is left out"],
    "seconds": {"all": 300.0, "features": 120.0},
}


def printed(result):
    console = Console(file=io.StringIO(), width=200)
    console.print(*suite_tables(result))
    return console.file.getvalue()


def test_every_upstream_has_its_score_and_interval():
    shown = printed(RESULT)
    for piece in ("accuracy ↑", "PER ↓", "0.500", "0.490–0.520", "0.750", "0.625", "67%", "other", "–"):
        assert piece in shown, piece
    assert "of teacher" in shown and "above floor" in shown and "mean" in shown
    assert "ks: not in the mean" not in shown and "pr: not in the mean above the floor: there is no floor" in shown
    assert "mini suite, last layer only, student in chunks of 320 ms: runs/a" in shown
    assert "ks: chance is 0.125; 40 test clips of unseen speakers; CER: student 0.250" in shown
    assert "split: made here" in shown and "note: er is left out" in shown and "took 5.0 min, 2.0 of them" in shown
    assert "linear map: cosine" in shown and "sanity" not in shown


def test_sanity_is_told():
    good = {**RESULT, "sanity": {"ok": True, "complaints": []}}
    good["tasks"] = {"ks": {**RESULT["tasks"]["ks"], "shuffled": {"of": "teacher", "test": 0.11, "ci95": [0.1, 0.2]}}}
    assert "score as expected" in printed(good) and "with shuffled labels teacher gets 0.110" in printed(good)
    bad = {**RESULT, "sanity": {"ok": False, "complaints": ["ks: random is above the teacher"]}}
    assert "sanity: ks: random is above the teacher" in printed(bad)


def test_a_task_of_an_earlier_call_may_lack_what_this_one_was_measured_beside():
    result = {**RESULT, "against": ["other", "later"]}
    assert "later" in printed(result)


def test_commands_can_be_pasted():
    plan = {"notes": ["run these"], "steps": [{"task": "ks", "what": "KS", "commands": ["python a.py", "python b.py"]}]}
    assert str(s3prl_words(plan)) == "# run these\n\n# KS\npython a.py\npython b.py"
