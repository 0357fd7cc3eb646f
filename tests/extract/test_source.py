"""What hears the recordings: bundles to the last bit as on a device, and errors for what is no model."""

import numpy as np
import pytest
import torch
from bundled import CHUNK_MS, SMALL, export_small, make
from extracted import corpus, read_back, waves

from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.options import ExtractOptions
from speechpress.compressor.extract.source import open_listener
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder, write_json
from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import StreamingExtractor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "student"
    save_encoder(folder, make(SMALL))
    write_json(folder / "card.json", {})
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, checkpoint):
    return export_small(checkpoint, tmp_path_factory.mktemp("bundle") / "both", "int8", layers="all")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("speech"))


def by_pieces(bundle, wave):
    """As an app does it: in pieces of the size that a microphone gives."""
    stream = StreamingExtractor(PteEngine(bundle))
    outputs = [stream.push(wave[start : start + 1000]) for start in range(0, len(wave), 1000)]
    return np.concatenate([output.frames for output in [*outputs, stream.flush()]])


def test_a_bundle_gives_the_frames_of_the_device_to_the_last_bit(bundle, speech, tmp_path):
    extract(str(bundle), [speech], ExtractOptions(tmp_path / "out", layers="all", longest_s=None))
    found = read_back(tmp_path / "out", "npy", (0, 1))
    for name, wave in waves(speech).items():
        assert np.array_equal(np.concatenate(list(found[name]), -1), by_pieces(bundle, wave)), name


def test_a_bundle_s_whole_recordings_are_another_run(bundle, speech, tmp_path):
    extract(str(bundle), [speech], ExtractOptions(tmp_path / "out", offline=True, form="safetensors"))
    model = PteModel(bundle)
    found = read_back(tmp_path / "out", "safetensors", (1,))
    for name, wave in waves(speech).items():
        assert np.array_equal(found[name][0], model.offline(wave)[:, SMALL.width :]), name
    with pytest.raises(SpeechpressError, match="another model"):
        extract(str(bundle), [speech], ExtractOptions(tmp_path / "out", form="safetensors", resume=True))


def test_a_bundle_streams_recordings_that_are_too_long_for_it_at_once(bundle, tmp_path):
    speech = corpus(tmp_path / "speech", (0.5, 12.0))
    document = extract(str(bundle), [speech], ExtractOptions(tmp_path / "whole", offline=True))
    assert document["recordings"] == 1 and "longer than 10 s" in document["skipped"][0]["reason"]
    assert extract(str(bundle), [speech], ExtractOptions(tmp_path / "chunks"))["recordings"] == 2


def test_what_is_no_model_or_cannot_be_heard_with_in_this_way(checkpoint, bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, given, said in (
        ("nowhere", {}, "no such file or folder"),
        (str(tmp_path / "gone/away"), {}, "no such file or folder|not found"),
        (str(tmp_path / "empty"), {}, "config.json|no model"),
        (str(checkpoint), {"offline": True}, "--offline: is for bundles"),
        (str(checkpoint), {"chunk_ms": 7.0}, "not made of whole frames"),
        (str(checkpoint), {"device": "gpu"}, "must be one of auto"),
        ("hubert-mini", {"chunk_ms": CHUNK_MS}, "is a teacher"),
        (str(bundle), {"chunk_ms": 33.0}, "runs chunks of 80 ms"),
        (str(bundle), {"chunk_ms": CHUNK_MS, "offline": True}, "contradict"),
        (str(bundle), {"device": "cuda"}, "leave it out"),
    ):
        with pytest.raises(SpeechpressError, match=said):
            open_listener(source, **given)


def test_a_layer_that_is_not_there(checkpoint, bundle, speech, tmp_path):
    for source in (checkpoint, bundle):
        with pytest.raises(SpeechpressError, match="has no layer 2, only 0, 1"):
            extract(str(source), [speech], ExtractOptions(tmp_path / "out", layers="2", device="cpu"))
    assert not (tmp_path / "out").exists()


def test_the_same_weights_have_the_same_key_wherever_they_lie(checkpoint, tmp_path):
    encoder = load_encoder(checkpoint)
    save_encoder(tmp_path / "copy", encoder)
    write_json(tmp_path / "copy/card.json", {"steps": 3})
    first, copy = open_listener(str(checkpoint)), open_listener(str(tmp_path / "copy"))
    with torch.no_grad():
        encoder.encoder.layers[0].feed_forward.output_dense.bias[3] += 1e-6
    save_encoder(tmp_path / "other", encoder)
    write_json(tmp_path / "other/card.json", {})
    assert first.key == copy.key != open_listener(str(tmp_path / "other")).key
    assert first.key != open_listener(str(checkpoint), chunk_ms=CHUNK_MS).key
