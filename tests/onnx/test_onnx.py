import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundled import BASE, NATIVE, make, speech_like
from safetensors.numpy import load_file

from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.onnx_program import OPSET, metadata
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import save_encoder, sha256, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import TorchEngine
from speechpress.compressor.targets import target_of
from speechpress.runtime.errors import CheckFailed, SpeechpressError
from speechpress.runtime.onnx.engine import OnnxEngine, session
from speechpress.runtime.stream import StreamingExtractor

ROOT = Path(__file__).parents[2]


def checkpoint(folder, config):
    save_encoder(folder, make(config))
    write_json(folder / "card.json", {"teacher": {"source": "facebook/hubert-base-ls960"}})
    return folder


def order(folder, scheme="none", chunks=(320.0,), **options):
    return plan(open_source(folder), target_of("onnx"), scheme, chunks, **options)


def silent(text):
    pass


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    """A streaming student (seven convolutions, look-ahead, running scale), and its export at onnx/pocket."""
    root = tmp_path_factory.mktemp("onnx")
    folder = checkpoint(root / "pocket", NATIVE)
    export(order(folder, layers="all"), root / "onnx" / "pocket", say=silent)
    return root


@pytest.fixture(scope="module")
def exported(pocket):
    return pocket / "onnx" / "pocket"


def streamed(engine, wave, size, rate=None):
    extractor = StreamingExtractor(engine, rate)
    parts = [extractor.push(wave[start : start + size]).frames for start in range(0, len(wave), size)]
    return np.concatenate([*parts, extractor.flush().frames])


def test_a_step_gives_the_checkpoints_frames_whatever_the_pieces(exported, pocket):
    encoder = open_source(pocket / "pocket").encoder
    wave, engine = speech_like(21_111, seed=3), OnnxEngine(exported)
    wanted = streamed(TorchEngine(encoder, 16, range(encoder.config.num_layers + 1)), wave, 4_000)
    for size in (777, 5_120, 21_111):
        assert np.abs(streamed(engine, wave, size) - wanted).max() < 1e-4
    assert wanted.shape[1] == 2 * encoder.config.width and len(wanted) == 65


def test_whole_recordings_of_any_length_within_the_limits(exported, pocket):
    encoder, model = open_source(pocket / "pocket").encoder, session(exported / "offline.onnx")
    for samples in (720, 9_999, 48_000):
        wave = torch.from_numpy(speech_like(samples))[None]
        with torch.inference_mode():
            states = encoder.hidden_states(wave)
        given = model.run(None, {"wave": wave.numpy()})[0]
        assert np.abs(given - torch.cat(states, -1).numpy()).max() < 1e-4


def test_a_spectrogram_of_any_length(tmp_path):
    """How long it is, is more than torch.export works out."""
    mel = {"front_end": "mel", "conv_channels": (16, 16), "conv_kernels": (3, 3), "conv_strides": (1, 2)}
    folder = checkpoint(tmp_path / "mel", replace(NATIVE, **mel, input_norm="none"))
    export(order(folder), tmp_path / "onnx", say=silent)
    encoder, model = open_source(folder).encoder, session(tmp_path / "onnx" / "offline.onnx")
    for samples in (1_360, 5_001, 40_000):
        wave = speech_like(samples)[None]
        (frames,) = model.run(None, {"wave": wave})
        assert np.abs(frames - encoder(torch.from_numpy(wave)).detach().numpy()).max() < 1e-4


def test_a_model_says_how_it_is_run_and_nothing_of_this_machine(exported, pocket):
    model = onnx.load(exported / "step_16.onnx")
    told = {each.key: each.value for each in model.metadata_props}
    assert model.opset_import[0].version == OPSET == int(told["opset"])
    assert (told["chunk_ms"], told["sample_rate"], told["chunk_samples"]) == ("320.0", "16000", "5120")
    assert (told["teacher"], json.loads(told["layers"])) == ("facebook/hubert-base-ls960", [0, 1])
    # Under the names of sherpa-onnx's models: what a step takes and by how much it goes on, and the scale of samples.
    assert told["T"] == told["decode_chunk_len"] == told["chunk_samples"] and told["normalize_samples"] == "1"
    assert told["version"] == "1" and told["model_author"] and "speech encoder" in told["comment"]
    assert told["checkpoint_sha256"] == sha256(pocket / "pocket" / "model.safetensors")
    names = json.loads(told["state_names"])
    assert [each.name for each in model.graph.input] == ["chunk", *names]
    assert [each.name for each in model.graph.output] == ["frames", *(f"new_{name}" for name in names)]
    assert str(ROOT).encode() not in model.SerializeToString() and b"site-packages" not in model.SerializeToString()


def test_the_folder_holds_the_golden_clip_facts_and_hashes(exported):
    document = json.loads((exported / "onnx.json").read_text())
    assert set(document["files"]) == {"step_16.onnx", "offline.onnx", "golden.safetensors"}
    assert all(sha256(exported / name) == facts["sha256"] for name, facts in document["files"].items())
    assert all(figures["max_abs"] < 1e-4 for figures in document["parity"].values())
    clip = load_file(exported / "golden.safetensors")
    assert np.abs(streamed(OnnxEngine(exported), clip["audio"], 3_000) - clip["frames_16"]).max() < 1e-4


def test_what_computes_otherwise_is_not_written(pocket, tmp_path, monkeypatch):
    other = order(pocket / "pocket")
    wrong = Encoder(other.encoder.config).eval()  # its golden clip is of other weights
    monkeypatch.setattr("speechpress.compressor.export.onnx_program.golden", lambda planned: golden_of(planned, wrong))
    with pytest.raises(CheckFailed, match=r"step_16\.onnx is too far from the checkpoint"):
        export(other, tmp_path / "out", say=silent)
    assert not (tmp_path / "out").exists()


def golden_of(planned, encoder):
    from dataclasses import replace

    from speechpress.compressor.export.closeness import golden

    return golden(replace(planned, source=replace(planned.source, encoder=encoder)))


def test_a_student_that_does_not_stream_has_windows_and_whole_recordings(tmp_path):
    document = export(order(checkpoint(tmp_path / "base", BASE), chunks=()), tmp_path / "out", say=silent)
    assert set(document["parity_per_method"]) == {"offline", "window"} and document["parity"]["max_abs"] < 1e-4


def test_what_cannot_be_done_is_refused(pocket, exported, tmp_path):
    with pytest.raises(SpeechpressError, match="cannot be run by the backend onnx"):
        order(pocket / "pocket", "int8")
    with pytest.raises(SpeechpressError, match="already exists"):
        export(order(pocket / "pocket"), exported, say=silent)
    (tmp_path / "mine").mkdir()
    with pytest.raises(SpeechpressError, match="holds no ONNX export"):
        export(order(pocket / "pocket"), tmp_path / "mine", overwrite=True, say=silent)
    foreign = onnx.load(exported / "step_16.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for path, words in ((tmp_path / "foreign.onnx", "was not made by"), (tmp_path / "no.onnx", "no such file")):
        with pytest.raises(SpeechpressError, match=words):
            OnnxEngine(path)
    (tmp_path / "broken.onnx").write_bytes((exported / "step_16.onnx").read_bytes()[:5000])
    with pytest.raises(SpeechpressError, match="cannot load it"):
        OnnxEngine(tmp_path / "broken.onnx")


def test_metadata_that_lies_is_refused(pocket, exported, tmp_path):
    model = onnx.load(exported / "step_16.onnx")
    told = metadata(order(pocket / "pocket", layers="all"), "step_16")
    for key, value in (("chunk_frames", "-1"), ("state_names", '["audio2"]'), ("state_initial", '{"count": "x"}')):
        onnx.helper.set_model_props(model, {**told, key: value})
        onnx.save(model, tmp_path / "lies.onnx")
        with pytest.raises(SpeechpressError, match="export it again"):
            OnnxEngine(tmp_path / "lies.onnx")


def test_the_pages_blocks_run_and_give_what_the_engine_gives(pocket, exported):
    page = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S):
        done = subprocess.run([sys.executable, "-c", block], cwd=pocket, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    plain, names = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)[0], {}
    wave = speech_like(16_000, seed=1)
    plain = plain.replace("onnx/pocket", str(exported)).replace("np.zeros(16_000, np.float32)", "wave")
    plain = plain.replace("    print(", "    got.append((frame, features[0])); print(")
    names |= {"wave": wave, "got": []}
    exec(compile(plain, "onnx.md", "exec"), names)
    wanted = StreamingExtractor(OnnxEngine(exported)).push(wave).frames
    first, frames = names["got"][0][0], np.concatenate([features for _, features in names["got"]])
    assert np.array_equal(frames[-first:], wanted)
