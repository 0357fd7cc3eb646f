"""Every border where files come in, tried with what no good file has; see `hostile_documents` and `hostile_models`."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hostile_documents import MEMORY_BYTES

# Cases at least, and of how many one is tried: all 4,000 take two minutes (SPEECHPRESS_HOSTILE=all).
BORDERS = {
    "own_config": (500, 2),
    "card": (400, 3),
    "eval_file": (250, 4),
    "quantize": (150, 2),
    "profile": (1000, 9),
    "hub": (700, 5),
    "fairseq": (400, 5),
    "pickles": (120, 2),
}


@pytest.mark.parametrize("border", BORDERS)
def test_nothing_hostile_is_executed_accepted_or_ends_in_a_trace(border):
    least, every = BORDERS[border]
    every = 1 if os.environ.get("SPEECHPRESS_HOSTILE") == "all" else every
    here = Path(__file__).parents[1] / "helpers"
    done = subprocess.run(
        [sys.executable, here / "hostile_documents.py", border, str(every)],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) >= least // every
    bad = [row for row in rows if row["outcome"] in ("wrong", "trace", "hang")]
    assert not bad, "\n".join(f"{row['name']}: {row['outcome']} {row['text']}" for row in bad[:5])
    assert not [row["name"] for row in rows if row["executed"]]
    assert max(row["peak_bytes"] for row in rows) < MEMORY_BYTES
    assert not [row["name"] for row in rows if "weights_only" in row["text"]]  # torch's advice to run the file's code
    unnamed = [row for row in rows if row["outcome"] == "refused" and ": " not in row["text"]]
    assert not unnamed, unnamed[0]
    if border != "eval_file":  # an eval.json that cannot be used is as good as none
        assert Counter(row["outcome"] for row in rows)["refused"] > least // every // 2
