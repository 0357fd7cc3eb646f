"""Every reader of files refuses what is no file, at once: a pipe without a writer would hold it for ever."""

import faulthandler
import os
import sys
import threading
from pathlib import Path

import pytest

from speechpress.compressor.data.corpus import _manifest_cuts
from speechpress.compressor.data.shar import shar_cuts
from speechpress.compressor.models.checkpoint import read_json, read_tensors, sha256
from speechpress.compressor.quantize.scheme import load_quantization
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime import tensor_file
from speechpress.runtime.demo.enrol import read_example
from speechpress.runtime.demo.sources import WavSource
from speechpress.runtime.demo.words import load_words
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular, open_regular

if sys.platform == "win32":
    pytest.skip("has no named pipes", allow_module_level=True)

READERS = {
    "a.json": read_json,
    "model.safetensors": read_tensors,
    "any file by its hash": sha256,
    "golden.safetensors": tensor_file.read_tensors,
    "cuts.jsonl": lambda path: list(_manifest_cuts(path)),
    "cuts.jsonl.gz": lambda path: list(_manifest_cuts(path)),
    "cuts.000000.jsonl": lambda path: ((path.parent / "recording.000000.tar").touch(), list(shar_cuts(path.parent))),
    "quantize.json": lambda path: load_quantization(path.parent),
    "mine.yaml": lambda path: load_recipe(str(path)),
    "example.wav": lambda path: read_example(None, path),
    "heard.wav": WavSource,
    "words.safetensors": lambda path: load_words(path, None, 80.0, None),
    "encoder.pte": open_regular,
}


@pytest.fixture(autouse=True)
def no_hang():
    """A reader that waits would hold the whole run: end it, and say where it was."""
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(SpeechpressError, match=r"is a named pipe|is not a regular file|there is no such file"):
        READERS[name](path)


def test_other_things_are_named():
    with pytest.raises(SpeechpressError, match="is a folder, but must be a file"):
        open_regular("/")
    with pytest.raises(SpeechpressError, match="is a device, but must be a file"):
        check_regular(os.devnull)


def test_a_file_is_read_and_a_missing_one_is_left_to_the_reader(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"abc"
    check_regular(tmp_path / "missing")
    with pytest.raises(OSError, match="No such file"):
        open_regular(tmp_path / "missing")


def test_a_file_that_becomes_a_pipe_after_the_look(tmp_path, monkeypatch):
    """What is open is looked at again: the name may have changed its meaning."""
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr("speechpress.runtime.regular.check_regular", lambda path: None)
    found: list[BaseException] = []

    def read() -> None:
        try:
            open_regular(Path(tmp_path / "a"))
        except SpeechpressError as error:
            found.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and "named pipe" in str(found[0])
