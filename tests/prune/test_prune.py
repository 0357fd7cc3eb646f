import json
import re

import pytest
import torch

from speechpress.compressor.cli.show import show
from speechpress.compressor.cli.show_tables import _lineage_rows, show_table
from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_checkpoint, read_json, sha256
from speechpress.compressor.prune.options import PrunePlan, PruneTarget
from speechpress.compressor.prune.prune import prune
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.errors import SpeechpressError

HALF = PruneTarget("sparsity", 0.4)


@pytest.fixture(scope="module")
def student(tiny_teacher, few_clips, tmp_path_factory):
    """A streaming student of the tiny teacher after three steps."""
    out = tmp_path_factory.mktemp("runs") / "student"
    sets = ["train.steps=3", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=3"]
    recipe = load_recipe("distilhubert-streaming", [f"teacher={tiny_teacher}", *sets, "train.lr=1e-3"])
    return distill(recipe, RunOptions((few_clips,), out, "cpu"), lambda event: None).out


def run(plan, out, data=(), **options):
    said, events = [], []
    document = prune(plan, RunOptions(tuple(data), out, "cpu", **options), events.append, said.append)
    return document, said, events


def test_by_magnitude_without_speech(student, tmp_path):
    document, _, _ = run(PrunePlan(student, HALF, "magnitude"), tmp_path / "small")
    opened = load_checkpoint(tmp_path / "small")
    config = opened.encoder.config
    whole = costs.parameters(load_checkpoint(student).encoder.config)
    assert document["parameters"] == costs.parameters(config) and 0.5 < document["parameters"] / whole <= 0.6
    assert document["macs_per_s"] == costs.macs_per_s(config) and document["size_bytes"] == costs.size_bytes(config)
    assert opened.card["parents"][0]["sha256"] == sha256(student / "model.safetensors")
    assert opened.card["prune"]["method"] == "magnitude" and len(opened.card["prune"]["units"]["conv"]) == 7
    assert not config.blockers and opened.encoder(torch.randn(1, 8000), chunk_frames=4).isfinite().all()


def test_by_taylor_then_recovered_with_its_own_recipe(student, few_clips, tmp_path):
    out = tmp_path / "small"
    plan = PrunePlan(student, PruneTarget("macs_per_s", 0.7 * show(str(student))["macs_per_s"]), recover=4)
    document, said, _ = run(plan, out, [few_clips])
    assert document["finished"] and document["recovery_steps"] == 4 and any("taylor" in line for line in said)
    card, cut_folder = read_json(out / "card.json"), tmp_path / "small-cut"
    assert [parent["path"] for parent in card["parents"]] == [str(cut_folder), str(student)]
    assert card["prune"] == read_json(cut_folder / "card.json")["prune"] == document["prune"]
    assert not [note for note in card["notes"] if note.startswith("init")]  # every tensor came from the cut_folder
    before, after = (load_checkpoint(folder).encoder for folder in (cut_folder, out))
    assert before.config == after.config
    assert not torch.equal(
        before.state_dict()["encoder.layer_norm.weight"], after.state_dict()["encoder.layer_norm.weight"]
    )
    assert read_json(cut_folder / "card.json")["valid"]["end"] == card["valid"]["start"]
    told = show(str(out))
    assert told["prune"]["method"] == "taylor" and told["parents"][1]["path"] == str(student)
    assert show_table(told)


def test_layers_go_where_the_loss_minds_least(student, few_clips, tmp_path):
    plan = PrunePlan(student, PruneTarget("sparsity", 0.5), layers=1)
    document, said, _ = run(plan, tmp_path / "small", [few_clips])
    config = load_checkpoint(tmp_path / "small").encoder.config
    assert config.num_layers == 1 and document["prune"]["layers_kept"] in ([1], [2])
    assert document["parameters"] <= 0.5 * document["before"]["parameters"]
    assert any("matters least" in line for line in said)
    with pytest.raises(SpeechpressError, match="must be 1 to 1"):
        run(PrunePlan(student, HALF, layers=2), tmp_path / "none", [few_clips])
    with pytest.raises(SpeechpressError, match="--layers needs --method taylor"):
        run(PrunePlan(student, HALF, "magnitude", layers=1), tmp_path / "none", [few_clips])


@pytest.mark.parametrize("method", ["taylor", "magnitude"])
def test_a_narrower_student_reaches_what_units_alone_cannot(student, few_clips, tmp_path, method):
    little = PruneTarget("sparsity", 0.9)
    with pytest.raises(SpeechpressError, match=r"cannot be reached.*Take out dimensions of the width \(--width\)"):
        run(PrunePlan(student, little, method), tmp_path / "none", [few_clips])
    plan = PrunePlan(student, little, method, width=8, recover=2)
    document, said, _ = run(plan, tmp_path / "small", [few_clips])
    assert document["prune"]["width"] == [load_checkpoint(student).encoder.config.width, 8]
    assert document["parameters"] <= 0.1 * document["before"]["parameters"]
    assert any("dimensions of the width" in line for line in said)
    assert ("width", "8 of 32") in _lineage_rows(show(str(tmp_path / "small")))
    cut_folder = read_json(tmp_path / "small-cut" / "card.json")
    assert cut_folder["valid"]["end"] == document["valid"]["start"]  # the recovery began with the heads that were cut
    with pytest.raises(SpeechpressError, match="must be less than"):
        run(PrunePlan(student, HALF, method, width=10_000), tmp_path / "none", [few_clips])


@pytest.mark.parametrize("method", ["parp", "one-shot"])
def test_unstructured_zeros_are_reported_per_layer(student, few_clips, tmp_path, method):
    document, _, _ = run(
        PrunePlan(student, PruneTarget("sparsity", 0.5), method, recover=4), tmp_path / "sparse", [few_clips]
    )
    pruned = read_json(tmp_path / "sparse" / "card.json")["prune"]
    assert pruned["sparsity"] == pytest.approx(0.5, abs=1e-3) and len(pruned["layers"]) > 10
    assert any("no program faster" in note for note in document["notes"])
    encoder = load_checkpoint(tmp_path / "sparse").encoder
    name, share = next(iter(pruned["layers"].items()))
    assert float((encoder.get_submodule(name).weight == 0).float().mean()) == pytest.approx(share)


def test_what_was_pruned_otherwise_is_not_gone_on_with(student, few_clips, tmp_path):
    run(PrunePlan(student, HALF, "magnitude", recover=2), tmp_path / "small", [few_clips])
    with pytest.raises(SpeechpressError, match="was pruned otherwise"):
        run(
            PrunePlan(student, PruneTarget("sparsity", 0.3), "magnitude", recover=2),
            tmp_path / "small",
            [few_clips],
            resume=True,
        )
    with pytest.raises(SpeechpressError, match="not empty"):
        run(PrunePlan(student, HALF, "magnitude", recover=2), tmp_path / "small", [few_clips])
    again, _, _ = run(PrunePlan(student, HALF, "magnitude", recover=2), tmp_path / "small", [few_clips], overwrite=True)
    assert again["finished"]


def test_resumed_recovery_gives_the_very_same_weights(student, few_clips, tmp_path):
    plan = PrunePlan(student, HALF, "magnitude", recover=6)
    run(plan, tmp_path / "whole", [few_clips])

    class StopError(Exception):
        pass

    def stop(event):
        if event["event"] == "saved" and event["step"] == 3:
            raise StopError

    with pytest.raises(StopError):
        prune(plan, RunOptions((few_clips,), tmp_path / "cut", "cpu"), stop, str)
    document, _, _ = run(plan, tmp_path / "cut", [few_clips], resume=True)
    one, two = (load_checkpoint(tmp_path / name).encoder.state_dict() for name in ("whole", "cut"))
    assert document["finished"] and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"target": PruneTarget("parameters", 1e9)}, r"target is 1000.000 M parameters, but the checkpoint has only"),
        ({"target": PruneTarget("macs_per_s", 1e12)}, "nothing to prune"),
        ({"target": PruneTarget("sparsity", 0.99), "method": "magnitude"}, r"nearest is --sparsity 0\.\d"),
        ({"target": HALF, "method": "taylor"}, "needs speech: give --data FOLDER, or --starter"),
        ({"target": HALF, "method": "magnitude", "recover": 3}, r"distillation \(--recover\) needs speech"),
        (
            {"target": PruneTarget("parameters", 1e4), "method": "parp", "recover": 3},
            "changes no cost; give --sparsity",
        ),
        ({"target": HALF, "method": "one-shot"}, "--steps 1000"),
        (
            {"target": PruneTarget("latency_ms", 1.0, "host"), "method": "magnitude", "quantize": "int7"},
            "no quantisation",
        ),
        ({"target": PruneTarget("latency_ms", 1.0, "host"), "method": "magnitude", "chunk_ms": 3.0}, "whole frames"),
    ],
)
def test_what_cannot_be_done_is_said(student, few_clips, tmp_path, plan, said):
    data = () if "needs speech" in said else (few_clips,)
    with pytest.raises(SpeechpressError, match=said):
        run(PrunePlan(student, **plan), tmp_path / "none", data)
    assert not (tmp_path / "none").exists()


def test_the_source_is_never_overwritten(student, tmp_path):
    with pytest.raises(SpeechpressError, match="is the checkpoint itself"):
        run(PrunePlan(student, HALF, "magnitude"), student, overwrite=True)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SpeechpressError, match="is not empty"):
        run(PrunePlan(student, HALF, "magnitude"), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_bundles_and_checkpoints_without_a_recipe_are_refused(small_bundle, small_checkpoint, few_clips, tmp_path):
    with pytest.raises(SpeechpressError, match=r"is a bundle.*prune the checkpoint"):
        run(PrunePlan(small_bundle, HALF), tmp_path / "none", [few_clips])
    with pytest.raises(SpeechpressError, match=r"its card holds no recipe.*--method magnitude --recover 0"):
        run(PrunePlan(small_checkpoint, HALF), tmp_path / "none", [few_clips])
    with pytest.raises(SpeechpressError, match="is not a checkpoint"):
        run(PrunePlan(tmp_path, HALF), tmp_path / "none", [few_clips])


def test_a_pruned_checkpoint_is_exported_and_equals_its_program(small_checkpoint, tmp_path):
    from bundled import export_small

    from speechpress.runtime.bundle import read_bundle
    from speechpress.runtime.verify import verify

    run(PrunePlan(small_checkpoint, PruneTarget("sparsity", 0.3), "magnitude"), tmp_path / "small")
    bundle = export_small(tmp_path / "small", tmp_path / "bundle", "none", offline_s=0)
    assert all(parity["max_abs"] < 1e-4 for parity in read_bundle(bundle).document["parity"].values())
    assert read_bundle(bundle).document["lineage"]["parents"][0]["sha256"] and verify(bundle, 1)["ok"]


def test_time_is_measured_on_this_very_machine(small_checkpoint, tmp_path):
    """That it was measured is told, not how fast it is."""
    said = []
    plan = PrunePlan(small_checkpoint, PruneTarget("latency_ms", 1e3, "host"), "magnitude", chunk_ms=80.0)
    with pytest.raises(SpeechpressError, match=r"takes only \d+\.\d+ ms; nothing to prune"):
        prune(plan, RunOptions((), tmp_path / "small", "cpu"), lambda event: None, said.append)
    known = re.search(r"chunk of 80 ms, none, 1 thread; of (\d+)% of it the module is known", said[-1])
    assert int(known[1]) > 50


def test_the_command_line_prints_one_document(student, cli, tmp_path):
    done = cli("prune", student, "--sparsity", 0.4, "--method", "magnitude", "--out", "small", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"out", "parameters", "macs_per_s", "size_bytes"} <= document.keys()
    assert cli("show", "small").returncode == 0
    for words, said in ((["--to-macs", "1.2Q"], "1.2Q"), (["--to-latency", "5ms"], "names no device")):
        failed = cli("prune", student, *words)
        assert failed.returncode == 1 and said in failed.stderr and "Traceback" not in failed.stderr
    failed = cli("prune", student, "--sparsity", 0.4, "--method", "tailor")
    assert failed.returncode == 1 and "Did you mean 'taylor'" in failed.stderr
