"""The folder of kept targets: whole blocks only, bound to one teacher, bounded, and safe to be killed."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from speechpress.compressor.lessons.keep import BINDING, Shelf, blocks, key_of
from speechpress.runtime.errors import SpeechpressError

BOUND = {"teacher": "abc", "layers": [1, 2], "eps": 1e-5}
GB = 1.0


def key(number):
    return key_of(np.full(100, number, np.float32))


def block(number, size=1000):
    return np.random.default_rng(number).bytes(size)


def files(folder):
    return sorted(path for path, _ in blocks(folder))


def test_what_was_written_is_read_also_by_another_process_and_nothing_else_is(tmp_path):
    shelf = Shelf(tmp_path / "kept", BOUND, GB)
    assert shelf.read(key(1), 1000) is None
    assert shelf.write(key(1), block(1)) and shelf.write(key(2), block(2))
    again = Shelf(tmp_path / "kept", BOUND, GB)
    assert [bytes(again.read(key(n), 1000)) for n in (1, 2)] == [block(1), block(2)]
    assert again.read(key(3), 1000) is None
    assert (again.counts.read, again.counts.damaged, shelf.counts.written) == (2, 0, 2)


def test_a_clip_is_found_by_each_of_its_samples():
    samples = np.zeros(100, np.float32)
    other = samples.copy()
    other[57] = 1e-7
    assert key_of(samples) == key_of(samples.copy()) != key_of(other)
    assert key_of(samples[:-1]) != key_of(samples)


@pytest.mark.parametrize("place", [0, 9, 25, 33, 40, -1, "cut", "longer", "empty", "another's"])
def test_any_damage_is_found_counted_once_and_mended_by_the_next_writer(tmp_path, place, caplog):
    shelf = Shelf(tmp_path, BOUND, GB)
    shelf.write(key(1), block(1))
    shelf.write(key(2), block(2))
    path = shelf._path(key(1))
    data = bytearray(path.read_bytes())
    if isinstance(place, int):
        data[place] ^= 1
    changed = {"cut": data[:-1], "longer": data + b"0", "empty": b"", "another's": shelf._path(key(2)).read_bytes()}
    path.write_bytes(changed.get(place, data))
    assert shelf.read(key(1), 1000) is None and shelf.read(key(1), 1000) is None
    assert shelf.counts.damaged == 1 and str(path) in caplog.text
    assert shelf.write(key(1), block(1)) and bytes(shelf.read(key(1), 1000)) == block(1)


def test_another_binding_is_refused_and_says_in_what(tmp_path):
    Shelf(tmp_path, BOUND, GB)
    for other in ({**BOUND, "teacher": "abd"}, {**BOUND, "layers": [1, 3]}, {"teacher": "abc", "layers": [1, 2]}):
        name = next(name for name in BOUND if other.get(name) != BOUND[name])
        with pytest.raises(
            SpeechpressError, match=rf"another teacher or of other layers:\n  {name}: it has .* this run"
        ):
            Shelf(tmp_path, other, GB)
    assert json.loads((tmp_path / BINDING).read_text())["teacher"] == "abc"


def test_a_folder_of_something_else_and_a_file_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SpeechpressError, match="something other"):
        Shelf(tmp_path, BOUND, GB)
    with pytest.raises(SpeechpressError, match="cannot be used"):
        Shelf(tmp_path / "mine.txt", BOUND, GB)
    (tmp_path / BINDING).write_text("{")
    with pytest.raises(SpeechpressError, match="JSON"):
        Shelf(tmp_path, BOUND, GB)


def test_the_limit_holds_over_runs_and_is_said_once(tmp_path, caplog):
    shelf = Shelf(tmp_path, BOUND, 3e-6)  # 3000 bytes: two blocks with their headers
    assert [shelf.write(key(n), block(n)) for n in range(4)] == [True, True, False, False]
    assert shelf.counts.left_out == 2 and caplog.text.count("further targets are computed each time") == 1
    again = Shelf(tmp_path, BOUND, 3e-6)
    assert not again.write(key(9), block(9)) and sum(size for _, size in blocks(tmp_path)) <= 3000
    # A block that is replaced needs no more room than it has.
    assert again.write(key(1), block(7)) and bytes(again.read(key(1), 1000)) == block(7)


def test_what_others_write_counts_too(tmp_path):
    one, two = Shelf(tmp_path, BOUND, 4e-6), Shelf(tmp_path, BOUND, 4e-6)
    assert all(one.write(key(n), block(n)) for n in range(3))
    written = [two.write(key(10 + n), block(n)) for n in range(3)]
    # Each measures the folder again after 1 % of the limit, here after every block.
    assert written == [True, False, False] and sum(size for _, size in blocks(tmp_path)) <= 4000 + 1100


def test_a_disk_that_cannot_be_written_to_ends_the_keeping_not_the_run(tmp_path, caplog, monkeypatch):
    shelf = Shelf(tmp_path, BOUND, GB)

    def full(*words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechpress.compressor.lessons.keep._put", full)
    assert not shelf.write(key(1), block(1))
    monkeypatch.undo()
    assert not shelf.write(key(2), block(2)) and "No space left" in caplog.text and shelf.counts.left_out == 2


def _write_for_ever(folder, started):
    shelf, number = Shelf(folder, BOUND, GB), 0
    while True:
        shelf.write(key(number % 7), block(number % 7, 3_000_000))
        number += 1
        started.set()


def test_a_writer_killed_at_any_moment_leaves_whole_blocks_and_no_rubbish(tmp_path):
    context = multiprocessing.get_context("fork")
    for _ in range(4):
        started = context.Event()
        process = context.Process(target=_write_for_ever, args=(tmp_path, started))
        process.start()
        assert started.wait(30)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        shelf = Shelf(tmp_path, BOUND, GB)  # clears what is left
        names = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != BINDING]
        assert names and not any("part" in name for name in names)
        for number in range(7):
            found = shelf.read(key(number), 3_000_000)
            assert found is None or bytes(found) == block(number, 3_000_000)
        assert shelf.counts.damaged == 0


def _write_all(folder, turn):
    shelf = Shelf(folder, BOUND, GB)
    for number in sorted(range(40), key=lambda n: (n * 7 + turn) % 40):
        shelf.write(key(number), block(number))
        found = shelf.read(key(number), 1000)
        assert bytes(found) == block(number)
    assert shelf.counts.damaged == 0


def test_two_processes_may_fill_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_all, args=(tmp_path / "kept", turn)) for turn in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(files(tmp_path / "kept")) == 40


def _begin(folder, name, results):
    try:
        Shelf(folder, {**BOUND, "teacher": name}, GB)
        results.put(name)
    except SpeechpressError:
        results.put(None)


def test_of_two_that_begin_at_once_with_different_teachers_one_is_refused(tmp_path):
    context = multiprocessing.get_context("fork")
    for turn in range(5):
        results = context.Queue()
        processes = [context.Process(target=_begin, args=(tmp_path / str(turn), name, results)) for name in "ab"]
        for process in processes:
            process.start()
        found = [results.get(timeout=30) for _ in processes]
        for process in processes:
            process.join(30)
        assert found.count(None) == 1
        assert json.loads((tmp_path / str(turn) / BINDING).read_text())["teacher"] in found
