"""What can be compared: checkpoints, bundles and teachers, each with its layers, sizes and a key of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import BASE, CHUNK_MS, copied, export_small, make, speech_like

from speechpress.compressor.evaluate.features import last_layer, random_copy
from speechpress.compressor.evaluate.upstreams import (
    bundle_upstream,
    chunk_of,
    encoder_upstream,
    open_upstream,
    teacher_upstream,
)
from speechpress.compressor.models.checkpoint import load_checkpoint, load_encoder, save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.verify import verify

WAVES = torch.from_numpy(np.stack([speech_like(8000), speech_like(8000, seed=1)]))


def test_a_checkpoint_has_all_its_layers_and_a_key_of_weights_and_chunks(small_checkpoint):
    encoder = load_encoder(small_checkpoint)
    whole, chunked = encoder_upstream(encoder), encoder_upstream(encoder, 4)
    with torch.inference_mode():
        layers = whole.states(WAVES)
        live = chunked.states(WAVES)
    assert len(layers) == whole.layers == 2 and layers[-1].shape[-1] == whole.width
    assert not torch.allclose(layers[-1], live[-1], atol=1e-4)
    assert torch.equal(live[-1], encoder(WAVES, chunk_frames=4))
    assert len({whole.key, chunked.key, encoder_upstream(random_copy(encoder.config)).key, last_layer(whole).key}) == 4
    assert whole.key == open_upstream(small_checkpoint).key
    assert abs(whole.frames(0.5) - layers[0].shape[1]) <= 1 and whole.frames(0.0) == 0


def test_the_last_layer_of_a_pre_norm_encoder_is_what_a_device_gives(tiny_config):
    encoder = random_copy(replace(tiny_config, pre_norm=True, conv_norm="layer"))
    torch.nn.init.normal_(encoder.encoder.layer_norm.bias)
    upstream = encoder_upstream(encoder)
    with torch.inference_mode():
        layers, raw = upstream.states(WAVES), encoder.hidden_states(WAVES)
        assert torch.equal(layers[-1], encoder(WAVES)) and not torch.allclose(layers[-1], raw[-1], atol=0.1)
    assert all(torch.equal(a, b) for a, b in zip(layers[:-1], raw[:-1], strict=True))


def test_a_bundle_runs_through_the_runtime_chunk_by_chunk(small_bundle, small_checkpoint):
    upstream = bundle_upstream(read_bundle(small_bundle))
    (frames,) = upstream.states(WAVES)
    chunk = read_bundle(small_bundle).spec(CHUNK_MS).chunk_frames
    with torch.inference_mode():
        wanted = load_encoder(small_checkpoint)(WAVES, chunk_frames=chunk)
    assert frames.shape == wanted.shape and (frames - wanted).abs().max() < 1e-3
    assert upstream.layers == 1 and upstream.limit_s is None and upstream.size_bytes > 10_000
    assert torch.equal(upstream.states(WAVES)[0], frames)  # a recording knows nothing of the one before
    with pytest.raises(SpeechpressError, match="runs chunks of 80 ms, not of 40 ms"):
        bundle_upstream(read_bundle(small_bundle), 40.0)


def test_a_bundle_gives_all_layers_that_it_was_exported_with(small_checkpoint, tmp_path):
    folder = export_small(small_checkpoint, tmp_path / "all", "none", layers="all", offline_s=0)
    bundle = read_bundle(folder)
    upstream = bundle_upstream(bundle)
    encoder, states = load_encoder(small_checkpoint), upstream.states(WAVES)
    with torch.inference_mode():
        wanted = encoder.hidden_states(WAVES, chunk_frames=bundle.spec(CHUNK_MS).chunk_frames)
    assert bundle.output_layers == (0, 1) and upstream.layers == len(states) == 2
    assert upstream.width == encoder.config.width and bundle.spec().width == 2 * upstream.width
    assert all((mine - theirs).abs().max() < 1e-3 for mine, theirs in zip(states, wanted, strict=True))
    assert verify(folder)["ok"] and "layers 0, 1, side by side, of 1" in (folder / "README.md").read_text()


def test_a_bundle_of_another_sample_rate_is_refused(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / "bundle.json").read_text())
    document["audio"]["sample_rate"] = 8000
    for entry in document["streams"]:
        entry |= {name: 2 * entry[name] for name in ("chunk_ms", "lookahead_ms", "worst_age_ms")}
    document["offline"]["max_s"] *= 2
    document["digest"] = digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(SpeechpressError, match="hears 8000 Hz, but tasks are read at 16000 Hz"):
        open_upstream(folder)


def test_a_checkpoint_of_another_sample_rate_is_refused(small_checkpoint, tmp_path):
    folder = copied(small_checkpoint, tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 8000}))
    with pytest.raises(SpeechpressError, match=r"preprocessor_config\.json: the model wants 8000 Hz, not 16000 Hz"):
        open_upstream(folder)


def test_chunks_need_an_encoder_that_streams(small_checkpoint, tmp_path):
    opened = load_checkpoint(small_checkpoint)
    assert chunk_of(opened, None) is None and chunk_of(opened, CHUNK_MS) == 4
    save_encoder(tmp_path, make(BASE))
    write_json(tmp_path / "card.json", {})
    with pytest.raises(SpeechpressError, match="does not stream, so it has no chunks"):
        chunk_of(load_checkpoint(tmp_path), CHUNK_MS)


def test_a_teacher_has_the_layers_of_its_card(tiny_teacher):
    upstream = teacher_upstream(load_teacher(str(tiny_teacher)))
    with torch.inference_mode():
        assert len(upstream.states(WAVES)) == upstream.layers == 5
    assert upstream.key == open_upstream(tiny_teacher).key and upstream.size_bytes > 4000
    with pytest.raises(SpeechpressError, match="was not found"):
        open_upstream("nothing-of-that-name.pt")


def test_a_student_that_answers_late_is_heard_on_time(tiny_config):
    """As many frames as ever, and each is the one that speaks of it."""
    torch.manual_seed(0)
    streams = replace(tiny_config, conv_norm="static", pos_conv_future=0, left_context=12)
    plain = Encoder(streams).eval()
    late = Encoder(replace(streams, lag_frames=3)).eval()
    late.load_state_dict(plain.state_dict())
    waves = torch.randn(2, 8000) * 0.1
    on_time, as_ever = encoder_upstream(late, 4), encoder_upstream(plain, 4)
    found, raw = on_time.states(waves), as_ever.states(waves)
    assert on_time.key != as_ever.key and len(found) == len(raw) == 5
    for layer, other in zip(found, raw, strict=True):
        assert layer.shape == other.shape
        # In chunks a frame does not see what comes later, so that the silence after the end changes nothing before it.
        torch.testing.assert_close(layer[:, :17], other[:, 3:20])
