"""Ranks in real processes (gloo): who does not fit is named, to all of them alike."""

import multiprocessing
import os
import re
import socket
from dataclasses import replace

import pytest

from speechpress.compressor.cluster import code
from speechpress.compressor.cluster.ranks import differences, from_first, gathered, require_all, require_same
from speechpress.compressor.distill.distill import meet
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.errors import SpeechpressError


def test_one_process_fits_itself_and_needs_no_group():
    assert gathered("a") == ["a"] and from_first({"b": 1}) == {"b": 1}
    require_same({"recipe": {"lr": 1}}, "")
    with pytest.raises(SpeechpressError, match=r"rank 0 on .*: the state is not there; share the disk"):
        require_all(False, "the state is not there", "share the disk")


def test_differences_are_named_by_their_path():
    wanted = {"train": {"lr": 1.0, "steps": 5}, "code": "a"}
    found = {"train": {"lr": 2.0, "steps": 5}, "teacher": "b", "code": "a"}
    assert differences(wanted, found) == [
        "teacher: it has 'b', rank 0 has None",
        "train.lr: it has 2.0, rank 0 has 1.0",
    ]


def test_the_hash_of_the_code_is_of_names_and_content(tmp_path, monkeypatch):
    for part in code.PARTS:
        (tmp_path / part / "room").mkdir(parents=True)
    monkeypatch.setattr(code, "__file__", str(tmp_path / "compressor" / "cluster" / "code.py"))
    changes = [("recipes/a.yaml", "x"), ("runtime/a.py", "x"), ("runtime/a.py", "y"), ("devices/room/b.py", "")]
    found = [code.code_hash.__wrapped__()]
    for name, text in changes:
        (tmp_path / name).write_text(text)
        found.append(code.code_hash.__wrapped__())
    assert len(set(found)) == len(found) == 5 and code.code_hash.__wrapped__() == found[-1]


CASES = {
    "alike": {},
    "recipe": {1: {"settings": ("train.lr=1e-3",)}},
    "code": {1: {"sources": "0123456789abcdef"}},
    "folder": {1: {"out": "elsewhere"}},
}


def worker(rank, world, port, out, cases):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    socket.gethostname = lambda: f"host-{rank}"
    lines, here = [], code.code_hash()
    for case in cases.values():
        own = case.get(rank, {})
        code.code_facts.cache_clear()
        code.code_hash = lambda own=own: own.get("sources", here)
        recipe = load_recipe("distilhubert", list(own.get("settings", ())))
        try:
            found = meet(recipe, RunOptions((), out / own.get("out", "run"), "cpu"))
            lines.append(str(found.out))
        except SpeechpressError as error:
            lines.append(str(error))
    (out / f"{rank}.txt").write_text("\0".join(lines))


def test_a_rank_with_another_recipe_or_other_code_is_refused_by_all_of_them(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forked = multiprocessing.get_context("fork")
    processes = [forked.Process(target=worker, args=(rank, 2, port, tmp_path, CASES)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    said = [(tmp_path / f"{rank}.txt").read_text().split("\0") for rank in range(2)]
    assert said[0] == said[1]
    alike, recipe, other, folder = said[0]
    assert alike == folder == str(tmp_path / "run")  # the first process has chosen it
    assert re.match(r"rank 1 on host-1 does not fit rank 0 on host-0:\n  recipe\.train\.lr: it has 0\.001, ", recipe)
    assert re.search(r"rank 1 on host-1 .*\n  code\.sources: it has '0123456789abcdef', rank 0 has '", other)


def test_without_torchrun_nobody_has_to_be_met(tmp_path):
    options = RunOptions((), tmp_path / "run", "no such device")
    assert meet(replace(load_recipe("distilhubert"), name="any"), options) == options
