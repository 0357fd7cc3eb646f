"""The measuring program as the far side runs it: a process of its own, with what a board has and nothing more."""

import json
import subprocess
import sys

import pytest
from bundled import CHUNK_MS, copied

from speechpress.runtime.bundle import digest

# A board has numpy, torch and ExecuTorch only.
BARE = (
    "import sys, runpy\n"
    "for name in ('soxr', 'safetensors', 'lhotse', 'transformers', 'typer', 'rich'): sys.modules[name] = None\n"
    "sys.argv = ['measure', *sys.argv[1:]]\n"
    "runpy.run_module('speechpress.runtime.measure', run_name='__main__')\n"
)


def settings_of(bundle, **changes):
    plain = {"chunk_ms": CHUNK_MS, "threads": 1, "cores": None, "paces": ["flat", "real"]}
    return {
        **plain,
        "chunks": {"flat": 3, "real": 3},
        "duration_s": None,
        "warmup": 1,
        "trace": None,
        "bundle": str(bundle),
        **changes,
    }


def run(phase, tmp_path, settings, listened=True):
    """Its events and its exit code; it goes on while its input is open."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    command = [sys.executable, "-c", BARE, phase, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not listened:
        process.stdin.close()
    lines, said = process.stdout.read().decode().splitlines(), process.stderr.read().decode()
    code = process.wait()
    if listened:
        process.stdin.close()
    return {event["event"]: event for event in map(json.loads, lines)}, code, said


def test_the_golden_clip_needs_nothing_but_numpy_torch_and_executorch(small_bundle, tmp_path):
    events, code, said = run("golden", tmp_path, settings_of(small_bundle))
    assert code == 0, said
    assert events["golden"]["ok"] and events["golden"]["method"] == "step_4"
    assert events["golden"]["max_abs"] <= 1e-4


def test_chunks_are_timed_at_both_paces(small_bundle, tmp_path):
    events, code, said = run("time", tmp_path, settings_of(small_bundle))
    assert code == 0, said
    assert events["load"]["load_ms"] > 0 and events["load"]["first_chunk_ms"] > 0
    assert events["end"]["peak_rss_bytes"] > events["load"]["base_rss_bytes"] > 0
    # The last of two paces: no chunk begins before its audio has been heard.
    assert events["paced"]["pace"] == "real"
    assert events["paced"]["wall_s"] >= 3 * CHUNK_MS / 1000


def test_no_chunk_begins_before_its_audio_has_been_heard(small_bundle, tmp_path):
    """Chunk i is heard when i + 1 chunks of time are over, not i."""
    events, code, said = run("time", tmp_path, settings_of(small_bundle, paces=["real"]))
    assert code == 0, said
    starts_s = events["chunks"]["start_s"]
    assert len(starts_s) == 3
    assert all(start_s >= (place + 1) * CHUNK_MS / 1000 for place, start_s in enumerate(starts_s))


def test_it_ends_when_nobody_listens(small_bundle, tmp_path):
    settings = settings_of(small_bundle, duration_s=3600.0, paces=["real"])
    events, code, said = run("time", tmp_path, settings, listened=False)
    assert code == 0 and events["end"]["stopped"], said


def test_a_clip_that_does_not_match_is_told(small_bundle, tmp_path):
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / "bundle.json").read_text()) | {"tolerance": {"max_abs": 1e-12}}
    document["digest"] = digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))
    events, code, _ = run("golden", tmp_path, settings_of(folder))
    assert code == 0 and not events["golden"]["ok"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bundle": "/nothing"}, "no such folder"),
        ({"chunk_ms": 100}, "runs chunks of 80 ms"),
        ({"cores": [4095]}, "--cores: [4095] are not available"),
    ],
)
def test_what_cannot_be_is_one_clear_event(small_bundle, tmp_path, changes, said):
    events, code, _ = run("golden", tmp_path, {**settings_of(small_bundle), **changes})
    assert code == 1 and said in events["error"]["message"]


def test_a_trace_is_written(small_bundle, tmp_path):
    path = tmp_path / "trace.etdp"
    events, code, said = run("trace", tmp_path, settings_of(small_bundle, trace=str(path)))
    assert code == 0 and events["traced"]["path"] == str(path) and path.stat().st_size > 1000, said
