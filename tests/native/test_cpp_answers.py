"""Heads in C++: the vectors of every kind, and a program with outputs of heads whose events are those of Python."""

import json
import subprocess

import numpy as np
import pytest
import torch
from answer_vectors import FOLDER
from bundled import NATIVE as CONFIG
from toolchain import sign

from speechpress.compressor.export.document import facts
from speechpress.compressor.export.export import plan
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.export.source import Source
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.targets import target_of
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.engine import Program, PteEngine
from speechpress.runtime.program_checks import constants
from speechpress.runtime.stream import Step, StreamingExtractor

CHUNK = 4
HEADS = (
    HeadSpec("phones", "ctc", ("", "é", "🙂", "c"), (4,)),
    HeadSpec("beam", "ctc", ("", "a", "b", "c"), (4,), decoder={"method": "beam", "wait_s": 0.2}),
    HeadSpec("units", "units", (), (6, 1)),
    HeadSpec("who", "speaker", (), (8,), decoder={"every_s": 0.2}),
    HeadSpec("speech", "vad", ("speech",), (1,), decoder={"min_speech_s": 0.04, "min_silence_s": 0.04}),
)


class Answering(torch.nn.Module):
    """A step with outputs of heads, which are parts of its own frames."""

    def __init__(self, step):
        super().__init__()
        self.inner = step

    def forward(self, chunk, *state):
        frames, *new = self.inner(chunk, *state)
        distances = frames[..., 8:14].square()
        answers = (4 * frames[..., :4], 2 * frames[..., 4:8], distances, distances.argmin(-1, keepdim=True))
        return (frames, *answers, frames[:, :, 16:24].mean(1, keepdim=True), 4 * frames[..., 24:25], *new)


class ProgramEngine:
    """The same program in Python's ExecuTorch, its outputs taken apart as the contract says."""

    heads = HEADS

    def __init__(self, path, initial):
        self.spec, self.program, self.initial = CONFIG.stream_spec(CHUNK), Program(path), initial

    def initial_state(self):
        return dict(self.initial)

    def step(self, chunk, state):
        frames, *rest = self.program.run(f"step_{CHUNK}", chunk, *state.values())
        names = [(head.name, output) for head in HEADS for output in head.outputs]
        answers = {head.name: {} for head in HEADS}
        for (head, output), values in zip(names, rest, strict=False):
            answers[head][output] = values
        return Step(frames, dict(zip(state, rest[len(names) :], strict=True)), answers)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(program, an engine of Python for it); its bundle.json names the heads."""
    torch.manual_seed(0)
    encoder = Encoder(CONFIG).eval()
    encoder.measure_statistics(torch.from_numpy(sound(4.0))[None])
    step = prepared_step(encoder, CHUNK)
    state = step.initial_state()
    path = tmp_path_factory.mktemp("program") / "encoder.pte"
    order = plan(Source("tiny", encoder, {}), target_of("linux-arm64"), "none", (20.0 * CHUNK,))
    values = {**constants(facts(order)), "schema": 2, "head_outputs": sum(len(head.widths) for head in HEADS)}
    inputs = (torch.zeros(1, step.spec.chunk_samples), *state.values())
    method = Method(Answering(step).eval(), inputs)
    path.write_bytes(lower({f"step_{CHUNK}": method}, values, "xnnpack", "none").program)
    sign(path.parent, heads=[head.to_dict() for head in HEADS])
    return path, ProgramEngine(path, {name: tensor.numpy() for name, tensor in state.items()})


def sound(duration_s):
    """Stretches of tones and noise, so that labels come and go."""
    t = np.arange(round(duration_s * 16_000)) / 16_000
    draw = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * (150 + 400 * np.sin(3 * t)) * t) * (np.sin(11 * t) > -0.3)
    return (0.3 * wave + 0.02 * draw.normal(size=len(t))).astype(np.float32)


def call(command, *words, stdin=b""):
    done = subprocess.run([*map(str, (*command, *words))], input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def test_every_vector_holds_in_c(native):
    code, out, err = call(native[2], "--vectors", FOLDER)
    cases = sum(len(json.loads(path.read_text(encoding="utf-8"))["cases"]) for path in FOLDER.glob("*.json"))
    assert code == 0, out.decode() + err
    assert cases > 60 and out.count(b"ok ") == cases


def test_events_are_those_of_python(native, exported):
    """The same program and audio; the labels, their times, and scores but for the last digit."""
    path, engine = exported
    wave = sound(4.0)
    code, out, err = call(native[1], path, "--events", "jsonl", stdin=wave.tobytes())
    assert code == 0, err
    found = [json.loads(line) for line in out.decode().splitlines()]
    stream = StreamingExtractor(engine)
    wanted = [event.to_dict() for event in (*stream.push(wave).events, *stream.flush().events)]
    assert len(found) == len(wanted) > 100 and {event["head"] for event in wanted} == {head.name for head in HEADS}
    rough = [{**event, "score": 0, "vector": 0} for event in wanted]
    assert [{**event, "score": 0, "vector": 0} for event in found] == rough
    for one, two in zip(found, wanted, strict=True):
        assert one["score"] == pytest.approx(two["score"], abs=2e-3)
        assert one.get("vector", []) == pytest.approx(two.get("vector", []), abs=2e-3)
    assert json.loads(err.splitlines()[-1])["frames"] == CONFIG.frames(len(wave))


def test_an_exported_bundle_says_the_same_of_its_golden_clip(native, heads_bundle):
    """Exported as `compress export` does it, with heads of four kinds."""
    bundle = read_bundle(heads_bundle)
    audio = bundle.golden["audio"]
    code, out, err = call(native[1], bundle.program, "--events", "jsonl", stdin=audio.tobytes())
    assert code == 0, err
    stream = StreamingExtractor(PteEngine(bundle))
    wanted = [event.to_dict() for event in (*stream.push(audio).events, *stream.flush().events)]
    found = [json.loads(line) for line in out.decode().splitlines()]
    # Even the scores: it is the same library on the same machine.
    assert {event["head"] for event in wanted} == {"phones", "units", "vad", "voice"}
    assert [labels(event) for event in found] == [labels(event) for event in wanted]
    assert [event["score"] for event in found] == pytest.approx([event["score"] for event in wanted], abs=1e-3)


def labels(event):
    return [event[name] for name in ("head", "number", "label", "start_s", "end_s", "final")]


def test_frames_come_beside_events(native, exported, tmp_path):
    wave, path = sound(1.0), exported[0]
    code, out, _ = call(native[1], path, "--events", "jsonl", "--out", tmp_path / "frames", stdin=wave.tobytes())
    alone = call(native[1], path, stdin=wave.tobytes())[1]
    assert code == 0 and out.startswith(b'{"head": ') and (tmp_path / "frames").read_bytes() == alone


@pytest.mark.parametrize(
    ("heads", "words", "says"),
    [
        (HEADS[:2], (), "has outputs of heads that bundle.json does not name"),
        ((HEADS[1], HEADS[0], *HEADS[3:]), (), "are not those that bundle.json says of the head who"),
        ((*HEADS[:3], HEADS[4], HEADS[3]), (), "of the head speech"),
        (HEADS, ("--unchecked",), "has no heads"),
        (HEADS, ("--json",), "leave them out"),
        (HEADS, ("--events", "csv"), "must be jsonl"),
    ],
)
def test_what_does_not_fit_is_refused(native, exported, tmp_path, heads, words, says):
    (tmp_path / "encoder.pte").write_bytes(exported[0].read_bytes())
    sign(tmp_path, heads=[head.to_dict() for head in heads])
    code, _, err = call(native[1], tmp_path / "encoder.pte", "--events", "jsonl", *words)
    assert code in (1, 2) and says in err
