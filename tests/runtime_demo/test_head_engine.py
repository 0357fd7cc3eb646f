import time

import numpy as np
import pytest
import torch
from sounds import voice

from speechpress.compressor.data.background import background_of
from speechpress.compressor.heads.words import WordsHead
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.demo.dtw import EmbeddingSpace
from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.head_engine import HeadEngine, words_head
from speechpress.runtime.demo.sources import Block
from speechpress.runtime.demo.spotting import Background, Spotter
from speechpress.runtime.demo.worker import listen
from speechpress.runtime.engine import PteEngine


class WithHead:
    """A bundle's program, and a words head over its features, as a program of both would run."""

    def __init__(self, engine):
        torch.manual_seed(0)
        self.engine, self.spec = engine, engine.spec
        self.head = WordsHead(1, engine.spec.width, embedding=6, hidden=8, kernel=3).eval()
        self.heads = (HeadSpec("mine", "words", widths=(7,)),)

    def initial_state(self):
        return self.engine.initial_state() | {f"mine/{k}": v.numpy() for k, v in self.head.initial_state().items()}

    @torch.no_grad()
    def step(self, chunk, state):
        first, own = int(state["count"][0]), {k.split("/")[1]: v for k, v in state.items() if k.startswith("mine/")}
        found = self.engine.step(chunk, {k: v for k, v in state.items() if not k.startswith("mine/")})
        exists = torch.arange(found.frames.shape[1])[None] + first >= 0
        frames = torch.from_numpy(found.frames)[:, :, None]
        (said,), own = self.head(frames, exists, {k: torch.from_numpy(v) for k, v in own.items()})
        state = found.state | {f"mine/{k}": v.numpy() for k, v in own.items()}
        return found._replace(state=state, answers={"mine": {"vectors": said.numpy()}})


class Recording:
    name, sample_rate, dropped = "a recording", 16_000, 0

    def __init__(self, wave):
        self.blocks = [wave[at : at + 700] for at in range(0, len(wave), 700)]

    def read(self, timeout_s):
        if not self.blocks:
            raise EOFError
        return Block(self.blocks.pop(0), self.sample_rate, time.perf_counter())

    def close(self):
        pass


WAVE = voice(3, seed=4).astype(np.float32)


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, threads=1)


def test_its_frames_are_what_the_head_says(engine):
    both = WithHead(engine)
    head = words_head(both)
    alone = stream_frames(HeadEngine(both, head), [WAVE])
    beside = stream_frames(HeadEngine(both, head, beside=True), [WAVE])
    width = engine.spec.width
    assert alone.shape[1] == 7 and beside.shape[1] == width + 7
    np.testing.assert_array_equal(beside[:, width:], alone)
    np.testing.assert_array_equal(beside[:, :width], stream_frames(engine, [WAVE]))


def test_an_engine_without_heads_has_none(engine):
    assert words_head(engine) is None


def test_the_worker_shows_features_and_looks_for_words_by_the_head(engine):
    both = WithHead(engine)
    found = []

    class Listening(Spotter):
        def push(self, frames, end_s):
            found.append(frames)
            return super().push(frames, end_s)

    frames = stream_frames(HeadEngine(both, words_head(both)), [voice(20, seed=1).astype(np.float32)])
    spotter = Listening([], Background(frames, way=EmbeddingSpace.of(frames), head="mine"))
    shown = np.concatenate([chunk.frames for chunk in listen(Recording(WAVE), both, spotter)])
    np.testing.assert_array_equal(shown, stream_frames(engine, [WAVE]))
    np.testing.assert_array_equal(np.concatenate(found), stream_frames(HeadEngine(both, words_head(both)), [WAVE]))


def test_the_background_of_a_head_is_kept_apart(small_bundle, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("speechpress.compressor.data.background.background_clips", lambda: [WAVE, WAVE[::-1].copy()])
    both, said = WithHead(engine), []
    bundle = read_bundle(small_bundle)
    plain = background_of(bundle, both, said.append)
    by_head = background_of(bundle, HeadEngine(both, words_head(both)), said.append)
    assert (plain.head, by_head.head) == ("", "mine") and by_head.frames.shape[1] == 6 != plain.frames.shape[1]
    assert len(list((tmp_path / "speechpress").iterdir())) == 2 == len(said)
    assert background_of(bundle, HeadEngine(both, words_head(both)), said.append).head == "mine" and len(said) == 2
