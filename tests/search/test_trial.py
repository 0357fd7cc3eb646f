import errno
import shutil

import pytest
from searched import tiny_recipe

from speechpress.compressor.cli.show import show_recipe
from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.export.clock import DeviceClock
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.recipe.files import load_recipe, parse_recipe
from speechpress.compressor.search.trial import (
    Facts,
    Job,
    SearchStopped,
    check_room,
    out_of_space,
    outline,
    program_fidelity,
    room_bytes,
)
from speechpress.runtime.atomic import cannot_write
from speechpress.runtime.errors import SpeechpressError

FACTS = Facts(EncoderConfig(), 768, 12, {}, "", 1.0, 0.1)


def test_an_outline_says_what_compress_show_says():
    row, shown = (
        outline(load_recipe("pocket-heads"), FACTS, 3, {"chunk_ms": 320.0}),
        show_recipe(load_recipe("pocket-heads")),
    )
    assert row["trial"] == 3 and row["state"] == "running" and row["p50_ms"] is None
    assert row["parameters"] == shown["parameters"]
    by_chunk = {line["chunk_ms"]: line["macs_per_s"] for line in shown["streaming"]}
    assert row["macs_per_s"] == pytest.approx(by_chunk[320.0]) and row["macs"] == pytest.approx(by_chunk[320.0] * 0.32)


def test_of_a_student_that_does_not_stream_a_window_of_a_second_counts():
    row = outline(load_recipe("distilhubert"), FACTS, 0, {"layers": 2, "conv_channels": (8,) * 7})
    assert row["chunk_ms"] == 1000 and row["macs"] == row["macs_per_s"]
    assert row["shape"] == {"layers": 2, "conv_channels": [8] * 7}


def test_without_room_on_the_disk_the_search_stops(tmp_path):
    check_room(tmp_path, 1)
    with pytest.raises(SearchStopped, match=r"\d [MGT]B are free on this disk, but 10 TB are needed; free some"):
        check_room(tmp_path, 10**13)


def test_a_trial_asks_for_what_its_student_takes(tmp_path, monkeypatch):
    """A tiny one runs where 100 MB are free, one of 90 M parameters does not, which is that of its state at least."""
    assert room_bytes(100_000) < 10**8 < 4 * 4 * 90_000_000 < room_bytes(90_000_000)
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real._replace(free=10**8))
    check_room(tmp_path, room_bytes(100_000))
    with pytest.raises(SearchStopped, match=r"100 MB are free on this disk, but 3\.62 GB are needed"):
        check_room(tmp_path, room_bytes(90_000_000))


def test_a_full_disk_is_known_whatever_was_said_of_it(tmp_path):
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise cannot_write(tmp_path, error) from error
    except SpeechpressError as error:
        assert out_of_space(error)
    assert not out_of_space(SpeechpressError("something else")) and not out_of_space(OSError(errno.EACCES, "no"))


def test_a_program_is_as_faithful_as_the_run_says_of_its_student(tiny_teacher, few_clips, tmp_path):
    recipe = parse_recipe(tiny_recipe(tiny_teacher), "tiny.yaml", ["train.steps=2", "train.validate_every=2"])
    outcome = distill(recipe, RunOptions((few_clips,), tmp_path / "run", "cpu"), lambda event: None)
    job = Job(recipe, (few_clips,), "cpu", tmp_path, DeviceClock("host", 1, 60), 5.0)
    found = program_fidelity(job, outcome, {"quantize": "none"}, 80.0, tmp_path / "run")
    assert found.keys() == outcome.card["valid"]["end_chunked"].keys()
    for layer, values in outcome.card["valid"]["end_chunked"].items():
        assert found[layer] == pytest.approx(values, abs=1e-4)
    assert not (tmp_path / "run" / "program").exists()
