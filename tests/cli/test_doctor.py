import sys

from speechpress.compressor.cli import doctor


def test_every_failing_check_says_what_to_do():
    for check in doctor.examine():
        assert set(check) == {"name", "ok", "detail", "fix"} and (check["ok"] or check["fix"])


def test_another_program_of_the_same_name_is_noticed(tmp_path, monkeypatch):
    other = tmp_path / "compress"
    other.write_text("#!/bin/sh\necho LZW\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.on_path()
    assert not check["ok"] and check["detail"] == str(other) and "speechpress" in check["fix"]


def test_a_torchaudio_that_cannot_be_imported_is_noticed(tmp_path, monkeypatch):
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("torchaudio", None)
    check = doctor.torchaudio()
    assert not check["ok"] and "libcudart" in check["detail"] and "uninstall" in check["fix"]


def test_a_torchaudio_that_kills_its_process_without_a_word(tmp_path, monkeypatch):
    (tmp_path / "torchaudio.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("torchaudio", None)
    check = doctor.torchaudio()
    assert not check["ok"] and "code -9" in check["detail"]


def test_everything_that_is_promised_is_looked_at():
    found = doctor.examine()
    names = {check["name"] for check in found}
    (clip,) = [check for check in found if check["name"] == "golden clip"]
    assert clip["ok"] and "gives the expected outputs" in clip["detail"]
    assert {"microphones", "adb", "ssh", "cache", "temporary files", "compress on PATH", "torchaudio"} <= names


def test_a_phone_that_does_not_trust_us(tmp_path, monkeypatch):
    adb = tmp_path / "adb"
    adb.write_text("#!/bin/sh\nprintf 'List of devices attached\\n1234 unauthorized usb:1-2\\n'\n")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    check = doctor.adb()
    assert not check["ok"] and "adb:1234" in check["detail"] and "confirm the question" in check["detail"]


def test_what_is_only_needed_for_devices_is_no_failure(monkeypatch):
    monkeypatch.setenv("PATH", "/nothing")
    assert doctor.adb()["ok"] and "apt-get install adb" in doctor.adb()["detail"]
    assert doctor.ssh()["ok"] and "only needed for boards" in doctor.ssh()["detail"]


def test_a_sounddevice_without_portaudio_is_said_but_no_failure(tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    check = doctor.microphones()
    assert check["ok"] and "PortAudio library not found" in check["detail"] and "libportaudio2" in check["detail"]


def test_space_and_a_folder_that_is_not_there_yet(tmp_path):
    assert doctor.space("cache", tmp_path / "new" / "hub", 0.0, "HF_HOME")["ok"]
    check = doctor.space("cache", tmp_path, 1e9, "HF_HOME")
    assert not check["ok"] and "HF_HOME" in check["fix"]
