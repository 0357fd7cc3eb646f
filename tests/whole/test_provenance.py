"""Every results file says where it comes from, and the benchmarks write it so."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_results_file_says_where_it_comes_from(path):
    document = json.loads(path.read_text())
    found = document["provenance"]
    for one in found["parts"].values() if "parts" in found else [found]:
        if "unknown_before" in one:  # of before results said it: the commit and the time of their last change
            assert len(one["last_changed_in"]) == 40 and one["unknown_before"].startswith("20")
        else:
            assert {"commit", "dirty", "date", "machine", "versions", "others_cpu_share"} <= set(one)
    if "parts" in found:
        assert set(found["parts"]) == set(document) - {"provenance"}


@pytest.fixture
def common(tmp_path, monkeypatch):
    """benchmarks/common.py, which writes elsewhere."""
    spec = importlib.util.spec_from_file_location("common_of_benchmarks", ROOT / "benchmarks" / "common.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def test_a_file_of_one_run_has_its_commit_date_machine_versions_and_load(common):
    common.write("one", {"value": 3})
    document = common.read("one")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = document["provenance"]
    assert document["value"] == 3 and found["commit"] == (head.stdout.strip() or None)
    assert found["date"].startswith("20") and found["machine"]["cores"] >= 1 and found["others_cpu_share"] >= 0
    assert found["versions"]["torch"] and found["versions"]["executorch"] and "speechpress" in found["versions"]


def test_parts_keep_their_own_provenance(common, monkeypatch):
    common.RESULTS.mkdir()
    old = {"provenance": {"unknown_before": "2026-01-01"}, "machine": {"cpu": "old"}, "time": 1, "steps": 2}
    (common.RESULTS / "two.json").write_text(json.dumps(old))
    monkeypatch.setattr(common, "provenance", lambda: {"commit": "new"})
    parts = common.Parts("two")
    assert dict(parts) == {"time": 1, "steps": 2}
    parts.put(time=5)
    document = common.read("two")
    assert document["time"] == 5 and document["provenance"]["parts"]["time"] == {"commit": "new"}
    kept = document["provenance"]["parts"]["steps"]
    assert kept == {"unknown_before": "2026-01-01", "machine": {"cpu": "old"}}
    monkeypatch.setattr(common, "provenance", lambda: {"commit": "newer"})
    common.Parts("two").put(more=1)
    assert {name: part.get("commit") for name, part in common.read("two")["provenance"]["parts"].items()} == {
        "time": "new",
        "steps": None,
        "more": "newer",
    }


def test_parts_of_two_scripts_at_once_are_all_kept(common):
    common.RESULTS.mkdir()
    first, second = common.Parts("both"), common.Parts("both")
    first.put(one=1)
    second.put(two=2)
    assert (dict(first), dict(second)) == ({"one": 1}, {"one": 1, "two": 2})
    document = common.read("both")
    assert set(document) == set(document["provenance"]["parts"]) | {"provenance"} == {"one", "two", "provenance"}


def test_every_benchmark_writes_through_the_common_door():
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        text = path.read_text()
        writes = re.search(r"(?m)results/\w+\.json", text) and "def main" in text
        if writes and path.name != "common.py":
            assert re.search(r"import .*\b(write|Parts|common)\b", text), f"{path.name} names a results file of its own"
