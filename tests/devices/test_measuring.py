"""Profiles from beginning to end on this machine, and what goes wrong on the way."""

import json
import os

import pytest
from bundled import CHUNK_MS, copied
from profiled import program

from speechpress.devices import profile as measuring
from speechpress.devices.known import match
from speechpress.devices.open import HostDevice, open_device
from speechpress.devices.profile import ProfileOptions, chosen_cores, profile, settled
from speechpress.devices.record import read_record
from speechpress.runtime.atomic import write_json
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.errors import SpeechpressError

CORES = [{"core": number, "capacity": None, "max_khz": 1000} for number in range(4)]
# A far side that says what it is told to: first what Python is asked for packages, then the phases.
ACTOR = """case "$*" in
  *find_spec*) echo 3.11 ;;
  *"measure golden"*) echo '{"event": "start", "phase": "golden", "versions": {}}'
    echo '{"event": "golden", "method": "step_4", "max_abs": 0.0, "snr_db": 99.0, "cosine": 1.0, "ok": true}' ;;
  *) echo '{"event": "load", "load_ms": 1.0, "first_chunk_ms": 2.0, "base_rss_bytes": null}'
    echo '{"event": "pace", "pace": "real"}'
    echo '{"event": "chunks", "pace": "real", "start_s": [0.1, 0.2], "ms": [1.0, 3.0]}'
    OUTCOME ;;
esac"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Where temporary folders are made; nothing may stay there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert not list(folder.glob("speechpress.*"))


def nobody(event):
    del event


def acted(small_bundle, tmp_path, outcome, **options):
    python = program(tmp_path, "python", ACTOR.replace("OUTCOME", outcome))
    return profile(read_bundle(small_bundle), open_device("host", str(python)), ProfileOptions(**options), nobody)


def test_a_profile_of_this_machine(small_bundle, tmp_path):
    heard = []
    options = ProfileOptions(chunks=4, per_op=True, budget_ms=50.0, cores="0")
    record = profile(read_bundle(small_bundle), HostDevice(), options, heard.append)
    assert record["finished"] and record["stopped"] is None
    assert record["bundle"]["digest"] == read_bundle(small_bundle).document["digest"]
    assert record["golden"]["ok"] and record["golden"]["max_abs"] <= 1e-4
    settings = record["settings"]
    assert (settings["chunk_ms"], settings["threads"], settings["cores"]) == (CHUNK_MS, 1, [0])
    for pace in record["paces"].values():
        assert len(pace["ms"]) == 4 == len(pace["start_s"]) and pace["p50_ms"] <= pace["p99_ms"] <= pace["max_ms"]
    result = record["result"]
    assert result["budget_ms"] == 50.0 and result["streams_per_core"] > 0 and result["peak_rss_bytes"] > 0
    layers = {row["layer"] for row in record["operators"]["by_layer"]}
    assert {"front end", "layer 1", "position convolution"} <= layers and record["operators"]["known_share"] > 0.9
    assert "few chunks" in [item["name"] for item in record["warnings"]]
    write_json(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record
    assert [event["event"] for event in heard[:3]] == ["begin", "push", "start"]


def test_an_interrupt_keeps_what_was_measured(small_bundle):
    raised = []

    def listen(event):
        if event["event"] == "chunks" and not raised:
            raised.append(True)
            raise KeyboardInterrupt

    record = profile(read_bundle(small_bundle), HostDevice(), ProfileOptions(duration_s=120.0, paces=("flat",)), listen)
    assert record["stopped"] == {"message": "interrupted", "exit_code": 130} and not record["finished"]
    assert len(record["paces"]["flat"]["ms"]) > 1 and record["result"]["peak_rss_bytes"] > 0


def test_wrong_numbers_are_not_timed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / "bundle.json").read_text()) | {"tolerance": {"max_abs": 1e-12}}
    (folder / "bundle.json").write_text(json.dumps({**document, "digest": digest(document)}))
    record = profile(read_bundle(folder), HostDevice(), ProfileOptions(), nobody)
    assert record["stopped"]["exit_code"] == 3 and "Nothing was timed" in record["stopped"]["message"]
    assert record["golden"]["ok"] is False and record["paces"] == {} and record["result"]["p50_ms"] is None


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("kill -SEGV $$", "crashed (segmentation fault)"),
        ("kill -KILL $$", "killed; was it out of memory"),
        ("echo 'ImportError: libtorch.so' >&2; exit 1", "ImportError: libtorch.so"),
        ("""echo '{"event": "error", "message": "no such thing", "exit_code": 1}'; exit 1""", "host: no such thing"),
        ("exec sleep 60", "hangs (nothing was heard for 0.5 s)"),
    ],
)
def test_a_program_that_fails_keeps_what_there_is(small_bundle, tmp_path, outcome, said):
    record = acted(small_bundle, tmp_path, outcome, silence_s=0.5)
    assert said in record["stopped"]["message"] and record["stopped"]["exit_code"] == 1
    assert record["paces"]["real"]["ms"] == [1.0, 3.0] and record["result"]["p50_ms"] == 2.0
    assert record["load"]["first_chunk_ms"] == 2.0


def test_what_the_device_lacks_is_said(small_bundle, tmp_path):
    bare = program(tmp_path, "bare", "echo 3.11 torch executorch")
    old = program(tmp_path, "old", "echo 3.9")
    for python, said in ((bare, "has no torch, executorch"), (old, r"is Python 3\.9, and 3\.11 or newer")):
        with pytest.raises(SpeechpressError, match=rf"{said}.*pip install.*--python.*--runner"):
            profile(read_bundle(small_bundle), HostDevice(str(python)), ProfileOptions(), nobody)


def test_a_bundle_for_another_target(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / "bundle.json").read_text())
    document["target"] |= {"name": "ios-coreml", "backend": "coreml"}
    (folder / "bundle.json").write_text(json.dumps({**document, "digest": digest(document)}))
    record = profile(read_bundle(folder), HostDevice(), ProfileOptions(), nobody)
    assert "is for ios-coreml and needs the backend coreml" in record["stopped"]["message"]
    with pytest.raises(SpeechpressError, match=r"ios-coreml.*speechpress-run runs xnnpack only"):
        profile(read_bundle(folder), HostDevice(), ProfileOptions(runner=folder / "any"), nobody)


def test_what_is_left_open_is_settled(small_bundle):
    bundle = read_bundle(small_bundle)
    pixel = match("Google Pixel 7")
    found = settled(bundle, ProfileOptions(cores="big"), {"cores": CORES}, pixel)
    assert found["threads"] == 2 and found["cores"] == [6, 7] and found["chunks"] == {"real": 100, "flat": 100}
    assert settled(bundle, ProfileOptions(threads=4), {"cores": CORES}, pixel)["threads"] == 4
    assert settled(bundle, ProfileOptions(), {"cores": CORES}, None)["threads"] == 1
    with pytest.raises(SpeechpressError, match="runs chunks of 80 ms"):
        settled(bundle, ProfileOptions(chunk_ms=100), {"cores": CORES}, None)


def test_cores_as_they_are_typed():
    assert chosen_cores("0,2-3", CORES, None) == [0, 2, 3] and chosen_cores(None, CORES, None) is None
    for text, said in (("4-7", "has the cores 0 to 3"), ("fast", "is not a list of cores"), ("", "is not a list")):
        with pytest.raises(SpeechpressError, match=said):
            chosen_cores(text, CORES, None)


def test_a_slow_device_gets_a_folder_that_lives_long_enough():
    plan = {"duration_s": 600.0, "paces": ["real", "flat"], "chunks": {}, "chunk_ms": 320.0}
    assert measuring._planned_s(plan) == 1200.0
    assert os.environ["TMPDIR"]
