import hashlib
import json
import os

import numpy as np
import pytest
from bundled import CHUNK_MS, copied
from safetensors.numpy import save_file

from speechpress.compressor.cli.show import show
from speechpress.runtime.bundle import check_hashes, digest, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.program_checks import checks, run_apart
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
    rewrite(folder, schema=3)
    with pytest.raises(SpeechpressError, match=r"schema 3.*upgrade"):
        read_bundle(folder)


def test_a_program_that_was_cut_short_is_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    program = folder / "encoder.pte"
    program.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(SpeechpressError, match="truncated"):
        read_bundle(folder)


def test_a_flipped_byte_is_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    data = bytearray((folder / "golden.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "golden.safetensors").write_bytes(data)
    with pytest.raises(SpeechpressError, match="damaged or was replaced"):
        check_hashes(read_bundle(folder))
    with pytest.raises(SpeechpressError, match="damaged or was replaced"):
        _ = read_bundle(folder).golden
    assert verify(folder)["checks"][-1]["name"] == "hashes" and failed(verify(folder)) == ["hashes"]


def test_facts_that_the_program_contradicts_are_noticed(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, offline={**read_bundle(folder).document["offline"], "max_samples": 128_000, "max_s": 8.0})
    assert failed(verify(folder)) == ["constants"]


def test_a_golden_clip_out_of_tolerance_fails(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    rewrite(folder, tolerance={"max_abs": 1e-12})
    assert failed(verify(folder)) == ["golden clip, step_4", "golden clip, offline"]


def test_a_chunk_that_it_was_not_exported_for(small_bundle):
    with pytest.raises(SpeechpressError, match=r"runs chunks of 80 ms, not of 100 ms.*--chunk-ms 100"):
        read_bundle(small_bundle).spec(100)


@pytest.mark.parametrize(("name", "words"), [("nothing", "no such folder"), (".", "is not a bundle")])
def test_what_is_no_bundle(tmp_path, name, words):
    with pytest.raises(SpeechpressError, match=words):
        verify(tmp_path / name)


def test_the_command_says_what_fails(small_bundle, tmp_path, cli):
    folder = copied(small_bundle, tmp_path)
    done = cli("verify", folder, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done.stderr
    rewrite(folder, sign=False, name="other")
    done = cli("verify", folder, "--json")
    assert done.returncode == 3 and not json.loads(done.stdout)["ok"]


def test_a_damaged_program_is_never_run(small_bundle, tmp_path, cli):
    """Flipped where ExecuTorch itself does not look and ends the process."""
    folder = copied(small_bundle, tmp_path)
    data = bytearray((folder / "encoder.pte").read_bytes())
    data[len(data) // 3] ^= 16
    (folder / "encoder.pte").write_bytes(data)
    done = cli("verify", folder, "--json")
    assert done.returncode == 3, done.stderr
    assert [check["name"] for check in json.loads(done.stdout)["checks"]] == ["document", "hashes"]
    assert "Traceback" not in done.stderr


def resign_program(folder, data):
    (folder / "encoder.pte").write_bytes(data)
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    rewrite(folder, files={**json.loads((folder / "bundle.json").read_text())["files"], "encoder.pte": facts})


def test_a_program_that_kills_its_process_is_a_failed_check(small_bundle, tmp_path, monkeypatch):
    """The child is the real one; only what it runs kills it."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'speechpress.runtime.program_checks' in sys.orig_argv:\n"
        '    print(\'{"name": "constants", "ok": true, "detail": "x"}\', flush=True)\n'
        "    print('{\"name\": \"cut', end='', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hook))
    result = verify(small_bundle)
    assert failed(result) == ["program"] and "SIGSEGV" in result["checks"][-1]["detail"]
    assert [check["name"] for check in result["checks"]] == ["document", "hashes", "constants", "program"]


def test_a_program_that_hangs_is_a_failed_check(small_bundle):
    found = run_apart(read_bundle(small_bundle), 1, patience_s=0.05)
    assert [check["ok"] for check in found] == [False] and "not ended after 0.05 s" in found[0]["detail"]


def test_programs_that_are_damaged_but_signed_never_take_verify_along(small_bundle, tmp_path):
    """Whatever ExecuTorch makes of them, a report comes."""
    folder = copied(small_bundle, tmp_path)
    whole = (folder / "encoder.pte").read_bytes()
    for data in (whole[: len(whole) // 2], b"\0" * len(whole), whole[:200] + bytes(2000) + whole[2200:]):
        resign_program(folder, data)
        result = verify(folder)
        assert not result["ok"] and result["checks"][1] == {"name": "hashes", "ok": True, "detail": "as exported"}


def test_a_bundle_that_does_not_run_here_is_not_said_to_be_ok(small_bundle, tmp_path, cli):
    folder = copied(small_bundle, tmp_path)
    target = {"name": "ios-coreml", "backend": "vulkan", "description": "x", "runs_here": True}
    rewrite(folder, target=target)
    result = verify(folder)
    assert result["ok"] and result["checks"][-1]["ok"] is None and result["checks"][-1]["skipped"]
    done = cli("verify", folder)
    (line,) = [line for line in done.stdout.splitlines() if "golden clip" in line]
    assert done.returncode == 0 and line.startswith("not run here") and " ok " not in line


@pytest.mark.parametrize("name", ["bundle.json", "encoder.pte", "golden.safetensors"])
def test_a_pipe_in_a_bundle_is_not_waited_for(small_bundle, tmp_path, name):
    folder = copied(small_bundle, tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(SpeechpressError, match="is a named pipe, but must be a file"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("frames_4"), "has no frames_4"),
        (lambda tensors: tensors.update(audio=tensors["audio"][None]), "has no audio"),
        (lambda tensors: tensors.update(frames_4=tensors["frames_4"][:, :-1]), "frames_4 is 31 wide instead of 32"),
        (lambda tensors: tensors.update(audio=tensors["audio"].astype(np.float64)), "has no audio in float32"),
    ],
)
def test_a_golden_clip_that_lacks_something(small_bundle, tmp_path, change, said):
    folder = copied(small_bundle, tmp_path)
    tensors = dict(read_bundle(folder).golden)
    change(tensors)
    resign_golden(folder, tensors)
    with pytest.raises(SpeechpressError, match=said):
        _ = read_bundle(folder).golden


def test_frames_a_little_beyond_the_limit_fail(small_bundle, tmp_path):
    """Three limits off, by a real program: what a limit that is a thousand times too large would let through."""
    folder = copied(small_bundle, tmp_path)
    bundle = read_bundle(folder)
    off = bundle.golden["frames_4"] + np.float32(3 * bundle.document["tolerance"]["max_abs"])
    resign_golden(folder, {**bundle.golden, "frames_4": off})
    found = {check["name"]: check["ok"] for check in checks(read_bundle(folder), 1)}
    assert not found["golden clip, step_4"] and found["golden clip, offline"] and found["constants"]


def resign_golden(folder, tensors):
    path = folder / "golden.safetensors"
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    data = path.read_bytes()
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    rewrite(folder, files={**json.loads((folder / "bundle.json").read_text())["files"], "golden.safetensors": facts})
