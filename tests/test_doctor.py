import sys

from speechpress.compressor import doctor


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
