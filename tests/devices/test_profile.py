import json

import pytest
from profiled import latencies, made, pace

from speechpress.devices.record import begin, hear, read_record, settle, statistics
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.errors import SpeechpressError


def test_quantiles_are_interpolated():
    found = statistics([4.0, 1.0, 3.0, 2.0])
    assert found == {"p50_ms": 2.5, "p90_ms": pytest.approx(3.7), "p99_ms": pytest.approx(3.97), "max_ms": 4.0}
    assert set(statistics([]).values()) == {None}


def test_latency_is_that_at_the_pace_of_audio_and_throughput_that_flat_out():
    record = made(10.0)
    result = record["result"]
    assert result["p50_ms"] == pytest.approx(10.0, rel=0.02) and result["rtf"] == pytest.approx(8 / 320, rel=0.02)
    assert result["streams_per_core"] == pytest.approx(320 / 8, rel=0.02)
    assert result["budget_ms"] == 320.0 and not result["over_budget"]
    assert result["budget_share"] == pytest.approx(result["p99_ms"] / 320)


def test_a_budget_that_is_not_kept():
    record = made(10.0)
    record["settings"]["budget_ms"] = 9.0
    settle(record)
    assert record["result"]["over_budget"] and record["result"]["budget_share"] > 1


def test_chunks_that_came_too_late_are_counted():
    record = made(10.0)
    record["paces"]["real"] = pace([330.0, 100.0, 340.0, 350.0])
    settle(record)
    assert record["paces"]["real"]["late"] == 2  # nothing waits for the last one


def test_without_cpu_time_nothing_is_said_of_it():
    record = made(10.0)
    record["paces"]["flat"]["cpu_s"] = None
    settle(record)
    assert record["result"]["streams_per_core"] is record["result"]["cpu_rtf"] is None
    assert record["result"]["rtf"] == pytest.approx(8 / 320, rel=0.02)


def test_streams_per_core_are_one_over_the_share_of_a_core():
    record = made(21.0)
    record["paces"]["flat"]["cpu_s"] = 0.4 * record["paces"]["flat"]["wall_s"]
    settle(record)
    result = record["result"]
    assert result["cpu_rtf"] == pytest.approx(0.4 * result["rtf"])
    assert result["streams_per_core"] * result["cpu_rtf"] == pytest.approx(1.0)


def test_a_record_begins_with_what_the_bundle_says(small_bundle):
    bundle = read_bundle(small_bundle)
    settings = {"method": "step_4", "chunk_ms": 80.0, "budget_ms": None, "threads": 1}
    record = begin(bundle, settings, {"address": "host"})
    assert record["accuracy"]["parity"] == bundle.document["parity"]["step_4"]
    assert record["bundle"]["lineage"]["steps"] == 3 and record["bundle"]["lineage"]["parameters"] > 0
    hear(record, {"event": "something new", "value": 1})
    settle(record)
    assert record["result"]["p50_ms"] is None and not record["finished"]


def test_every_event_is_taken_down():
    record = made()
    hear(record, {"event": "pace", "pace": "flat"})
    hear(record, {"event": "chunks", "pace": "flat", "start_s": [0.0], "ms": [3.0]})
    hear(record, {"event": "chunks", "pace": "flat", "start_s": [1.0], "ms": [5.0]})
    hear(record, {"event": "sample", "pace": "flat", "t_s": 1.0, "khz": {}, "temp_c": None, "others_cores": None})
    hear(record, {"event": "paced", "pace": "flat", "wall_s": 2.0, "cpu_s": 0.012})
    settle(record)
    flat = record["paces"]["flat"]
    assert flat["ms"] == [3.0, 5.0] and flat["p50_ms"] == 4.0 and flat["samples"][0]["t_s"] == 1.0
    # Neither the 4 ms that a chunk took on the clock, nor the 1000 ms from one to the next: the CPU's 6 ms.
    assert record["result"]["streams_per_core"] == pytest.approx(320 / 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "holds a list.*compress profile"),
        (json.dumps({"kind": "other"}), "is not a profile"),
        (json.dumps({**made(), "schema": 2}), "has schema 2.*upgrade"),
        (json.dumps({**made(), "schema": True}), "has schema true"),
    ],
)
def test_what_is_no_record(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SpeechpressError, match=said):
        read_record(tmp_path / "a.json")
    with pytest.raises(SpeechpressError, match="cannot be read"):
        read_record(tmp_path / "nothing.json")


def test_latencies_are_always_the_same():
    assert latencies(5.0, 3, seed=1) == latencies(5.0, 3, seed=1) != latencies(5.0, 3, seed=2)
