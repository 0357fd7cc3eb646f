import pytest
from profiled import latencies, made

from speechpress.devices.baseline import Change, changes, noise


def verdicts(record, baselines):
    return {change.figure: change.verdict for change in changes(record, baselines)}


def test_the_same_thing_again_is_the_same():
    assert verdicts(made(10.0, seed=1), [made(10.0, seed=2)]) == {
        "p50_ms": "same",
        "p99_ms": "same",
        "peak_rss_bytes": "same",
    }


@pytest.mark.parametrize(("now_ms", "verdict"), [(12.0, "worse"), (8.0, "better"), (10.3, "same")])
def test_a_change_beyond_the_noise(now_ms, verdict):
    assert verdicts(made(now_ms, seed=1), [made(10.0, seed=2)])["p50_ms"] == verdict


def test_runs_that_lie_apart_make_more_noise():
    """Three earlier runs of 9, 10 and 12 ms: 12 ms now is nothing new."""
    earlier = [made(value, seed=seed) for seed, value in enumerate((9.0, 10.0, 12.0))]
    assert verdicts(made(12.0, seed=5), earlier)["p50_ms"] == "same"
    assert verdicts(made(15.0, seed=5), earlier)["p50_ms"] == "worse"


def test_only_the_same_thing_is_compared():
    assert changes(made(12.0), [made(10.0, quantize="int8")]) == []
    other = made(10.0)
    other["device"]["address"] = "host"
    assert changes(made(12.0), [other]) == []


def test_more_memory_is_worse():
    record = made()
    record["result"]["peak_rss_bytes"] *= 1.5
    assert verdicts(record, [made()])["peak_rss_bytes"] == "worse"


def test_a_record_without_figures_is_not_compared():
    stopped = made()
    stopped["paces"] = {}
    assert changes(stopped, [made()]) == [] and changes(made(), [stopped]) == []


def test_noise_is_small_when_chunks_are_alike_and_large_when_not():
    quiet, wild = latencies(10.0, 200), [10.0 if index // 10 % 2 else 20.0 for index in range(200)]
    assert noise(quiet, 0.5) < 0.02 < 0.2 < noise(wild, 0.5)
    assert noise(quiet, 0.5) == noise(quiet, 0.5)


def test_changes_in_words():
    assert Change("p50_ms", 10.0, 12.0, 0.05).words() == "p50 10.00 → 12.00 ms, +20% (noise ±5%)"
    assert Change("peak_rss_bytes", 1e8, 2e8, 0.1).words().startswith("memory 100.00 → 200.00 MB")
