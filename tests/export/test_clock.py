import pickle
import shutil

import pytest

from speechpress.compressor.export.clock import DeviceClock
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.targets import target_of
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def bundle(tiny_teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clock") / "bundle"
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "student"
    shutil.copytree(tiny_teacher, checkpoint)
    (checkpoint / "card.json").write_text("{}")
    source = open_source(str(checkpoint))
    export(plan(source, target_of("host")), folder, allow_fallback=True)
    return folder


def test_a_clock_times_a_bundle_here_and_travels_to_other_processes(bundle):
    clock = pickle.loads(pickle.dumps(DeviceClock("host", 1, 5)))
    timing = clock.time(bundle, None)
    assert clock.here and 0 < timing.p50_ms <= timing.p99_ms
    record = clock.record(bundle)
    assert record["settings"]["threads"] == 1 and len(record["paces"]["flat"]["samples"]) >= 1


def test_a_device_that_cannot_be_reached_is_said_before_anything_is_timed():
    with pytest.raises(SpeechpressError, match="is not a device"):
        DeviceClock("toaster").reach()
