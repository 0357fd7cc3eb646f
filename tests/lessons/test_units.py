"""The teacher's clusters as targets: found once, told by cosines, resumed exactly, and kept."""

import io
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file

from speechpress.compressor.cli.show import show_recipe
from speechpress.compressor.cli.show_tables import show_table
from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.distill import distill, try_out
from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.objectives import load_heads
from speechpress.compressor.distill.resolve import resolve_match
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.distill.tables import fidelity_table
from speechpress.compressor.lessons.units import Centres, UnitHeads, find_centres, unit_sums
from speechpress.compressor.models.checkpoint import CLUSTERS
from speechpress.compressor.recipe.clusters import Clusters
from speechpress.compressor.recipe.files import load_recipe, parse_recipe
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

CPU = torch.device("cpu")
QUICK = ["train.steps=8", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=8"]
QUICK += ["train.lr=3e-3", "train.crops=fixed", "train.checkpoint_every=5", "match.layers=[2,4]"]
UNITS = ["match.clusters.layers=[3]", "match.clusters.count=6", "match.clusters.width=16"]
ALONE = [*UNITS, "match.layers=[]"]


def recipe(teacher, *settings):
    return load_recipe("distilhubert", [f"teacher={teacher}", *QUICK, *settings])


def run(loaded, clips, out, listen=None, **options):
    events = []
    outcome = distill(loaded, RunOptions((clips,), out, "cpu", **options), listen or events.append)
    return outcome, events


def trained(out):
    return [event for event in MetricsLog(out / "metrics.jsonl").read() if event["event"] == "train"]


def same_files(one, two):
    for file in ("model.safetensors", "heads.safetensors", CLUSTERS):
        expected, found = load_file(one / file), load_file(two / file)
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.fixture(scope="module")
def mixed(tiny_teacher, few_clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mixed"
    return (*run(recipe(tiny_teacher, *UNITS), few_clips, out), out)


def test_units_are_the_nearest_centres_and_travel_through_their_file(tmp_path):
    torch.manual_seed(0)
    centres = Centres({7: torch.randn(5, 8), 3: torch.randn(5, 8)})
    states = {layer: torch.randn(2, 11, 8) for layer in (3, 7)}
    found = centres.units(states)
    for layer in (3, 7):
        assert torch.equal(found[~layer], torch.cdist(states[layer], centres.tensors[layer][None]).argmin(-1))
    centres.save(tmp_path)
    again = Centres.load(tmp_path)
    assert again.layers == (3, 7) and again.hashes() == centres.hashes()
    with pytest.raises(SpeechpressError, match="is missing"):
        Centres.load(tmp_path / "none")


def test_heads_are_cosines_over_the_temperature_and_the_loss_is_weighed():
    torch.manual_seed(0)
    asked = Clusters((3, 7), count=5, weight=2.0, temperature=0.25, width=4, masked=1.0, unmasked=0.5)
    heads, last = UnitHeads(asked, (3, 7), 6, factor=2), torch.randn(2, 3, 6)
    scores = heads(last)
    for place, layer in enumerate((3, 7)):
        projected = heads.projections[place](last.repeat_interleave(2, 1))
        expected = F.cosine_similarity(projected[:, :, None], heads.vectors[place][None, None], dim=-1) / 0.25
        torch.testing.assert_close(scores[~layer], expected)
    units = {~layer: torch.randint(5, (2, 6)) for layer in (3, 7)}
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[0, 1:4] = True
    total, parts = unit_sums(scores, units, asked, hidden)
    by_hand = 0.0
    for key, ids in units.items():
        plain = -scores[key].log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        by_hand += 2.0 * (plain.detach() * torch.where(hidden, 1.0, 0.5)).sum() / 2
        assert parts[key][0] == pytest.approx(float(plain.detach().sum()), rel=1e-5)
        assert parts[key][1] == (scores[key].argmax(-1) == ids).sum()
    assert float(total.detach()) == pytest.approx(float(by_hand), rel=1e-5)
    plain, _ = unit_sums(scores, units, replace(asked, masked=1.0, unmasked=1.0), None)
    assert float(plain) == pytest.approx(float(sum(p[0] for p in parts.values())), rel=1e-5)


def test_clusters_are_the_same_each_time_and_describe_the_frames(tiny_teacher, few_clips):
    loaded, teacher = recipe(tiny_teacher, *UNITS), load_teacher(str(tiny_teacher))
    batches = Batches(open_corpus(few_clips).cuts, batch=4, crop_s=0.5, workers=0, fixed_crops=True)
    asked = loaded.match.clusters
    one, two = (find_centres(loaded, asked, teacher, batches.start(0), CPU) for _ in range(2))
    assert one.hashes() == two.hashes() and one.tensors[3].shape == (6, 32)
    frames = torch.cat([teacher.hidden_states(b.waves, layers=[3])[3].flatten(0, 1) for b in _epoch(batches)])
    spread = (frames - frames.mean(0)).square().sum()
    left = (frames - one.tensors[3][one.units({3: frames[None]})[~3][0]]).square().sum()
    assert left < 0.9 * spread
    other = find_centres(loaded, replace(asked, minutes=0.01), teacher, batches.start(0), CPU)
    assert other.heard_s < one.heard_s and other.hashes() != one.hashes()
    with pytest.raises(SpeechpressError, match=r"count is 60000, but .* frames only"):
        find_centres(loaded, replace(asked, count=60_000), teacher, batches.start(0), CPU)


def _epoch(batches):
    for batch in batches.start(0):
        if batch.epoch:
            return
        yield batch


def test_a_mixed_run_says_how_units_are_told(mixed):
    outcome, _, out = mixed
    lines = trained(out)
    assert lines[-1]["units"]["3"]["loss"] < lines[0]["units"]["3"]["loss"]
    assert set(lines[0]["layers"]) == {"2", "4"}
    valid = outcome.card["valid"]["units"]
    assert 0 <= valid["start"]["3"]["accuracy"] < valid["end"]["3"]["accuracy"] <= 1
    assert outcome.card["match"]["clusters"]["count"] == 6
    assert any("6 clusters of teacher layer 3" in note for note in outcome.card["notes"])
    assert fidelity_table(outcome.card["valid"]).row_count == 3
    tensors = load_file(out / CLUSTERS)
    assert tensors["centres.3"].shape == (6, 32) and tensors["heads.vectors"].shape == (1, 6, 16)


def test_the_loss_of_a_mixed_run_is_that_of_layers_and_of_units(tiny_teacher, few_clips, mixed, tmp_path):
    run(recipe(tiny_teacher, "train.steps=1"), few_clips, tmp_path / "layers")
    run(recipe(tiny_teacher, *UNITS, "train.steps=1", "match.clusters.weight=3"), few_clips, tmp_path / "more")
    layers, units, more = (trained(out)[0] for out in (tmp_path / "layers", mixed[2], tmp_path / "more"))
    assert more["loss"] - units["loss"] == pytest.approx(2 * units["units"]["3"]["loss"], rel=1e-3)
    # Dropout is drawn alike, so that the layers' part is the same.
    assert units["loss"] - units["units"]["3"]["loss"] == pytest.approx(layers["loss"], rel=1e-3)


def test_a_resumed_run_ends_with_the_very_same_weights_and_keeps_its_units(tiny_teacher, few_clips, mixed, tmp_path):
    class Killed(Exception):
        pass

    def kill(event):
        if event["event"] == "saved":
            raise Killed

    loaded = recipe(tiny_teacher, *UNITS)
    with pytest.raises(Killed):
        run(loaded, few_clips, tmp_path / "cut", kill)
    outcome, _ = run(loaded, few_clips, tmp_path / "cut", resume=True)
    same_files(mixed[2], tmp_path / "cut")
    assert outcome.card["valid"] == mixed[0].card["valid"]
    # Other centres in the folder are those of another run.
    with pytest.raises(Killed):
        run(loaded, few_clips, tmp_path / "other", kill)
    Centres({3: torch.randn(6, 32)}).save(tmp_path / "other")
    with pytest.raises(SpeechpressError, match=r"another one:\n  clusters\.3"):
        run(loaded, few_clips, tmp_path / "other", resume=True)


def test_units_alone_train_and_are_kept_beside_the_states(tiny_teacher, few_clips, mixed, tmp_path):
    outcome, _ = run(recipe(tiny_teacher, *ALONE), few_clips, tmp_path / "plain")
    lines = trained(tmp_path / "plain")
    assert outcome.card["valid"]["end"] == {} and lines[0]["layers"] == {}
    assert lines[0]["loss"] == pytest.approx(lines[0]["units"]["3"]["loss"], rel=1e-5)
    assert load_heads(tmp_path / "plain", 32, 32) is not None
    # Units are whole numbers: to keep them loses nothing.
    run(recipe(tiny_teacher, *ALONE), few_clips, tmp_path / "kept", keep_targets=tmp_path / "units")
    same_files(tmp_path / "plain", tmp_path / "kept")
    for name in ("one", "two"):
        run(recipe(tiny_teacher, *UNITS), few_clips, tmp_path / name, keep_targets=tmp_path / "both")
    same_files(tmp_path / "one", tmp_path / "two")
    told = [line["units"]["3"]["accuracy"] for line in trained(tmp_path / "one")]
    assert told == pytest.approx([line["units"]["3"]["accuracy"] for line in trained(mixed[2])], abs=0.02)
    with pytest.raises(SpeechpressError, match=r"units: it has"):
        loaded = recipe(tiny_teacher, *UNITS, "match.clusters.count=7")
        run(loaded, few_clips, tmp_path / "three", keep_targets=tmp_path / "both")


def test_hidden_frames_weigh_as_the_recipe_says(tiny_teacher, few_clips, tmp_path):
    hidden = ["match.mask_prob=0.6", "match.mask_length=3", "train.steps=1"]
    values = []
    for masked, unmasked in ((1, 1), (1, 0), (0, 1)):
        weights = [f"match.clusters.masked={masked}", f"match.clusters.unmasked={unmasked}"]
        loaded = recipe(tiny_teacher, *ALONE, *hidden, *weights)
        run(loaded, few_clips, tmp_path / f"{masked}{unmasked}")
        values.append(trained(tmp_path / f"{masked}{unmasked}")[0]["loss"])
    assert values[0] == pytest.approx(values[1] + values[2], rel=1e-5) and min(values) > 0


def test_a_dry_run_finds_units_and_writes_nothing(tiny_teacher, few_clips, tmp_path):
    assert try_out(recipe(tiny_teacher, *UNITS), RunOptions((few_clips,), tmp_path / "run", "cpu"))["first_loss"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["match.clusters.layers=[3]", "match.clusters.count=1"], "clusters.count is 1, but must be at least 2"),
        (["match.clusters.count=6"], "clusters.layers is missing"),
        (["match.clusters.layers=[3,3]"], "lists a layer twice"),
        (["match.clusters.layers=[3]", "match.clusters.counts=5"], "unknown key 'match.clusters.counts'.*'count'"),
        ([*UNITS, "match.clusters.masked=0", "match.clusters.unmasked=0"], "no frame counts"),
        ([*UNITS, "match.l1=0", "match.cosine=0"], r"leave them empty \(\[\]\) for clusters alone"),
        ([*UNITS, "match.clusters.temperature=0"], "must be more than 0"),
        (["match.layers=[]"], "match.layers is missing"),
        ([*UNITS, "match.depth=2", "match.layers=[1,2]"], "clusters.layers has 3, but match.depth"),
        ([*UNITS, "prune.sparsity=0.5", "prune.final.steps=4", "prune.ramp=2"], "does not go with prune.method l0"),
    ],
)
def test_wrong_sections_are_named(settings, said):
    with pytest.raises(SpeechpressError, match=said):
        recipe("x", *settings)


def test_layers_are_checked_and_moved_with_the_depth(tiny_teacher):
    with pytest.raises(SpeechpressError, match=r"clusters.layers has 9, but the teacher has 4 layers"):
        resolve_match(recipe(tiny_teacher, "match.clusters.layers=[9]"), 4)
    loaded = recipe(tiny_teacher, "match.clusters.layers=[9,10]", "match.depth=12", "match.layers=[4,12]")
    match, notes = resolve_match(loaded, 4)
    assert match.clusters.layers == (3,) and any("clusters of layers 9, 10 of 12 -> 3 of 4" in note for note in notes)
    assert parse_recipe(loaded.text(), "again.yaml") == loaded


def test_without_scikit_learn_the_extra_is_named(tiny_teacher, few_clips, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(SpeechpressError, match=r"speechpress\[heads\]"):
        run(recipe(tiny_teacher, *UNITS), few_clips, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [UNITS, ALONE])
def test_a_recipe_that_is_shown_says_its_units(tiny_teacher, settings):
    document = show_recipe(recipe(tiny_teacher, *settings))
    assert document["match"]["clusters"]["count"] == 6
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(show_table(document))
    assert "6 clusters of teacher layer 3" in console.export_text()
