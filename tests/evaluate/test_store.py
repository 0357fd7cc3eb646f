"""Features on disk: what is put in comes out, whole shards only, keyed by weights."""

import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from speechpress.compressor.evaluate import store as feature_store
from speechpress.compressor.evaluate.store import FeatureStore, Shelf, cache_folder, check_space, weights_key
from speechpress.runtime.errors import SpeechpressError


def frames(count, seed=0):
    return torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4000))
def test_what_is_put_in_comes_out_in_shards_of_any_size(tmp_path_factory, counts, shard_bytes):
    folder = tmp_path_factory.mktemp("store")
    before = feature_store.SHARD_BYTES
    feature_store.SHARD_BYTES = shard_bytes
    try:
        shelf = Shelf(folder, "frames")
        for seed, count in enumerate(counts):
            shelf.put(f"s{seed}", frames(count, seed))
            assert np.allclose(shelf.get(f"s{seed}"), frames(count, seed), atol=2e-3)  # also before it is on disk
        shelf.flush()
    finally:
        feature_store.SHARD_BYTES = before
    anew = Shelf(folder, "frames")
    for seed, count in enumerate(counts):
        found = anew.get(f"s{seed}")
        assert found.dtype == np.float16 and np.allclose(found, frames(count, seed), atol=2e-3)
        assert isinstance(found.base, np.memmap) or isinstance(found, np.memmap)


def test_both_kinds_and_what_is_missing(tmp_path):
    store = FeatureStore(tmp_path, "key")
    store.shelves["means"].put("a", frames(1)[0])
    store.shelves["frames"].put("b", frames(5))
    assert store.missing(["a", "b"], "means") == ["b"] and store.missing(["a", "b"], "frames") == ["a"]
    store.flush()
    again = FeatureStore(tmp_path, "key")
    assert torch.equal(again.means(["a"]), frames(1)) and again.frames("b").shape == (5, 3, 4)
    assert FeatureStore(tmp_path, "another").missing(["a"], "means") == ["a"]


def test_rows_without_an_index_are_not_seen_and_damage_is_said(tmp_path):
    shelf = Shelf(tmp_path, "means")
    shelf.put("a", frames(1)[0])
    shelf.flush()
    (index,) = tmp_path.glob("means-*.json")
    index.rename(tmp_path / "kept")
    assert "a" not in Shelf(tmp_path, "means")
    (tmp_path / "kept").rename(index)
    index.with_suffix(".npy").write_bytes(b"nothing")
    with pytest.raises(SpeechpressError, match=r"delete the folder .*it is a cache"):
        Shelf(tmp_path, "means").get("a")


def test_a_store_that_two_runs_fill_at_once_keeps_both(tmp_path):
    one, other = Shelf(tmp_path, "means"), Shelf(tmp_path, "means")
    one.put("a", frames(1)[0])
    other.put("b", frames(1, 1)[0])
    one.flush()
    other.flush()
    both = Shelf(tmp_path, "means")
    assert "a" in both and "b" in both


def test_the_key_is_that_of_every_weight_and_of_what_else_decides():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    key = weights_key(model, "encoder", 16)
    assert key == weights_key(model, "encoder", 16) != weights_key(model, "encoder", 8)
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert weights_key(model, "encoder", 16) != key


def test_the_disk_must_have_room(tmp_path):
    check_space(tmp_path / "new", 1000.0)
    with pytest.raises(SpeechpressError, match=r"features need 10 TB, and 537 MB beside .*--cache.*--layers last"):
        check_space(tmp_path, 1e13)


@pytest.mark.parametrize(
    ("free", "fits", "refused", "said"),
    [
        (100_000, 0, 90_000, "need 90 kB, and 22.5 kB beside them stay free, but only 100 kB"),
        (300_000_000, 300_000, 250_000_000, "need 250 MB, and 62.5 MB beside them stay free, but only 300 MB"),
        (10_000_000_000, 9_400_000_000, 9_500_000_000, "need 9.5 GB, and 537 MB beside them stay free, but only 10 GB"),
    ],
)
def test_what_must_stay_free_follows_from_what_is_needed(tmp_path, monkeypatch, free, fits, refused, said):
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real._replace(free=free))
    check_space(tmp_path, fits)
    with pytest.raises(SpeechpressError, match=re.escape(said)):
        check_space(tmp_path, refused)


def test_the_cache_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "speechpress" / "features"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-4:] == ("Library", "Caches", "speechpress", "features")
