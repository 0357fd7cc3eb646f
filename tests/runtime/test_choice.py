import json
import os

import pytest
from bundled import copied

from speechpress.runtime import choice
from speechpress.runtime.bundle import digest
from speechpress.runtime.choice import SHIPPED, built_in, choose_bundle
from speechpress.runtime.demo.head_engine import words_head
from speechpress.runtime.engine import PteEngine


def changed(folder, **changes):
    path = folder / "bundle.json"
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({**document, "digest": digest(document)}))
    return folder


@pytest.fixture
def bundles(tmp_path):
    """Three bundles, the newest last: one that runs here, one that is damaged, one for another backend."""
    here = copied(SHIPPED, tmp_path / "bundles" / "a")
    damaged = copied(SHIPPED, tmp_path / "bundles" / "b")
    (damaged / "encoder.pte").write_bytes(b"short")
    target = {"name": "ios-coreml", "backend": "coreml", "description": "an iPhone", "runs_here": False}
    other = changed(copied(SHIPPED, tmp_path / "bundles" / "c"), target=target)
    for age, folder in enumerate((other, damaged, here)):
        os.utime(folder / "bundle.json", (1e9 - age, 1e9 - age))
    return tmp_path / "bundles"


def test_the_newest_that_runs_here(bundles):
    said = []
    assert choose_bundle(bundles, said.append) == bundles / "a" / "demo-bundle"
    assert "for ios-coreml and its backend coreml does not run here" in said[0]
    assert "truncated" in said[1] and "newest that runs here" in said[2] and len(said) == 3


def test_live_needs_one_that_streams(bundles):
    changed(bundles / "a" / "demo-bundle", streams=[], state=[])
    said = []
    assert choose_bundle(bundles, said.append) == bundles / "a" / "demo-bundle"
    assert choose_bundle(bundles, said.append, live=True) == built_in()
    assert any("skipped, it does not stream" in line for line in said) and "none of them runs here" in said[-1]


def test_the_shipped_one_when_there_is_no_other(tmp_path):
    said = []
    assert choose_bundle(tmp_path, said.append) == built_in()
    assert len(said) == 1 and "there is none under" in said[0]


def test_the_light_install_has_that_of_the_demo_alone(monkeypatch):
    assert built_in().name == "pocket-s" and words_head(PteEngine(built_in(), threads=1)) is not None
    monkeypatch.setattr(choice, "shipped_students", lambda: {"demo": SHIPPED})
    assert built_in() == SHIPPED


def test_profile_without_any_takes_the_shipped_one(cli):
    done = cli("profile", "--chunks", 2, "--pace", "flat", "--json")
    assert done.returncode == 0 and "using the built-in one" in " ".join(done.stderr.split()), done.stderr


def test_the_commands_take_it_and_say_so(bundles, cli, tmp_path):
    words = ("--chunks", 2, "--pace", "flat", "--json")
    for name, more in (("verify", ("--json",)), ("profile", words)):
        done = cli(name, *more)
        assert done.returncode == 0, done.stderr
        text = " ".join(done.stderr.split())
        assert "skipped" in text and "newest that runs here: bundles/a/demo-bundle" in text
