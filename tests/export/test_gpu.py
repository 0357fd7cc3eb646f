"""`--target android-gpu`: made for Vulkan with nothing left outside of it. What it computes cannot be tried here."""

import pytest

from speechpress.compressor.export.export import _judge_counted, export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.targets import target_of
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.errors import CheckFailed, SpeechpressError

GPU = target_of("android-gpu")


def test_a_streaming_student_lies_on_the_gpu_whole(small_checkpoint, tmp_path):
    said: list[str] = []
    order = plan(open_source(small_checkpoint), GPU, chunks_ms=(80.0,))
    export(order, tmp_path / "gpu", say=said.append)
    counts = [line for line in said if line.startswith("step_4: ")]
    assert len(counts) == 1 and counts[0].endswith("operators on vulkan, in 1 calls; beside it: nothing. Not run here")
    assert [line for line in said if "operators on" in line] == counts  # no recordings of any length
    bundle = read_bundle(tmp_path / "gpu")
    assert bundle.document["target"]["backend"] == "vulkan" and bundle.document["offline"]["max_samples"] == 0
    with pytest.raises(SpeechpressError, match=r"VulkanBackend|vulkan"):
        PteEngine(bundle)


def test_recordings_of_any_length_are_refused_before_anything_is_made(small_checkpoint):
    with pytest.raises(SpeechpressError, match=r"vulkan takes no recordings of varying length.*--offline-seconds"):
        plan(open_source(small_checkpoint), GPU, offline_s=4.0)


def test_what_lies_beside_such_a_backend_is_named_and_refused_when_it_is_much():
    beside = [{"operator": "where", "layer": "encoder.layers.0"}] * 3 + [{"operator": "add", "layer": "stream"}]
    counts = {"step_4": {"operators": 40, "delegated": 36, "calls": 3, "fallback": beside}}
    with pytest.raises(
        CheckFailed, match=r"36 of 40 .* where in encoder\.layers\.0 \(3x\), add in stream.*--allow-fall"
    ):
        _judge_counted("vulkan", counts, False, print)
    said: list[str] = []
    _judge_counted("vulkan", counts, True, said.append)
    assert "in 3 calls; beside it: where in encoder.layers.0 (3x), add in stream" in said[0]
