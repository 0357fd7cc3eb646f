import json
import os
import subprocess
import sys
import time

import pytest
from bundled import saved
from hub_server import Hub, serving_hub, turned_to
from huggingface_hub import constants

from speechpress.compressor.hub.push import plan_push, push
from speechpress.compressor.models.checkpoint import load_encoder, write_json
from speechpress.compressor.teachers.hub_folder import pinned
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import fetch
from speechpress.runtime.hub.ids import HubId, hub_id, named_on_hub
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.verify import verify

READERS = [load_encoder, load_bundle, verify, load_teacher]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub at this machine that holds one pushed run, me/pocket."""
    found = Hub()
    with serving_hub(found) as address:
        turned_to(monkeypatch, address, tmp_path / "cache", "hf_me")
        push(plan_push(saved(tmp_path / "run"), "me/pocket"), say=lambda text: None)
        monkeypatch.delenv("HF_TOKEN")
        yield found


def test_names_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "me" / "there").mkdir(parents=True)
    assert hub_id("me/pocket@v1.0") == HubId("me/pocket", "v1.0")
    assert str(HubId("me/pocket", "v1")) == "me/pocket@v1" and named_on_hub("you/pocket") == HubId("you/pocket")
    for path in (
        "bundles/new",
        "me/there",
        "./me/x",
        "/me/x",
        "../x",
        "a/b/c",
        "pocket",
        "me/model.pt",
        "me/..",
        "@v1",
    ):
        assert named_on_hub(path) is None, path


def test_a_card_names_its_teacher_by_the_commit():
    assert pinned({"source": "me/pocket", "revision": "a" * 40}) == f"me/pocket@{'a' * 40}"
    assert pinned({"source": "me/pocket@v1", "revision": "a" * 40}) == f"me/pocket@{'a' * 40}"
    assert pinned({"source": "/models/x", "revision": None}) == "/models/x" and pinned({}) is None


@pytest.mark.parametrize("read", READERS)
def test_offline_answers_at_once(read, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before, started = len(hub.asked), time.monotonic()
    with pytest.raises(SpeechpressError, match=r"you/pocket.*HF_HUB_OFFLINE"):
        read("you/pocket")
    assert time.monotonic() - started < 5 and len(hub.asked) == before


@pytest.mark.parametrize("read", READERS)
def test_a_hub_that_cannot_be_reached_is_a_clear_error(read, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpeechpressError, match=r"127\.0\.0\.1:9.*cannot be reached"):
        read("you/pocket")


@pytest.mark.parametrize("read", READERS)
def test_missing_gated_and_foreign_repositories(read, hub):
    with pytest.raises(SpeechpressError, match=r"there is no http.*/you/pocket, or it is private"):
        read("you/pocket")
    with pytest.raises(SpeechpressError, match="no revision v9"):
        read("me/pocket@v9")
    hub.gated.add("me/pocket")
    if read in (load_encoder, load_teacher):
        with pytest.raises(SpeechpressError, match=r"is gated: ask for access"):
            read("me/pocket")
    hub.add("me/empty", {"README.md": b"soon"})
    with pytest.raises(SpeechpressError, match=r"me/empty: .*(was not put on the hub by|has no weights)"):
        read("me/empty")


def test_the_cache_serves_without_a_network_and_says_so(hub, monkeypatch, caplog):
    first = fetch(HubId("me/pocket"), CHECKPOINT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(HubId("me/pocket"), CHECKPOINT) == first
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch(HubId("me/pocket"), CHECKPOINT) == first and "taken from the cache" in caplog.text


def test_a_new_push_is_seen_and_an_old_commit_stays_what_it_was(hub, tmp_path, monkeypatch, caplog):
    old = fetch(HubId("me/pocket"), CHECKPOINT)
    hub.tags["me/pocket", "v1"] = old.commit
    write_json(tmp_path / "run" / "card.json", {"steps": 99})
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    push(plan_push(tmp_path / "run", "me/pocket"), say=lambda text: None)
    new = fetch(HubId("me/pocket"), CHECKPOINT)
    assert new.commit != old.commit and "has moved from commit" in caplog.text
    assert json.loads((new.folder / "card.json").read_text()) == {"steps": 99}
    assert fetch(HubId("me/pocket", "v1"), CHECKPOINT) == fetch(HubId("me/pocket", old.commit), CHECKPOINT) == old


@pytest.mark.parametrize("read", [load_encoder, load_teacher])
def test_a_repository_that_changes_between_list_and_file_is_refused(read, hub):
    commit, files = hub.repos["me/pocket"][-1]
    hub.repos["me/pocket"].insert(0, ("e" * 40, dict(files)))
    hub.answers_as[commit] = "e" * 40  # what is asked for by this commit comes as another
    hub.told = lambda name, rest, told=hub.told: {**told(name, rest), "sha": commit}
    with pytest.raises(SpeechpressError, match="was changed while it was read"):
        read("me/pocket")


@pytest.mark.parametrize("read", [load_encoder, load_teacher])
def test_a_file_that_was_exchanged_after_the_push_is_refused(read, hub):
    files = hub.files("me/pocket")
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    hub.add("me/pocket", {**files, "model.safetensors": bytes(weights)})
    with pytest.raises(SpeechpressError, match=r"model\.safetensors is not the file that was pushed"):
        read("me/pocket")


def test_a_copy_that_was_damaged_on_this_disk_is_fetched_anew(hub):
    folder = fetch(HubId("me/pocket"), CHECKPOINT).folder
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(SpeechpressError, match="is not the file that was pushed"):
        load_teacher("me/pocket")  # takes what is cached without asking
    load_encoder("me/pocket")
    load_teacher("me/pocket")


def test_a_manifest_that_leads_out_of_its_folder_is_refused(hub):
    files = hub.files("me/pocket")
    manifest = json.loads(files["speechpress.json"])
    for name in ("../../evil", "/etc/passwd", "a/../b", "*", ".hidden"):
        manifest["files"] = {name: {"sha256": "0" * 64, "size_bytes": 1}}
        hub.add("me/pocket", {**files, "speechpress.json": json.dumps(manifest).encode()})
        with pytest.raises(SpeechpressError, match=r"speechpress\.json: files"):
            load_encoder("me/pocket")


def test_the_runtime_loads_no_hub_client_until_a_name_is_given(tmp_path):
    script = (
        "import sys, speechpress.runtime.engine as engine\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "sys.modules['huggingface_hub'] = None\n"  # as if it were not installed
        "try:\n    engine.load_bundle('me/phone')\nexcept engine.SpeechpressError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ}
    )
    assert "pip install 'huggingface_hub" in done.stdout
