import json
import os

import numpy as np
import pytest
import torch
from bundled import copied, speech_like
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.engine import Program, PteEngine, PteModel, load_bundle, set_threads, threads
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import StreamingExtractor


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, 80, threads=1)


@pytest.fixture(scope="module")
def encoder(small_checkpoint):
    return load_encoder(small_checkpoint)


@torch.inference_mode()
def at_once(encoder, wave, chunk=None):
    return encoder(torch.from_numpy(wave)[None], chunk_frames=chunk)[0].numpy()


def test_whole_recordings_are_read_as_pieces_are(engine):
    """16 bits are scaled, what is no number is silence, and channels before samples are refused."""
    wave = np.round(speech_like(8_000) * 32768).clip(-32768, 32767) / 32768
    pcm, broken, silent = (wave * 32768).astype(np.int16), wave.copy(), wave.astype(np.float32)
    broken[[3_000, 4_000]], silent[[3_000, 4_000]] = np.nan, 0
    assert np.array_equal(engine.offline(pcm), engine.offline(wave.astype(np.float32)))
    assert np.array_equal(engine.offline(broken), engine.offline(silent))
    assert np.isfinite(engine.offline(np.full(8_000, 1e38))).all()
    with pytest.raises(SpeechpressError, match=r"a recording of shape \(1, 8000\) cannot be run at once"):
        engine.offline(silent[None])


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 12_000), cuts=st.lists(st.integers(0, 12_000), max_size=6))
def test_pushing_pieces_is_one_call_of_the_encoder(engine, encoder, samples, cuts):
    wave = speech_like(samples, seed=samples)
    extractor = StreamingExtractor(engine)
    parts = [extractor.push(piece).frames for piece in np.split(wave, sorted(cut % (samples + 1) for cut in cuts))]
    frames = np.concatenate([*parts, extractor.flush().frames])
    wanted = at_once(encoder, wave, 4) if samples >= 560 else np.zeros((0, 32), np.float32)
    assert frames.shape == wanted.shape
    assert len(frames) == 0 or np.abs(frames - wanted).max() <= 1e-4


@pytest.mark.parametrize("samples", [880, 881, 16_000, 160_000])
def test_whole_recordings_of_any_length(engine, encoder, samples):
    wave = speech_like(samples)
    assert np.abs(engine.offline(wave) - at_once(encoder, wave)).max() <= 1e-4


def test_streams_share_an_engine(engine):
    wave = speech_like(8_000)
    first, second = StreamingExtractor(engine), StreamingExtractor(engine)
    first.push(wave)
    second.push(wave[:3_000])
    first.reset()
    both = first.push(wave).frames, np.concatenate([second.push(wave[3_000:]).frames])
    assert len(both[0]) > len(both[1]) > 0 and np.array_equal(both[0][-len(both[1]) :], both[1])


@pytest.mark.parametrize("samples", [0, 879, 160_001])
def test_recordings_that_it_does_not_take(engine, samples):
    with pytest.raises(SpeechpressError, match=r"880 to 160000 samples.*--offline-seconds"):
        engine.offline(np.zeros(samples, np.float32))


def test_another_chunk_than_it_takes(engine):
    with pytest.raises(SpeechpressError, match="cannot run inputs of"):
        engine.step(np.zeros((1, 100), np.float32), engine.initial_state())


def test_threads_are_settable(small_bundle):
    before = threads()
    for count in (1, 3, 2):  # one of them may be what the pool has anyway, not all
        PteModel(small_bundle, threads=count)
        assert threads() == count
    for count in (0, 100_000):
        with pytest.raises(SpeechpressError, match="at least 1 and at most 256"):
            set_threads(count)
    set_threads(before)


def test_an_engine_outlives_another_number_of_threads():
    """A small program does without threads and would not tell; this one ended the process."""
    before, engine = threads(), load_bundle("pocket")
    chunk = np.random.default_rng(0).standard_normal((1, engine.spec.chunk_samples)).astype(np.float32)
    frames = engine.step(chunk, engine.initial_state()).frames
    for count in (before + 1, before):
        load_bundle("pocket", threads=count)
        assert np.array_equal(engine.step(chunk, engine.initial_state()).frames, frames)


def test_loading_is_timed(small_bundle):
    engine = PteEngine(small_bundle, 80)
    assert 0 < engine.load_s < 60


def test_no_program_at_all(tmp_path):
    path = tmp_path / "encoder.pte"
    path.write_bytes(b"not a program")
    with pytest.raises(SpeechpressError, match="ExecuTorch cannot read it"):
        Program(path)


def test_no_flipped_bit_is_run(small_bundle, tmp_path):
    """200 of 200: in the head, where ExecuTorch looks, and in the weights, where it does not."""
    folder = copied(small_bundle, tmp_path)
    path = folder / "encoder.pte"
    whole, draw = path.read_bytes(), np.random.default_rng(17)
    opened, refused = read_bundle(folder), 0
    for bit in draw.choice(8 * len(whole), 200, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        for load in (PteEngine, PteModel):
            with pytest.raises(SpeechpressError, match="damaged or was replaced"):
                load(opened)
        refused += 1
    assert refused == 200
    path.write_bytes(whole)
    assert PteEngine(opened).spec.width == 32


def test_a_program_that_is_cut_is_inconsistent_in_itself(small_bundle, tmp_path):
    """ExecuTorch's own check, which needs no hash: the same that the C++ runtime asks for."""
    path = tmp_path / "encoder.pte"
    data = bytearray((small_bundle / "encoder.pte").read_bytes())
    data[60:200] = bytes(255 for _ in range(140))
    path.write_bytes(data)
    with pytest.raises(SpeechpressError, match="ExecuTorch cannot read it"):
        Program(path)


def test_a_pipe_is_no_program(tmp_path):
    os.mkfifo(tmp_path / "encoder.pte")
    with pytest.raises(SpeechpressError, match="is a named pipe"):
        Program(tmp_path / "encoder.pte")


def test_an_unknown_method(small_bundle):
    with pytest.raises(SpeechpressError, match=r"no method 'step_9'.*step_4"):
        Program(small_bundle / "encoder.pte").load("step_9")


def test_a_backend_that_is_not_here(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    path = folder / "bundle.json"
    document = json.loads(path.read_text())
    document["target"] |= {"name": "ios-coreml", "backend": "coreml"}
    path.write_text(json.dumps({**document, "digest": digest(document)}))
    with pytest.raises(SpeechpressError, match=r"needs the backend coreml.*--target host"):
        PteEngine(folder)


def test_native_notes_stay_away_from_people(small_bundle, cli):
    done = cli("verify", small_bundle)
    assert "cpuinfo" not in done.stderr and "Warning" not in done.stderr, done.stderr
