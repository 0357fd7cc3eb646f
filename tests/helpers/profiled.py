"""Records and devices that several tests share; records are made up, unless a test measures one itself."""

import copy
import os
import random
from pathlib import Path

from speechpress.devices import record as profile

CORE = {"name": "Cortex-A76", "max_khz": 2_400_000, "min_khz": 1_500_000, "governor": "ondemand", "capacity": None}
DEVICE = {
    "address": "ssh:pi@board",
    "known": "raspberry-pi-5",
    "model": "Raspberry Pi 5 Model B Rev 1.0",
    "chipset": "Cortex-A76",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "Linux 6.6.31",
    "abi": "arm64",
    "memory_bytes": 8_000_000_000,
    "cores": [{"core": number, **CORE} for number in range(4)],
    "load_1min": 0.1,
    "cpu_limit_cores": None,
    "on_battery": None,
    "power_saving": None,
    "throttled": False,
    "versions": {"python": "3.11.2", "executorch": "1.5.1", "torch": "2.13.0", "numpy": "2.0.0"},
}
SETTINGS = {
    "method": "step_16",
    "chunk_ms": 320.0,
    "threads": 1,
    "cores": None,
    "paces": ["real", "flat"],
    "chunks": {"real": 100, "flat": 100},
    "duration_s": None,
    "budget_ms": None,
    "warmup": 5,
    "per_op": False,
    "side": "python",
}
BUNDLE = {
    "name": "pocket",
    "path": "bundles/pocket",
    "digest": "d" * 64,
    "program_sha256": "a" * 64,
    "size_bytes": 34_400_000,
    "target": "raspberry-pi",
    "backend": "xnnpack",
    "quantize": "none",
    "method": "step_16",
    "lineage": {
        "checkpoint_sha256": "c" * 64,
        "recipe": "name: pocket\n",
        "teacher": {"source": "facebook/hubert-base-ls960"},
        "steps": 200_000,
        "data": {"source": "LibriSpeech"},
        "parents": [],
        "fidelity": {"4": {"cosine": 0.9}, "8": {"cosine": 0.8}},
        "parameters": 8_600_000,
    },
    "versions": {"executorch": "1.5.1", "torch": "2.13.0", "python": "3.11.7", "speechpress": "0.1.0"},
}


def latencies(middle_ms, count=100, seed=0):
    """Times around `middle_ms`, always the same."""
    draw = random.Random(seed)
    return [middle_ms * draw.uniform(0.97, 1.03) for _ in range(count)]


def made(middle_ms=10.0, seed=0, **bundle):
    """A finished record of a pocket student on a Raspberry Pi 5."""
    parity = {"max_abs": 1e-5, "snr_db": 110.0, "cosine": 1.0}
    accuracy = {"parity": parity, "tolerance": {"max_abs": 1e-4}, "delegated_time": 0.98}
    record = {
        "kind": profile.KIND,
        "schema": profile.SCHEMA,
        "created": f"2026-11-24T03:{seed:02d}:00+00:00",
        "finished": True,
        "stopped": None,
        "bundle": {**copy.deepcopy(BUNDLE), **bundle},
        "accuracy": {**accuracy, "fidelity": BUNDLE["lineage"]["fidelity"]},
        "device": copy.deepcopy(DEVICE),
        "settings": copy.deepcopy(SETTINGS),
        "golden": {"method": "step_16", **parity, "ok": True, "tolerance": {"max_abs": 1e-4}},
        "load": {"load_ms": 90.0, "first_chunk_ms": 25.0, "base_rss_bytes": 2e8, "peak_rss_bytes": 2.8e8},
        "paces": {"real": pace(latencies(middle_ms, seed=seed)), "flat": pace(latencies(0.8 * middle_ms, seed=seed))},
        "result": {},
        "operators": None,
        "warnings": [],
    }
    profile.settle(record)
    return record


def pace(ms, **sample):
    """One pace of a record; `sample` changes what its samples of the machine say."""
    plain = {"t_s": 1.0, "khz": {"0": 2_400_000}, "temp_c": 55.0, "others_cores": 0.02, **sample}
    start_s = [0.32 * (index + 1) for index in range(len(ms))]
    return {"start_s": start_s, "ms": ms, "samples": [plain] * 10, "wall_s": sum(ms) / 1000, "cpu_s": sum(ms) / 1000}


def program(folder: Path, name: str, script: str) -> Path:
    """An executable shell script, to stand first on PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def first_on_path(monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
