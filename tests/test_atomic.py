import json

import pytest

from speechpress.runtime.atomic import atomic, write_json
from speechpress.runtime.errors import SpeechpressError


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"}
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"} and [p.name for p in path.parent.iterdir()] == [
        "a.json"
    ]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechpressError, match=r"could not be written.*--out"):
        write_json(tmp_path / "file" / "a.json", {})
