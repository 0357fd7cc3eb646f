import pickle

import pytest
from bundled import BASE, make

from speechpress.compressor.export.clock import DeviceClock
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.targets import target_of
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of a student that does not stream: what is timed is its window."""
    folder = tmp_path_factory.mktemp("clock")
    save_encoder(folder / "student", make(BASE))
    write_json(folder / "student" / "card.json", {})
    order = plan(open_source(folder / "student"), target_of("host"), offline_s=0)
    export(order, folder / "bundle", allow_fallback=True)
    return folder / "bundle"


def test_a_clock_times_a_bundle_here_and_travels_to_other_processes(bundle):
    clock = pickle.loads(pickle.dumps(DeviceClock("host", 1, 5)))
    timing = clock.time(bundle, None)
    assert clock.here and 0 < timing.p50_ms <= timing.p99_ms
    record = clock.record(bundle)
    assert record["settings"]["threads"] == 1 and len(record["paces"]["flat"]["samples"]) >= 1


def test_a_device_that_cannot_be_reached_is_said_before_anything_is_timed():
    with pytest.raises(SpeechpressError, match="is not a device"):
        DeviceClock("toaster").reach()
