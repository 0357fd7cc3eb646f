import io

from rich.console import Console

from speechpress.compressor.search.rows import blank
from speechpress.compressor.search.tables import SearchView, search_table, trial_line
from speechpress.compressor.views.screen import Screen


def row(number, state="done", **more):
    figures = {
        "state": state, "p50_ms": 3.217, "p99_ms": 4.0, "chunk_ms": 80.0, "ms_per_s": 40.2, "macs_per_s": 3.3e8,
        "parameters": 2_100_000, "size_bytes": 2_500_000, "fidelity": 0.6123,
    }  # fmt: skip
    return blank(number, {"layers": 2, "width": 192, "quantize": "int8"}) | figures | more


def printed(renderable):
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()


def test_one_line_tells_what_became_of_a_trial():
    done = trial_line(row(3, others_cores=1.42), 4, 30)
    assert done == (
        "4/30  trial 3  done  3.22 ms  fidelity 0.612  2 layers, width 192, int8  (other programs used 1.4 cores)"
    )
    skipped = trial_line(row(4, "skipped", reason="over budget by measurement: 3.22 ms per chunk"), 5, 30)
    assert "skipped  3.22 ms  2 layers" in skipped and skipped.endswith("over budget by measurement: 3.22 ms per chunk")
    assert trial_line(blank(5, {"layers": 2}) | {"state": "failed", "reason": "no"}, 6, 30) == (
        "6/30  trial 5  failed  2 layers  no"
    )


def test_a_view_that_is_piped_prints_a_line_for_each_trial(capsys):
    with SearchView(Screen(), 2, ["space: width is given"]) as view:
        view({"event": "stage", "trial": None, "text": "reaching the device"})
        view({"event": "begin", "trials": 2, "ended": 1, "size": 12})
        view({"event": "stage", "trial": 1, "text": "timing"})
        view({"event": "trial", "row": row(1), "ended": 2, "trials": 2})
        view({"event": "note", "text": "all was looked at"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "note: space: width is given" and lines[-1] == "note: all was looked at"
    assert lines[1] == "2 trials, 1 already done, in a space of 12 shapes"
    assert lines[2].startswith("2/2  trial 1  done  3.22 ms") and len(lines) == 4


def test_the_front_and_a_warning_when_the_machine_was_busy():
    document = {
        "device": "host", "budget_ms": 5.0, "steps": 20, "trials": 7, "done": 3, "skipped": 3, "failed": 1,
        "front": [row(3, others_cores=0.0), row(5, others_cores=None)],
    }  # fmt: skip
    quiet = printed(search_table(document))
    assert "0.612" in quiet and "0.33" in quiet and "7 trials: 3 done, 3 skipped, 1 failed" in quiet
    assert "warning" not in quiet
    document["front"].append(row(6, others_cores=0.9))
    assert "other programs used up to 0.9 cores while 1 of these were timed" in printed(search_table(document))
