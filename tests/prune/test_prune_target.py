import pytest

from speechpress.compressor.prune.options import PruneTarget, read_target
from speechpress.runtime.errors import SpeechpressError


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"to_macs": "1.2G"}, PruneTarget("macs_per_s", 1.2e9)),
        ({"to_macs": "800m"}, PruneTarget("macs_per_s", 8e8)),
        ({"to_params": "10M"}, PruneTarget("parameters", 1e7)),
        ({"to_params": "23500000"}, PruneTarget("parameters", 23.5e6)),
        ({"to_latency": "5ms@host"}, PruneTarget("latency_ms", 5.0, "host")),
        (
            {"to_latency": "2.5 ms@ssh:pi@raspberrypi.local:22"},
            PruneTarget("latency_ms", 2.5, "ssh:pi@raspberrypi.local:22"),
        ),
        ({"sparsity": 0.5}, PruneTarget("sparsity", 0.5)),
    ],
)
def test_targets_are_read(given, wanted):
    assert read_target(**given) == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one target, but none"),
        ({"to_macs": "1G", "to_params": "1M"}, "--to-macs, --to-params were given"),
        ({"to_macs": "1.2Q"}, r"--to-macs 1.2Q: must be a number with K, M or G"),
        ({"to_params": "0M"}, "must be a number"),
        ({"to_params": "-3M"}, "must be a number"),
        ({"to_latency": "5ms"}, r"names no device; give MS@DEVICE"),
        ({"to_latency": "fast@host"}, "cannot be read"),
        ({"to_latency": "0ms@host"}, "cannot be read"),
        ({"to_latency": "5ms@toaster"}, "toaster: is not a device"),
        ({"sparsity": 1.0}, "more than 0 and less than 1"),
    ],
)
def test_malformed_targets_are_refused(given, said):
    with pytest.raises(SpeechpressError, match=said):
        read_target(**given)


def test_costs_for_people():
    assert PruneTarget("macs_per_s", 1).say(1.25e9) == "1.250 GMAC/s"
    assert PruneTarget("latency_ms", 1, "host").say(3.14159) == "3.14 ms on host"
