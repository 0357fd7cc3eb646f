"""The public door: what `import speechpress` gives."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import speechpress

ROOT = Path(__file__).parents[2]
NAMES = {
    *("load_recipe", "load_teacher", "load_encoder", "load_bundle"),
    *("distill", "prune", "quantize", "export", "extract", "evaluate", "verify", "profile"),
    *("distill", "prune", "quantize", "export", "head", "evaluate", "verify", "profile", "push"),
    *("StreamingExtractor", "SpeechpressError", "__version__"),
}


def test_the_door_has_exactly_these_names():
    assert set(speechpress.__all__) == set(dir(speechpress)) == NAMES
    assert len(speechpress.__all__) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_resolves_and_says_what_it_is_for(name):
    value = getattr(speechpress, name)
    assert isinstance(value, str) or (inspect.getdoc(value) or "").strip()


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"'distil'.*distill"):
        speechpress.distil  # noqa: B018


def test_the_version_is_the_distribution_s_and_the_command_prints_it(cli):
    done = cli("--version")
    assert done.returncode == 0 and done.stdout.strip().endswith(speechpress.__version__)


def test_documentation_takes_these_names_from_the_door():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("speechpress."):
                    deeper = {alias.name for alias in node.names} & NAMES
                    assert not deeper, f"{path.name}: {node.module} for {deeper}"


def test_a_type_checker_sees_every_name():
    names = set(re.findall(r"^    from \S+ import (.*)$", (ROOT / "compressor/api/__init__.py").read_text(), re.M))
    typed = {name.strip() for line in names for name in line.split(",")}
    assert typed | {"__version__"} >= NAMES


def test_importing_the_door_is_quick_because_it_loads_nothing():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import speechpress"], capture_output=True, text=True, check=True
    )
    ours = [line for line in done.stderr.splitlines() if re.search(r"\bspeechpress\b", line)]
    assert len(ours) == 1, ours  # the package itself and no module of it


def test_the_chain_runs_through_the_door(tiny_teacher, few_clips, tmp_path):
    small = ["match.layers=[2, 4]", "match.depth=4", "train.steps=2", "train.batch=2", "train.crop_s=1"]
    heard = []
    made = speechpress.distill(
        "distilhubert-streaming",
        data=few_clips,
        out=tmp_path / "run",
        teacher=str(tiny_teacher),
        changes=small,
        on_event=lambda event: heard.append(event["event"]),
    )
    assert made["steps"] == 2 and "plan" in heard and heard[-1] == "end"
    pruned = speechpress.prune(tmp_path / "run", to_params="24K", out=tmp_path / "pruned", data=few_clips, recover=0)
    assert pruned["parameters"] < made["parameters"]
    quantized = speechpress.quantize(tmp_path / "run", "int8", out=tmp_path / "int8")
    assert quantized["out"] == str(tmp_path / "int8")
    document = speechpress.export(
        tmp_path / "run", "host", chunk_ms=(320,), offline_s=0, out=tmp_path / "bundle", allow_fallback=True
    )
    assert document["parity"]["max_abs"] < 1e-3
    assert speechpress.verify(tmp_path / "bundle")["ok"]
    record = speechpress.profile(tmp_path / "bundle", chunks=5, pace="flat")
    assert record["result"]["p50_ms"] > 0
    stream = speechpress.StreamingExtractor(speechpress.load_bundle(tmp_path / "bundle"))
    assert stream.latency()["chunk_ms"] == 320


def test_a_student_is_a_module_that_can_be_fine_tuned(tiny_teacher):
    import torch

    encoder = speechpress.load_encoder(tiny_teacher)
    head = torch.nn.Linear(encoder.config.width, 3)
    waves, lengths = torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    frames = encoder(waves, lengths)
    assert frames.shape == (2, 49, encoder.config.width)
    torch.nn.functional.cross_entropy(head(frames.mean(1)), torch.tensor([0, 2])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.encoder.layers.parameters())
