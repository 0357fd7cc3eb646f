"""A name on the Hub stands wherever a run, a bundle or a teacher is named, and means the same as its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import Hub, serving_hub, turned_to
from huggingface_hub import constants

import speechpress
from speechpress.compressor.cli.show import show
from speechpress.compressor.evaluate.lineup import open_comparison
from speechpress.compressor.evaluate.s3prl import s3prl_plan
from speechpress.compressor.extract.source import open_listener
from speechpress.compressor.hub.push import plan_push, push
from speechpress.compressor.models.checkpoint import ancestry, load_checkpoint
from speechpress.compressor.models.scores import stamped, write_back
from speechpress.compressor.quantize.ptq import prepare
from speechpress.compressor.teachers.convert import convert
from speechpress.runtime import demo
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import cached_id, name_of
from speechpress.runtime.json_file import read_json

SHIPPED = Path(demo.__path__[0]) / "demo-bundle"


@pytest.fixture(scope="module")
def hub(tmp_path_factory, small_checkpoint):
    """A hub that holds a run, me/pocket, and a bundle, me/phone; the working folder is an empty one."""
    found, root = Hub(), tmp_path_factory.mktemp("hub")
    (root / "work").mkdir()
    with serving_hub(found) as address, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "work")
        turned_to(patch, address, root / "cache", "hf_me")
        push(plan_push(small_checkpoint, "me/pocket"), say=lambda text: None)
        push(plan_push(SHIPPED, "me/phone"), say=lambda text: None)
        found.commit = found.repos["me/pocket"][-1][0]
        yield found


def test_runs(hub, small_checkpoint, few_clips, tmp_path):
    wave = torch.randn(1, 8000)
    there, here = open_listener("me/pocket", chunk_ms=80.0), open_listener(str(small_checkpoint), chunk_ms=80.0)
    assert there.name == "pocket" and there.key == here.key
    assert torch.equal(there.hear(wave, None, [1])[0], here.hear(wave, None, [1])[0])
    compared = open_comparison("me/pocket@main", ["me/pocket"], chunk_ms=80.0)
    assert compared.opened is not None and set(compared.upstreams) >= {"student", "random", "logmel", "pocket"}
    assert write_back(stamped({"tasks": {}}, "mini", "me/pocket"), "me/pocket") == []  # nothing goes into the cache
    speechpress.quantize("me/pocket", "fp16", out=tmp_path / "half")
    about = read_json(tmp_path / "half" / "quantize.json")
    assert f"me/pocket@{hub.commit}" in json.dumps(about)
    speechpress.prune("me/pocket", out=tmp_path / "cut", to_params="10k", method="magnitude")
    assert load_checkpoint(tmp_path / "cut").card["parents"][0]["path"] == f"me/pocket@{hub.commit}"
    found = speechpress.extract("me/pocket", few_clips, out=tmp_path / "features", chunk_ms=80.0)
    assert found["finished"] and found["written"] == 16
    assert show("me/pocket")["kind"] == "checkpoint" and show("me/pocket")["name"] == "me/pocket"
    assert ancestry("me/pocket")[0]["path"] == f"me/pocket@{hub.commit}"  # what student.init names
    assert convert("me/pocket", tmp_path / "hf", "transformers").out.is_dir()


def test_bundles(hub):
    assert show("me/phone") == {**show(str(SHIPPED)), "path": "me/phone"}
    there, here = open_listener("me/phone"), open_listener(str(SHIPPED))
    wave = torch.randn(1, 8000)
    assert there.key == here.key
    np.testing.assert_array_equal(*(one.hear(wave, None, one.layers)[0] for one in (there, here)))
    assert open_comparison("me/phone").bundle is not None


def test_a_head_goes_beside_its_student_and_so_not_into_the_cache(hub, few_clips, tmp_path):
    with pytest.raises(SpeechpressError, match=r"me/pocket@\w{40}: lies on the Hub, .* with --out"):
        speechpress.head("me/pocket", "vad", data=few_clips)


OPENERS = {
    "checkpoint": (load_checkpoint, lambda name: prepare(name, None, False), ancestry),
    "bundle": (load_bundle, lambda name: speechpress.profile(name, chunks=1)),
    "both": (open_listener, open_comparison, show),
}


@pytest.mark.parametrize("kind", OPENERS)
def test_what_is_not_what_was_pushed_is_refused_by_each(hub, kind):
    name = {"bundle": "me/phone", "checkpoint": "me/pocket"}.get(kind, "me/pocket")
    commit, files = hub.repos[name][-1]
    weights = "encoder.pte" if kind == "bundle" else "model.safetensors"
    broken = bytes([files[weights][0] ^ 1]) + files[weights][1:]
    bad = {what: f"{kind}/{what}" for what in ("broken", "moved", "empty", "gated")}
    hub.add(bad["broken"], {**files, weights: broken})
    old, new = (hub.add(bad["moved"], files) for _ in range(2))
    hub.answers_as = {new: old}  # between the list and the file it became another commit
    hub.add(bad["empty"], {"README.md": b"soon"})
    hub.add(bad["gated"], files)
    hub.gated = {bad["gated"]}
    told = hub.told
    hub.told = lambda name, rest: {**told(name, rest), "sha": new} if name == bad["moved"] else told(name, rest)
    try:
        for opener in OPENERS[kind]:
            with pytest.raises(SpeechpressError, match=rf"{weights} is not the file that was pushed"):
                opener(bad["broken"])
            with pytest.raises(SpeechpressError, match="was changed while it was read"):
                opener(bad["moved"])
            with pytest.raises(SpeechpressError, match=r"/empty.*(not put on the hub|has no weights|no teacher)"):
                opener(bad["empty"])
            with pytest.raises(SpeechpressError, match="is gated: ask for access"):
                opener(bad["gated"])
            if kind != "both":
                other = "me/pocket" if kind == "bundle" else "me/phone"
                with pytest.raises(SpeechpressError, match=rf"{other}: is a \w+, and no {kind}"):
                    opener(other)
    finally:
        hub.told, hub.answers_as = told, {}
    assert commit == hub.repos[name][-1][0]


def test_offline_takes_the_cache_and_answers_at_once_without_it(hub, monkeypatch):
    show("me/pocket"), show("me/phone")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.asked)
    assert show("me/phone")["kind"] == "bundle" and open_listener("me/pocket").name == "pocket"
    for opener in (open_listener, open_comparison, load_checkpoint, load_bundle):
        with pytest.raises(SpeechpressError, match=r"you/x.*HF_HUB_OFFLINE"):
            opener("you/x")
    assert len(hub.asked) == before


def test_names(hub, tmp_path):
    folder = load_checkpoint("me/pocket").path
    assert cached_id(folder) == f"me/pocket@{hub.commit}" and cached_id(tmp_path) is None
    assert name_of("me/pocket@v1") == name_of(folder) == "pocket" and name_of(tmp_path) == tmp_path.name
    assert json.loads((folder / "card.json").read_text())["steps"] == 3
    with pytest.raises(SpeechpressError, match="s3prl"):
        s3prl_plan("me/pocket")
