"""Manifests by strangers: nothing runs, nothing connects, nothing is believed, and every fault has a key."""

import copy
import gzip
import json
import os
import resource
import subprocess
import time

import numpy as np
import pytest
import soundfile
from hostile import WRONG, command, cut, good, hostile_items, listening, manifest, megabytes, recording, reverb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lhotse import CutSet, Recording, RecordingSet
from sounds import voice, write

from speechpress.compressor.data.audio import UnreadableAudio, read_audio, read_cut
from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write(tmp_path_factory.mktemp("speech") / "a.wav", 1.0)


def heard_all(path):
    """Open a manifest as training does, and read of it what can be read."""
    try:
        corpus = open_corpus(path, check=True)
        stream = Batches(corpus.cuts, 2, 1.0, workers=0).start()
        next(stream)
        stream.close()
    except SpeechpressError as error:
        return str(error)
    return "; ".join(f"{item.path}: {item.reason}" for item in corpus.skipped)


def test_the_ear_hears_a_process():
    with listening() as heard:
        subprocess.run(["true"], check=True)
    assert "subprocess.Popen" in heard


def test_no_hostile_manifest_runs_or_opens_anything(tmp_path, wav):
    owned = tmp_path / "owned"
    said = {}
    with listening() as heard:
        for name, item in hostile_items(wav, owned).items():
            said[name] = heard_all(manifest(tmp_path, item, good(wav)))
    assert heard == [] and not owned.exists()
    for name, words in said.items():
        assert words, f"{name}: accepted without a word"
        if name.startswith("command"):
            assert "shell command" in words or "MixedCut" in words or "ReverbWith" in words, (name, words)
        if "impulse response" in name:
            assert "shell command" in words or "address" in words or "ReverbWithImpulseResponse" in words, (name, words)
    assert "'Narrowband'" in said["transform Narrowband"]


def test_lhotse_itself_would_run_such_a_line(tmp_path, wav):
    """The danger is real: without this, the tests above could pass because nothing here is dangerous at all."""
    owned = tmp_path / "owned"
    item = recording({"type": "file", "channels": [0], "source": str(wav)}, transforms=[reverb(command(owned))])
    with listening() as heard, pytest.raises(Exception, match=r"."):
        Recording.from_dict(copy.deepcopy(item)).load_audio()
    assert "subprocess.Popen" in heard and owned.exists()


def test_shar_refuses_the_same(tmp_path, wav):
    owned = tmp_path / "owned"
    cuts = CutSet.from_manifests(recordings=RecordingSet.from_recordings([Recording.from_file(wav)]))
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "wav"})
    table = tmp_path / "shar" / "cuts.000000.jsonl.gz"
    line = json.loads(gzip.decompress(table.read_bytes()))
    for change in (
        {"recording": {**line["recording"], "transforms": [reverb(command(owned))]}},
        {"custom": {"noise": recording(command(owned))}},
        {"recording": {**line["recording"], "sources": [command(owned)]}},
    ):
        table.write_bytes(gzip.compress(json.dumps({**line, **change}).encode()))
        with listening() as heard:
            words = heard_all(tmp_path / "shar")
        assert heard == [] and ("shell command" in words or "ReverbWithImpulseResponse" in words)
    assert not owned.exists()


def paths_of(value, path=()):
    """Every place inside a line, the outermost first."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from paths_of(item, (*path, key))


def changed(item, path, value):
    item = copy.deepcopy(item)
    place = item
    for key in path[:-1]:
        place = place[key]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return item


DELETED = "deleted"
SAMPLES = 16_000
TOLERATED = 8_000  # samples


def full(wav):
    """A line with every field that is read."""
    supervision = {
        "id": "s",
        "recording_id": "good",
        "start": 0.0,
        "duration": 0.75,
        "channel": 0,
        "text": "yes",
        "language": "en",
        "speaker": "ann",
        "gender": "f",
        "custom": {"split": "train", "score": 0.5},
        "alignment": {"word": [["yes", 0.0, 0.5]]},
    }
    line = good(wav, start=0.25, duration=0.75, supervisions=[supervision], custom={"note": "x"})
    line["recording"]["transforms"] = [{"name": "Volume", "kwargs": {"factor": 1.0}}]
    return line


def is_right(path, value):
    """Whether a value that was accepted at a place may be there; what decides about samples must be what it was."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if path == ("start",):
        return number and 0 <= value <= 0.75
    if path in (("duration",), ("recording", "duration")):
        return number and 0 < value <= 1.5
    if path == ("recording", "num_samples"):
        return number and abs(value - SAMPLES) <= TOLERATED
    if path == ("recording", "sampling_rate"):
        return value == SAMPLES
    if path in (("type",), ("recording",), ("recording", "sources"), ("recording", "sources", 0)):
        return False
    if path[:3] == ("recording", "sources", 0):
        return path[3:] == ("channels", 0) and number and value == 0
    if path == ("channel",):
        return number and value == 0
    if path in (("id",), ("recording", "id")):
        return isinstance(value, str) and value != "\ud800"
    if path[:2] == ("recording", "transforms"):
        return value in (None, [], DELETED) or (path[-1] == "factor" and number and abs(value) <= 1e4)
    if path[-1] == "speaker":
        return value is None or value is DELETED or isinstance(value, str | int)
    return True


def check_accepted(corpus, whole):
    """Everything that is done with a corpus works, and its samples are those of the file."""
    assert corpus.hours > 0 and len(corpus.fingerprint) == 64 and corpus.describe() and corpus.speakers is not None
    corpus.describe().encode()
    for item in corpus.cuts:
        samples = read_cut(item)
        start = round(item.start * SAMPLES)
        volume = item.recording.transforms[0]["kwargs"]["factor"] if item.recording.transforms else 1.0
        np.testing.assert_allclose(samples, volume * whole[start : start + len(samples)], atol=1e-6)


def outcome(path, whole):
    """ "refused" or "accepted", whatever else happens is raised."""
    try:
        corpus = open_corpus(path)
    except SpeechpressError:
        return "refused"
    check_accepted(corpus, whole)
    return "accepted"


def test_every_field_with_every_wrong_value(tmp_path, wav):
    """Hundreds of manifests: our error or fine, never a trace, nothing run, nothing accepted that is wrong, no wait."""
    line, whole = full(wav), read_audio(wav)
    assert outcome(manifest(tmp_path, line), whole) == "accepted"
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, wrong = 0, []
    with listening() as heard:
        for path in paths_of(line):
            for value in [*WRONG, DELETED]:
                count += 1
                if outcome(manifest(tmp_path, changed(line, path, value)), whole) == "accepted":
                    wrong += [] if is_right(path, value) else [(path, repr(value)[:40])]
    assert count > 800
    assert wrong == [] and heard == []
    assert time.perf_counter() - begun < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_several_fields_with_anything(tmp_path, wav, data):
    line = full(wav)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(paths_of(line))))
        line = changed(line, path, data.draw(json_values | st.sampled_from(WRONG)))
    with listening() as heard:
        outcome(manifest(tmp_path, line), read_audio(wav))
    assert heard == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"id":' * 100_000, "nested too deeply"),
        ('{"custom":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("9" * 10_000, ""),
        ('{"start": NaN}', "NaN is not JSON"),
        ('"text"', "not an object"),
        ("\ufeff{}", ""),
    ],
)
def test_json_that_is_none(tmp_path, line, words):
    (tmp_path / "c.jsonl").write_text(line + "\n")
    with pytest.raises(SpeechpressError, match=rf"c\.jsonl:1: not a line of a Lhotse cuts manifest .*{words}"):
        open_corpus(tmp_path / "c.jsonl")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"id": "\xff\xfe"}\n')
    with pytest.raises(SpeechpressError, match=r"c\.jsonl:1: not a line"):
        open_corpus(tmp_path / "c.jsonl")


@pytest.mark.parametrize(("letter", "words"), [(b"x", "longer than 8 MiB"), (b"\n", "packed more than 250 times")])
def test_three_gigabytes_in_three_megabytes(tmp_path, letter, words):
    member = gzip.compress(letter * (16 << 20))
    (tmp_path / "c.jsonl.gz").write_bytes(member * 192)
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpeechpressError, match=words):
        open_corpus(tmp_path / "c.jsonl.gz")
    assert time.perf_counter() - begun < 20 and megabytes(before) < 200


def test_a_pipe_as_a_manifest_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "c.jsonl")
    with pytest.raises(SpeechpressError, match="not a regular file"):
        open_corpus(tmp_path / "c.jsonl")


def mp3_cut(folder, off_s, **more):
    """A cut of an mp3 of 4 s whose manifest is off by so much."""
    soundfile.write(folder / "a.mp3", voice(4.0), 16_000)
    samples = 64_000 + round(off_s * 16_000)
    recorded = recording({"type": "file", "channels": [0], "source": "a.mp3"}, "a")
    recorded |= {"num_samples": samples, "duration": samples / 16_000}
    return cut(recorded, "a", **{"duration": samples / 16_000, **more})


@pytest.mark.parametrize("off_s", [0.03, 0.49, -0.49])
def test_lhotses_tolerance_for_mp3_and_how_many_differed(tmp_path, off_s, caplog):
    corpus = open_corpus(manifest(tmp_path, mp3_cut(tmp_path, off_s), good(write(tmp_path / "g.wav"))))
    cut = next(cut for cut in corpus.cuts if cut.id == "a")
    assert cut.duration == pytest.approx(min(4.0, 4.0 + off_s), abs=1e-4) and not corpus.skipped
    assert len(read_cut(cut)) == round(cut.duration * 16_000)
    note = f"1 recordings are longer or shorter than their manifest says, by up to {abs(off_s):.3f} s"
    assert corpus.notes[0].startswith(note) and note in caplog.text


def test_more_than_half_a_second_is_another_recording(tmp_path):
    lines = mp3_cut(tmp_path, 0.6), good(write(tmp_path / "g.wav")), mp3_cut(tmp_path, 0.6, id="early", duration=2.0)
    corpus = open_corpus(manifest(tmp_path, *lines))
    assert [cut.id for cut in corpus.cuts] == ["early", "good"]
    assert "lasts 4.000 s, but its manifest has a cut until 4.600 s" in corpus.skipped[0].reason


def test_a_manifest_that_is_right_says_nothing(tmp_path, caplog):
    corpus = open_corpus(manifest(tmp_path, mp3_cut(tmp_path, 0.0)))
    assert not corpus.notes and not caplog.records


def test_a_file_of_another_rate_or_number_of_channels_is_left_out(tmp_path, wav):
    write(tmp_path / "slow.wav", 2.0, 8_000)
    soundfile.write(tmp_path / "two.wav", np.stack([voice(1.0)] * 2, 1), 16_000)
    lines = [good(tmp_path / "slow.wav", "slow"), good(tmp_path / "two.wav", "two"), good(wav)]
    corpus = open_corpus(manifest(tmp_path, *lines))
    assert [item.reason for item in corpus.skipped] == [
        "is 8000 Hz, but its manifest says 16000 Hz",
        "has 2 channels, but its manifest says 1",
    ]


def test_keys_are_named_in_errors(tmp_path, wav):
    for path, words in {
        ("recording", "sources", 0, "channels"): r"recording\.sources\[0\]\.channels: ",
        ("supervisions", 0, "speaker"): r"supervisions\[0\]\.speaker: must be text",
        ("duration",): r"duration: must be a number from 0 to 1e\+06, not an object",
    }.items():
        with pytest.raises(SpeechpressError, match=words):
            open_corpus(manifest(tmp_path, changed(full(wav), path, {"a": 1})))


def test_a_part_that_cannot_be_read_is_an_error_of_the_recording(tmp_path, wav):
    corpus = open_corpus(manifest(tmp_path, good(write(tmp_path / "b.wav"))))
    (tmp_path / "b.wav").unlink()
    os.mkfifo(tmp_path / "b.wav")
    with pytest.raises(UnreadableAudio, match="not a regular file"):
        read_cut(corpus.cuts[0])
