import pytest
import torch

from speechpress.compressor.cli.show import show_recipe
from speechpress.compressor.distill.folders import choose_folder
from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.run import RunOptions, gone_on
from speechpress.compressor.distill.stages import distill_in_stages
from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_checkpoint, read_json
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.errors import SpeechpressError

QUICK = ["train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=8", "train.lr=5e-4"]
GATES = ["train.steps=24", "train.warmup=0.05", "prune.sparsity=0.4", "prune.ramp=4", "prune.lr=0.8"]
FINAL = [
    "prune.final.steps=6",
    "train.checkpoint_every=4",
    "student.layers=4",
    "match.pairs=[[0,0],[2,2],[4,4]]",
    "match.projections=[0,1,1]",
]


def recipe(teacher, *settings):
    return load_recipe("dphubert", [f"teacher={teacher}", *QUICK, *GATES, *FINAL, *settings])


def run(loaded, clips, out, listen=lambda event: None, **options):
    return distill_in_stages(loaded, RunOptions((clips,), out, "cpu", **options), listen)


@pytest.fixture(scope="module")
def pruned(tiny_teacher, few_clips, tmp_path_factory):
    """A finished run in both stages."""
    out = tmp_path_factory.mktemp("runs") / "small"
    outcome = run(recipe(tiny_teacher), few_clips, out)
    assert outcome.finished
    return out


def test_the_student_is_pruned_and_then_distilled(pruned, tiny_config):
    first, second = (load_checkpoint(folder) for folder in (pruned.with_name("small-joint"), pruned))
    assert first.encoder.config == second.encoder.config and second.card["steps"] == 6 and first.card["steps"] == 24
    told = first.card["prune"]
    assert told["method"] == "l0" and 0.4 <= told["sparsity"] < 0.43 and told["expected_sparsity"] > 0.1
    assert costs.parameters(second.encoder.config) == told["parameters"][1] == second.card["parameters"]
    assert second.card["prune"] == told and second.card["parents"][0]["path"].endswith("small-joint")
    assert not [note for note in second.card["notes"] if note.startswith("init")]
    assert second.encoder(torch.randn(1, 8000)).isfinite().all()


def test_the_pruned_student_is_the_gated_one(pruned):
    """The last validation of the gated run, by masks, is the first one of the run with what was cut out of it."""
    first, second = (read_json(folder / "card.json") for folder in (pruned.with_name("small-joint"), pruned))
    for layer, end in first["valid"]["end"].items():
        assert second["valid"]["start"][layer]["cosine"] == pytest.approx(end["cosine"], abs=1e-5)


def test_the_log_tells_the_sparsity(pruned):
    events = MetricsLog(pruned.with_name("small-joint") / "metrics.jsonl").read()
    train = [event for event in events if event["event"] == "train"]
    assert train[0]["sparsity"] < train[-1]["sparsity"] and train[-1]["target_sparsity"] == 0.4


class StopError(Exception):
    pass


@pytest.mark.parametrize(
    ("saves", "stage", "at_first", "then"),
    [(2, "first", {}, {"resume": True}), (6, "second", {"go_on": True}, {"go_on": True})],
)
def test_both_stages_resume_to_the_very_same_weights(
    pruned, tiny_teacher, few_clips, tmp_path, saves, stage, at_first, then
):
    seen = []

    def stop(event):
        seen.append(event["event"])
        if seen.count("saved") == saves:
            raise StopError

    out = tmp_path / "small"
    with pytest.raises(StopError):
        run(recipe(tiny_teacher), few_clips, out, stop, **at_first)
    assert (out / "resume.safetensors").exists() == (stage == "second")
    assert choose_folder(None, tmp_path, "any", resume=True) == out
    assert run(recipe(tiny_teacher), few_clips, out, **then).finished
    one, two = (load_checkpoint(folder).encoder.state_dict() for folder in (pruned, out))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_finished_run_is_kept(pruned, tiny_teacher, few_clips):
    with pytest.raises(SpeechpressError, match="not empty"):
        run(recipe(tiny_teacher), few_clips, pruned)
    with pytest.raises(SpeechpressError, match="finished"):
        run(recipe(tiny_teacher), few_clips, pruned, resume=True)


def test_go_on_keeps_a_finished_run_of_the_same_recipe_only(pruned, tiny_teacher, few_clips):
    before = (pruned / "model.safetensors").stat()
    outcome = run(recipe(tiny_teacher), few_clips, pruned, go_on=True)
    assert outcome.finished and outcome.card["steps"] == 6
    assert (pruned / "model.safetensors").stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(SpeechpressError, match=r"another one:\n  recipe\.train\.seed: it has 0, but 1 was requested"):
        run(recipe(tiny_teacher, "train.seed=1"), few_clips, pruned, go_on=True)


def test_go_on_begins_anew_what_was_killed_before_its_first_checkpoint(tmp_path):
    options = RunOptions((), tmp_path / "run", go_on=True)
    assert (gone_on(options).resume, gone_on(options).overwrite) == (False, False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("name: x")
    assert (gone_on(options).resume, gone_on(options).overwrite) == (False, True)
    (tmp_path / "run" / "resume.safetensors").touch()
    assert (gone_on(options).resume, gone_on(options).overwrite) == (True, False)


def test_a_sparsity_that_leaves_a_layer_without_heads_names_it(tiny_teacher, few_clips, tmp_path):
    with pytest.raises(SpeechpressError, match=r"prune.sparsity 0.9 would leave nothing of the heads of layer 1"):
        run(recipe(tiny_teacher, "prune.sparsity=0.9", "prune.of=[head]"), few_clips, tmp_path / "none")


def test_dphubert_is_a_quarter_of_its_teacher():
    told = show_recipe(load_recipe("dphubert"))
    assert told["parameters"] == pytest.approx(23.59e6, rel=0.005) and told["parameters_before_pruning"] == 94_371_712
    assert any("learned" in note for note in told["notes"])
    assert show_recipe(load_recipe("dpwavlm"))["parameters"] == pytest.approx(23.59e6, rel=0.005)
