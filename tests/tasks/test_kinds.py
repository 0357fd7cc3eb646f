"""Kinds of task: every row is complete, and another one takes three files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechpress.compressor.evaluate.experts import HEADS
from speechpress.compressor.tasks.kinds import KINDS, is_error, quality

ROOT = Path(__file__).parents[2]


def test_every_kind_is_trained_on_frames_by_a_head_or_is_a_probe_or_a_search():
    assert set(HEADS) == {name for name, kind in KINDS.items() if kind.trained and kind.features == "frames"}
    assert {kind.features for kind in KINDS.values()} == {"means", "frames"}
    assert all(kind.better in ("higher", "lower") for kind in KINDS.values())


def test_kinds_that_share_a_metric_agree_on_what_is_good():
    for kind in KINDS.values():
        assert is_error(kind.metric) == (kind.better == "lower")
        assert quality(kind.metric, 0.25) == (0.75 if kind.better == "lower" else 0.25)


@pytest.mark.parametrize(
    ("kind", "hop", "count"), [("ctc", 320, 1), ("words", 320, 2), ("words", 160, 4), ("spell", 1280, 1)]
)
def test_frames_are_put_side_by_side_for_letters_only(kind, hop, count):
    assert KINDS[kind].stacked(hop) == count


ROW = """    "count": Kind("error", better="lower", chance=1.0),
"""
HEAD = '''

class CountHead(TaskHead):
    """How many frames are active, as the share of clips in which that is wrong."""

    statistic = staticmethod(lambda counts: float(counts[:, 0].mean()))

    def head(self) -> Head:
        return Activity(self.frames.layers, self.frames.width)

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        x, lengths = self.frames.batch(rows)
        wanted = torch.tensor([float(self.item(row).target) for row in rows])
        return (head(x, lengths).sigmoid().mean((1, 2)) - wanted).square().mean()

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            found = head(*self.frames.batch(numbers)).sigmoid().mean((1, 2))
            rows += [[abs(float(one) - self.item(n).target) > 0.25] for n, one in zip(numbers, found, strict=True)]
        return np.array(rows, float)


HEADS["count"] = CountHead
'''
CORPUS = '''

def counted(root: Path, sizes: Sizes) -> Task:
    """Silent clips and others."""
    rows = read_rows(root, "counted", "how-many", "share", "split")
    return checked(Task("how-many", "count", tuple(Item(clip(r["path"]), r["split"], float(r["share"])) for r in rows)))


MAKERS["how-many"] = counted
'''
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import soundfile
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import score_tasks, suite_entry
from speechpress.compressor.evaluate.features import LOG_MEL
from speechpress.compressor.tasks.suites import open_suite

root = Path(sys.argv[1])
folder = root / "counted"
folder.mkdir()
rows = ["path\\tshare\\tsplit"]
for split in ("train", "val", "test"):
    for n in range(8):
        wave = np.random.default_rng(n).standard_normal(8000) * (0.3 if n % 2 else 1e-4)
        soundfile.write(folder / f"{split}{n}.wav", wave, 16000)
        rows.append(f"{split}{n}.wav\\t{n % 2}\\t{split}")
(folder / "labels.tsv").write_text("\\n".join(rows) + "\\n")
tasks, _ = open_suite("mini", ["how-many"], root)
found = score_tasks({"logmel": LOG_MEL}, tasks, Budget(steps=40, batch=8, lrs=(1e-2,), seeds=1))
entry = suite_entry(tasks[0], found.scores["how-many"])
assert entry["metric"] == "error" and entry["better"] == "lower" and entry["chance"] == 1.0, entry
assert entry["logmel"] == 0 and entry["quality"]["logmel"] == 1, entry
"""


def test_a_kind_of_task_is_added_in_three_files(tmp_path):
    """In a copy of the package: a row of kinds, a head, a function for a corpus; then it is opened and solved."""
    package = tmp_path / "speechpress"
    shutil.copytree(
        ROOT / "compressor", package / "compressor", ignore=shutil.ignore_patterns("starter", "__pycache__")
    )
    (package / "compressor" / "starter").symlink_to(ROOT / "compressor" / "starter")
    (package / "runtime").symlink_to(ROOT / "runtime")
    (package / "__init__.py").touch()
    kinds, heads, corpus = (
        package / "compressor" / name for name in ("tasks/kinds.py", "evaluate/experts.py", "tasks/mini.py")
    )
    text = kinds.read_text()
    kinds.write_text(text.replace("KINDS = {\n", "KINDS = {\n" + ROW))
    heads.write_text(heads.read_text() + HEAD)
    corpus.write_text(corpus.read_text() + CORPUS)
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")],
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
