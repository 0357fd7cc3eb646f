import csv

from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.search.rows import COLUMNS, Rows, best, blank, finished, front, latency, nearest, write_csv


def row(number, state="done", p50_ms=None, fidelity=None, **more):
    return blank(number, {"width": 32, "conv_channels": (8, 16)}) | {
        "state": state, "p50_ms": p50_ms, "fidelity": fidelity, "chunk_ms": 80.0, **more}  # fmt: skip


def test_the_last_line_on_a_trial_holds(tmp_path):
    rows = Rows(tmp_path / "trials.jsonl")
    assert rows.read() == []
    for line in (row(0, "running"), row(1, "running"), row(0, p50_ms=1.0, fidelity=0.5)):
        rows.add(line)
    assert [item["state"] for item in rows.read()] == ["done", "running"]
    assert [item["trial"] for item in finished(rows.read())] == [0]


def test_a_line_that_a_kill_cut_short_is_left_out_and_does_not_spoil_the_next(tmp_path):
    rows = Rows(tmp_path / "trials.jsonl")
    rows.add(row(0, p50_ms=1.0, fidelity=0.5))
    with rows.path.open("a") as file:
        file.write('{"trial": 1, "sta')
    assert [item["trial"] for item in rows.restart()] == [0]
    rows.add(row(1, "failed", reason="no"))
    assert [item["state"] for item in rows.read()] == ["done", "failed"]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12))
def test_the_front_is_what_nothing_beats(points):
    rows = [row(number, p50_ms=float(ms), fidelity=float(cos)) for number, (ms, cos) in enumerate(points)]
    rows.append(row(99, "skipped", p50_ms=0.5))
    found = front(rows, "p50_ms")

    def beats(one, other):
        better = one["p50_ms"] < other["p50_ms"] or one["fidelity"] > other["fidelity"]
        return better and one["p50_ms"] <= other["p50_ms"] and one["fidelity"] >= other["fidelity"]

    trained = rows[:-1]
    assert all(not beats(one, other) for one in trained for other in found)
    for one in trained:
        same = [item for item in found if (item["p50_ms"], item["fidelity"]) == (one["p50_ms"], one["fidelity"])]
        assert same or any(beats(item, one) for item in found)
    assert (best(rows, "p50_ms") is None) == (not points)
    if points:
        assert best(rows, "p50_ms")["fidelity"] == max(cos for _, cos in points)


def test_latency_that_was_not_measured_is_estimated():
    assert latency(row(0, "skipped", estimate_ms=8.0), "p50_ms") == 8.0
    assert latency(row(0, "skipped", estimate_ms=8.0), "ms_per_s") == 100.0
    assert latency(row(0, p50_ms=2.0, estimate_ms=8.0), "p50_ms") == 2.0


def test_the_nearest_is_the_fastest_that_was_measured():
    rows = [row(0, "skipped", p50_ms=9.0), row(1, "skipped", p50_ms=7.0), row(2, "failed"), row(3, "skipped")]
    assert nearest(rows)["trial"] == 1 and nearest(rows[2:]) is None


def test_the_table_for_a_spreadsheet(tmp_path):
    write_csv(tmp_path / "t.csv", [row(0, p50_ms=1.5, fidelity=0.5), row(1, "failed", reason="no, never")])
    lines = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert set(lines[0]) == {*COLUMNS, "width", "conv_channels"}
    assert lines[0]["conv_channels"] == "8-16" and lines[1]["reason"] == "no, never" and lines[1]["p50_ms"] == ""
