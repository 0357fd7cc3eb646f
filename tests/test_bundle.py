import json

import numpy as np
import pytest
from bundled import CHUNK_MS, copied

from speechpress.compressor.show import show
from speechpress.runtime.bundle import check_hashes, digest, newest_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.verify import verify


def rewrite(folder, sign=True, **changes):
    path = folder / "bundle.json"
    document = json.loads(path.read_text()) | changes
    if sign:
        document["digest"] = digest(document)
    path.write_text(json.dumps(document))


def failed(result):
    return [check["name"] for check in result["checks"] if not check["ok"]]


def test_a_bundle_says_everything(small_bundle):
    bundle = read_bundle(small_bundle)
    check_hashes(bundle)
    document = bundle.document
    assert document["schema"] == 1 and document["name"] == "small" and document["quantize"] == "none"
    assert document["target"]["name"] == "host" and document["lineage"]["steps"] == 3
    assert bundle.chunks_ms == (CHUNK_MS,)
    spec, stream = bundle.spec(), document["streams"][0]
    assert (spec.chunk_samples, spec.first_frame) == (stream["chunk_samples"], stream["first_frame"])
    assert [entry["name"] for entry in document["state"]][:3] == ["count", "end", "audio"]
    state = bundle.initial_state()
    assert state["end"].dtype == np.int64 and state["end"].shape == (1,) and state["features"].shape == (1, 15, 32)
    assert set(bundle.golden) == {"audio", "frames_offline", "frames_4"} and bundle.golden["audio"].shape == (32_000,)
    assert set(document["parity"]) == {"step_4", "offline"} == set(document["delegation"])


def test_show_tells_what_is_in_it(small_bundle, cli):
    assert show(str(small_bundle))["kind"] == "bundle"
    shown = cli("show", small_bundle).stdout
    assert "host" in shown and "80 ms" in shown


def test_a_whole_bundle_passes(small_bundle):
    result = verify(small_bundle)
    assert result["ok"] and {"document", "hashes", "constants"} <= {check["name"] for check in result["checks"]}
    assert {"golden clip, step_4", "golden clip, offline"} <= {check["name"] for check in result["checks"]}


def test_a_change_by_hand_is_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, sign=False, quantize="int8")
    with pytest.raises(SpeechpressError, match="changed after the export"):
        read_bundle(folder)
    assert failed(verify(folder)) == ["document"]


def test_a_newer_schema_is_refused(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, schema=2)
    with pytest.raises(SpeechpressError, match=r"schema 2.*upgrade"):
        read_bundle(folder)


def test_a_program_that_was_cut_short_is_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    program = folder / "encoder.pte"
    program.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(SpeechpressError, match="cut short"):
        read_bundle(folder)


def test_a_flipped_byte_is_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    data = bytearray((folder / "golden.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "golden.safetensors").write_bytes(data)
    with pytest.raises(SpeechpressError, match="damaged or was exchanged"):
        check_hashes(read_bundle(folder))
    assert "hashes" in failed(verify(folder))


def test_facts_that_the_program_contradicts_are_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, offline={**read_bundle(folder).document["offline"], "max_samples": 999_999})
    assert failed(verify(folder)) == ["constants"]


def test_a_golden_clip_out_of_tolerance_fails(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, tolerance={"max_abs": 1e-12})
    assert failed(verify(folder)) == ["golden clip, step_4", "golden clip, offline"]


def test_a_chunk_that_it_was_not_exported_for(small_bundle):
    with pytest.raises(SpeechpressError, match=r"runs chunks of 80 ms, not of 100 ms.*--chunk-ms 100"):
        read_bundle(small_bundle).spec(100)


@pytest.mark.parametrize(("name", "words"), [("nothing", "no such folder"), (".", "is no bundle")])
def test_what_is_no_bundle(tmp_path, name, words):
    with pytest.raises(SpeechpressError, match=words):
        verify(tmp_path / name)


def test_the_newest_is_found(small_bundle, tmp_path):
    with pytest.raises(SpeechpressError, match="none under"):
        newest_bundle(tmp_path)
    assert newest_bundle(small_bundle.parent) == small_bundle


def test_the_command_says_what_fails(small_bundle, tmp_path, cli):
    folder = copied(small_bundle, tmp_path)
    done = cli("verify", folder, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done.stderr
    rewrite(folder, sign=False, name="other")
    done = cli("verify", folder, "--json")
    assert done.returncode == 3 and not json.loads(done.stdout)["ok"]
