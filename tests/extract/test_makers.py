"""Units and answers: what heads of a checkpoint say of whole recordings, and those of a bundle chunk by chunk."""

import json

import numpy as np
import pyarrow.parquet
import pytest
import torch
from bundled import SMALL, make
from extracted import corpus, read_index, waves
from safetensors.numpy import load_file

from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.makers import BundleHeads, units_result
from speechpress.compressor.extract.options import ExtractOptions
from speechpress.compressor.extract.source import Listener
from speechpress.compressor.heads.files import KeptHead, read_heads, save_head
from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.models.checkpoint import WEIGHTS, load_encoder, save_encoder, sha256, write_json
from speechpress.runtime.answers.decode import decoder_of, whole
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import Step, StreamingExtractor


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A checkpoint with two heads of units, one of classes and one of voice activity, all with random weights."""
    folder = tmp_path_factory.mktemp("student") / "student"
    save_encoder(folder, make(SMALL))
    write_json(folder / "card.json", {})
    torch.manual_seed(0)
    for name, kind, arguments, labels in (
        ("units", "units", {"units": 5, "layer": 1}, ()),
        ("more", "units", {"units": 3, "layer": 0}, ()),
        ("moods", "classify", {"classes": 3}, ("calm", "glad", "sad")),
        ("vad", "vad", {"hidden": 8, "kernel": 3}, ("speech",)),
        ("who", "speaker", {"hidden": 8, "embedding": 4}, ()),
    ):
        module = KINDS[kind].make(2, SMALL.width, **arguments)
        if kind == "units":
            module.set_centres(torch.randn(arguments["units"], SMALL.width))
        decoder, weights = dict(KINDS[kind].decoder), sha256(folder / WEIGHTS)
        save_head(folder, KeptHead(name, kind, module.eval(), labels, decoder, None, 0.0, weights, {}))
    return folder


def run(student, speech, out, **given):
    return extract(str(student), [speech], ExtractOptions(out, device="cpu", **given))


def outputs(student, wave, name):
    """What a head gives for a recording, by the path that trains it."""
    encoder, head = load_encoder(student), read_heads(student, [name])[name]
    with torch.inference_mode():
        states = encoder.hidden_states(torch.from_numpy(wave)[None])
        layers = torch.stack([*states[:-1], encoder.encoder.last(states[-1])], 2)
        exists = torch.ones(layers.shape[:2], dtype=torch.bool)
        values, _ = head.module(layers, exists, head.module.initial_state())
    spec = head.spec(encoder.config)
    return spec, {key: value[0].numpy() for key, value in zip(spec.outputs, values, strict=True)}


@pytest.mark.parametrize("form", ["npy", "safetensors", "parquet"])
@pytest.mark.parametrize("dedup", [False, True])
def test_units_are_the_nearest_centres_of_each_frame(student, speech, tmp_path, form, dedup):
    out = tmp_path / "out"
    document = run(student, speech, out, what="units", heads=("units",), form=form, dedup=dedup, batch_s=30)
    assert document["heads"] == ["units"] and document["recordings"] == 6
    rows = read_index(out)
    if form == "parquet":
        table = pyarrow.parquet.read_table(out / "features").to_pylist()
        found = {row["id"]: (row["units"], row.get("durations")) for row in table}
    else:
        load = {"npy": lambda path: {"units": np.load(path)}, "safetensors": load_file}[form]
        arrays = {name: load(out / row["path"]) for name, row in rows.items()}
        found = {name: (array["units"], array.get("durations")) for name, array in arrays.items()}
    seen = set()
    for name, wave in waves(speech).items():
        wanted = outputs(student, wave, "units")[1]["ids"][:, 0]
        units, durations = found[name]
        if dedup and durations is not None:
            units = np.repeat(units, durations)
        elif dedup:
            wanted = wanted[np.flatnonzero(np.diff(wanted, prepend=-1))]
        assert np.array_equal(units, wanted) and rows[name]["frames"] >= len(units)
        seen |= set(wanted.tolist())
    assert len(seen) > 1  # else anything would do


def test_runs_of_units():
    result = units_result(np.array([3, 3, 1, 1, 1, 3]), True)
    assert result.frames == 6
    assert [array.tolist() for array in result.arrays.values()] == [[3, 1, 3], [2, 3, 1]]
    assert units_result(np.array([0, 0, 2]), True).arrays["units"].tolist() == [0, 2]
    assert units_result(np.zeros(0, np.int64), True).arrays["units"].tolist() == []


def by_head(events):
    return sorted(events, key=lambda event: (event["head"], event["number"]))


def test_answers_are_the_final_events_of_each_head(student, speech, tmp_path):
    document = run(student, speech, tmp_path / "out", what="answers", heads=("moods", "vad", "who"), workers=2)
    rows = read_index(tmp_path / "out")
    for name, wave in waves(speech).items():
        lines = (tmp_path / "out" / rows[name]["path"]).read_text().splitlines()
        wanted = []
        for head in ("moods", "vad", "who"):
            spec, said = outputs(student, wave, head)
            wanted += [
                event.to_dict() for event in whole(decoder_of(spec), said, SMALL.frames(len(wave)) * (head == "who"))
            ]
        found, wanted = by_head(map(json.loads, lines)), by_head(wanted)
        assert [event["label"] for event in found] == [event["label"] for event in wanted]
        for event, other in zip(found, wanted, strict=True):
            assert event["score"] == pytest.approx(other["score"], abs=2e-4)
        assert rows[name]["events"] == len(lines) and rows[name]["path"].endswith(".jsonl")
    assert document["events"] == sum(row["events"] for row in rows.values()) > 0


def test_heads_that_are_not_there_or_too_many(student, speech, tmp_path):
    for given, said in (
        ({"what": "units"}, "needs one head of kind units.*more .units.*units .units"),
        ({"what": "units", "heads": ("vad",)}, "no such head of units"),
        ({"what": "answers", "heads": ("words",)}, "has no head 'words'"),
    ):
        with pytest.raises(SpeechpressError, match=said):
            run(student, speech, tmp_path / "out", **given)
    with pytest.raises(SpeechpressError, match="needs a head"):
        run("hubert-mini", speech, tmp_path / "out", what="answers")
    save_encoder(tmp_path / "bare", make(SMALL))
    write_json(tmp_path / "bare/card.json", {})
    with pytest.raises(SpeechpressError, match="needs a head; `compress head` trains one"):
        run(tmp_path / "bare", speech, tmp_path / "out", what="answers")
    assert not (tmp_path / "out").exists()


def test_another_head_is_another_run(student, speech, tmp_path):
    run(student, speech, tmp_path / "out", what="units", heads=("units",))
    with pytest.raises(SpeechpressError, match="heads"):
        run(student, speech, tmp_path / "out", what="units", heads=("more",), resume=True)


class Chunked:
    """The student and its heads as an engine: every chunk is answered from a pass over all that was heard so far.

    Slow, and exact for heads without memory; for how the frames of a stream are kept and cut.
    """

    def __init__(self, student, names):
        self.encoder, self.kept = load_encoder(student), read_heads(student, names)
        self.spec = self.encoder.config.stream_spec(4)
        self.heads = tuple(head.spec(self.encoder.config) for head in self.kept.values())

    def initial_state(self):
        return {"heard": np.zeros((1, 0), np.float32), "end": np.array([1 << 40], np.int64)}

    @torch.inference_mode()
    def step(self, chunk, state):
        heard = np.concatenate([state["heard"], chunk], 1)
        waves = torch.nn.functional.pad(torch.from_numpy(heard), (self.spec.receptive_samples, 0))
        states = self.encoder.hidden_states(waves)
        frames = [x[:, -self.spec.chunk_frames :] for x in states]
        layers = torch.stack([*frames[:-1], self.encoder.encoder.last(frames[-1])], 2)
        exists = torch.ones(layers.shape[:2], dtype=torch.bool)
        answers = {}
        for head, spec in zip(self.kept.values(), self.heads, strict=True):
            values, _ = head.module(layers, exists, {})
            answers[head.name] = {key: value.numpy() for key, value in zip(spec.outputs, values, strict=True)}
        return Step(layers[:, :, -1].numpy(), {**state, "heard": heard}, answers)


def test_heads_of_a_stream_answer_for_the_frames_that_exist(student, speech, tmp_path):
    """Units frame by frame beside the frames of the same stream, and its events, without the partial ones."""
    engine = Chunked(student, ["units"])
    listener = Listener("b", "k", (1,), 32, 320, lambda *_: [], 400, streams=True, engine=engine)
    units = BundleHeads(listener, ExtractOptions(tmp_path, what="units"))
    answers = BundleHeads(listener, ExtractOptions(tmp_path, what="answers"))
    for wave in list(waves(speech).values())[:3]:
        stream = StreamingExtractor(engine)
        heard, rest = stream.push(wave), stream.flush()
        frames = len(heard.frames) + len(rest.frames)
        events = [event for event in (*heard.events, *rest.events) if event.final]
        (said,), (told,) = units.hear([torch.from_numpy(wave)]), answers.hear([torch.from_numpy(wave)])
        ids = units.make(None, said).arrays["units"]
        assert len(ids) == frames == SMALL.frames(len(wave))
        assert answers.make(None, told).events == [event.to_dict() for event in events] != []
        # A run of units is an event: the same labels in the same order, both ways.
        runs = units_result(ids, True).arrays["units"]
        assert [event.label for event in events] == [str(unit) for unit in runs]
