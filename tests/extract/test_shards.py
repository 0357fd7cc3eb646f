"""Shards as jobs in processes: together they are one extraction."""

from dataclasses import replace

import numpy as np
import pytest
from bundled import SMALL, make
from extracted import corpus, read_index

from speechpress.compressor.extract.extract import extract
from speechpress.compressor.extract.options import ExtractOptions, Shard
from speechpress.compressor.extract.shards import extract_shards
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_encoder(folder, make(replace(SMALL, num_heads=(2, 2), ffn_widths=(64, 64))))
    write_json(folder / "card.json", {})
    return str(folder)


def test_shards_in_processes_are_one_extraction_and_go_on(model, tmp_path):
    speech = corpus(tmp_path / "speech")
    plain = extract(model, [speech], ExtractOptions(tmp_path / "plain", device="cpu"))
    options = ExtractOptions(tmp_path / "out", device="cpu")
    events = []
    # As a worker that was killed leaves its shard: begun, and one of its files gone.
    extract(model, [speech], replace(options, shard=Shard(2, 3)))
    lost, *_ = read_index(options.out, "index-2-of-3.jsonl").values()
    (options.out / lost["path"]).unlink()
    with pytest.raises(SpeechpressError, match=r"out: was already started\. Use --resume"):
        extract_shards(model, [speech], options, 3)
    found = extract_shards(model, [speech], replace(options, resume=True), 3, events.append, jobs=2)
    rows = {name: row for n in (1, 2, 3) for name, row in read_index(options.out, f"index-{n}-of-3.jsonl").items()}
    wanted = read_index(tmp_path / "plain")
    assert rows.keys() == wanted.keys()
    for name, row in rows.items():
        assert np.array_equal(np.load(options.out / row["path"]), np.load(tmp_path / "plain" / wanted[name]["path"]))
    for key in ("recordings", "frames", "size_bytes", "skipped"):
        assert found[key] == plain[key], key
    assert (found["written"], found["kept"], found["shard"], found["finished"]) == (5, 1, "1-3/3", True)
    assert sorted(event["shard"] for event in events if event["event"] == "shard") == ["1/3", "2/3", "3/3"]
    assert max(event["recordings"] for event in events if event["event"] == "done") == 6
    assert not (tmp_path / "out-jobs.log").exists()


def test_all_shards_and_one_contradict_each_other(tmp_path):
    with pytest.raises(SpeechpressError, match=r"--shards makes all of them; --shard is for one alone"):
        extract_shards("none", [], ExtractOptions(tmp_path / "out", shard=Shard(1, 2)), 2)
