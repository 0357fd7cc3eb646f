"""The native runner, built here, on a stand-in for a phone: an `adb` that runs everything on this machine."""

import numpy as np
import pytest
import soundfile
from profiled import first_on_path, program

from speechpress.devices.adb import AdbDevice
from speechpress.devices.native_side import find, machine, write_clip
from speechpress.devices.open import open_device
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.errors import SpeechpressError

PHONE = """[ "$1" = -s ] && shift 2
case "$1" in
  shell) exec sh -c "$2" ;;
  push) shift; for last; do :; done; while [ $# -gt 1 ]; do cp "$1" "$last" || exit 1; shift; done ;;
  pull) cp "$2" "$3" ;;
esac"""


@pytest.fixture(scope="module")
def runner(native):
    return native[1][-1]


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Where the phone's temporary folders are; nothing may stay there."""
    tools, base = tmp_path / "tools", tmp_path / "phone"
    tools.mkdir()
    base.mkdir()
    program(tools, "adb", PHONE)
    first_on_path(monkeypatch, tools)
    monkeypatch.setattr(AdbDevice, "base", str(base))
    yield base
    assert not list(base.iterdir())


def nobody(event):
    del event


def test_a_bundle_is_measured_by_the_runner(small_bundle, runner, phone):
    options = ProfileOptions(chunks=12, per_op=True, runner=runner, paces=("real", "flat"))
    record = profile(read_bundle(small_bundle), open_device("adb:1234"), options, nobody)
    assert record["finished"], record["stopped"]
    assert record["settings"]["side"] == "native" and record["device"]["address"] == "adb:1234"
    assert record["golden"]["ok"] and record["golden"]["max_abs"] <= 1e-4
    real, flat = record["paces"]["real"], record["paces"]["flat"]
    assert len(real["ms"]) >= 12 and len(flat["ms"]) >= 12 and real["start_s"] == sorted(real["start_s"])
    # At the pace of audio, whose chunks begin 80 ms apart; what ends a clip follows at once.
    assert real["start_s"][-1] > 0.9 and flat["start_s"][-1] < real["start_s"][-1]
    assert record["load"]["load_ms"] > 0 and record["result"]["peak_rss_bytes"] > 1e6
    assert record["operators"]["known_share"] > 0.9


def test_a_runner_that_crashes_keeps_what_there_is(small_bundle, runner, phone, tmp_path, monkeypatch):
    """A script takes the runner's place: what stands in an ELF header was looked at before."""
    script = 'case "$*" in *--times*) echo "chunk 9.5 0.1 1.5"; kill -ABRT $$ ;; *) exec REAL "$@" ;; esac'
    broken = program(tmp_path, "speechpress-run", script.replace("REAL", str(runner)))
    monkeypatch.setattr("speechpress.devices.native_side.machine", lambda path: "x86_64")
    monkeypatch.setattr("speechpress.devices.profile.WARMUP", -1)
    record = profile(read_bundle(small_bundle), open_device("adb:1"), ProfileOptions(runner=broken), nobody)
    assert "crashed (abort)" in record["stopped"]["message"]
    assert record["load"]["load_ms"] == 9.5 and record["paces"]["real"]["ms"] == [1.5]


def test_without_a_runner_it_says_how_to_build_one(small_bundle, phone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpeechpressError, match=r"needs the native runner.*docs/cpp\.md.*NDK.*--runner PATH"):
        profile(read_bundle(small_bundle), open_device("adb:1"), ProfileOptions(), nobody)


def test_a_runner_for_another_processor(tmp_path):
    path = tmp_path / "speechpress-run"
    path.write_bytes(b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little"))
    assert machine(path) == "arm64"
    with pytest.raises(SpeechpressError, match=r"is built for arm64, but adb:1 is x86_64"):
        find(path, AdbDevice("1"), {"abi": "x86_64"})
    path.write_text("#!/bin/sh")
    with pytest.raises(SpeechpressError, match="is not a program for Linux or Android"):
        find(path, AdbDevice("1"), {"abi": "arm64"})


def test_the_clip_is_not_changed_on_its_way(tmp_path):
    audio = np.random.default_rng(0).standard_normal(999).astype(np.float32)
    write_clip(tmp_path / "clip.wav", audio, 16_000)
    read, rate = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    assert rate == 16_000 and np.array_equal(read, audio)
