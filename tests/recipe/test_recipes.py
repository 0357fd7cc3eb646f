import re
from dataclasses import fields, replace
from importlib import resources

import pytest
import torch

from speechpress.compressor.cli.show import show, show_recipe
from speechpress.compressor.distill.objectives import make_heads
from speechpress.compressor.models import costs
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.clusters import Clusters
from speechpress.compressor.recipe.files import differences, load_recipe, recipe_names, shipped_text
from speechpress.compressor.recipe.hear import Hear
from speechpress.compressor.recipe.schema import Final, Match, Prune, Recipe, Streaming, Student, Train
from speechpress.compressor.teachers.catalogue import known_teacher

README = (resources.files("speechpress.recipes") / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_is_described(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about and recipe.paper.startswith("https://")
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_says_each_training_choice(name: str) -> None:
    optional = {"batch_s", "layer_grads", "crops"}
    for item in fields(Train):
        assert item.name in optional or f"train.{item.name}" in load_recipe(name).places


@pytest.mark.parametrize("name", recipe_names())
def test_any_shipped_recipe_streams_when_it_is_asked_to(name: str) -> None:
    info = show_recipe(load_recipe(name, ["streaming.full_context=0.25"]))
    assert info["blockers"] == [] and [row["chunk_ms"] for row in info["streaming"]] == [80, 160, 320, 640]


def test_distilhubert_is_the_papers() -> None:
    recipe = load_recipe("distilhubert")
    assert recipe.student == Student(2, "teacher", {"projection_norm": False})
    assert recipe.match == Match("heads", (4, 8, 12), (), 12, 1.0, 1.0)
    train = recipe.train
    assert (train.steps, train.batch, train.crop_samples) == (200_000, 24, 250_000)
    assert (train.lr, train.warmup, train.schedule) == (2e-4, 0.07, "linear")
    assert (train.betas, train.eps, train.weight_decay) == ((0.9, 0.98), 1e-6, 1e-6)
    assert (train.clip, train.front_end_grad, train.precision) == (5.0, 0.1, "fp16")
    assert "4 and 12 only" in shipped_text("distilhubert")


@pytest.mark.parametrize("name", ["distill-last", "distill-hidden"])
def test_the_baselines_differ_in_what_is_matched_alone(name: str) -> None:
    whole, baseline = load_recipe("distilhubert"), load_recipe(name)
    changed = {line.partition(":")[0] for line in differences(whole, baseline)}
    assert changed <= {"name", "about", "match.layers", "match.pairs", "match.style"}
    assert replace(baseline, match=whole.match, name=whole.name, about=whole.about) == whole


def test_the_baselines_match_what_they_say() -> None:
    assert load_recipe("distill-last").match == Match("heads", (12,), (), 12)
    assert load_recipe("distill-hidden").match == Match("layers", (), ((0, 4), (1, 8), (2, 12)), 12)


def test_the_streaming_recipe_differs_from_distilhubert_in_streaming_alone() -> None:
    changed = {
        line.partition(":")[0]
        for line in differences(load_recipe("distilhubert"), load_recipe("distilhubert-streaming"))
    }
    assert {name.split(".")[0] for name in changed} == {"name", "about", "streaming"}


@pytest.mark.parametrize(("name", "parameters", "macs_per_s"), [("pocket", 6.86e6, 1.0e9), ("pocket-s", 2.0e6, 0.25e9)])
def test_pocket_keeps_its_budget(name: str, parameters: float, macs_per_s: float) -> None:
    """A third of Whisper's base encoder, and what a wake-word encoder has."""
    info = show(name)
    assert info["parameters"] <= parameters and not info["blockers"]
    assert all(row["macs_per_s"] <= macs_per_s for row in info["streaming"])


def test_pocket_on_a_waveform_keeps_its_budget() -> None:
    info = show("pocket-conv")
    assert info["parameters"] <= 10e6 and not info["blockers"]
    assert all(row["macs_per_s"] <= 1.0e9 for row in info["streaming"])


def test_patches_take_the_place_of_convolutions_alone() -> None:
    whole, patches = show("pocket-conv"), show("pocket-patch")
    (front, other), rest = ((info["parts"].pop("front_end") for info in (whole, patches)), (whole, patches))
    assert rest[0]["parts"] == rest[1]["parts"] and not patches["blockers"]
    sizes = [(400, 512), (512, 512), (512, 384)]
    assert other["macs_per_s"] == 50 * sum(a * b for a, b in sizes) < front["macs_per_s"] / 6
    assert other["parameters"] == sum(a * b for a, b in sizes) + 2 * 512
    assert patches["hop_ms"] == 20 and patches["sight"]["front_end"] == whole["sight"]["front_end"]


# What the papers and their repositories print: parameters in millions, GMAC per second of audio where there are any.
# FitHuBERT's and ARMHuBERT's figures hold the projections named in their recipes; those in GMAC/s are plotted, but for
# ARMHuBERT-S, whose 449.4 G is SUPERB's count where HuBERT base has 1669 G.
PUBLISHED = {
    "distilhubert": (23.49, 3.47),
    "fithubert": (22.49, 1.41),
    "armhubert": (26.45, 2.2),
    "armhubert-s": (22.39, 1.99),
    "maskhubert": (26.64, None),
    "starhubert": (22.31, 2.06),
    "deep-vs-wide": (26.87, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_show_prints_the_published_figures(name: str) -> None:
    millions, giga_macs = PUBLISHED[name]
    found = show(name)["published"]
    assert found["parameters"] == round(millions * 1e6)
    assert found["parameters_here"] == pytest.approx(millions * 1e6, rel=0.005)
    assert found["macs_per_s"] == (giga_macs and giga_macs * 1e9)
    if giga_macs is not None:
        assert found["macs_per_s_here"] == pytest.approx(giga_macs * 1e9, rel=0.03)


@pytest.mark.parametrize(("name", "share"), [("dphubert", 654.1 / 1669), ("dpwavlm", 589.2 / 1670)])
def test_what_gates_leave_is_expected_in_size_and_learned_in_compute(name: str, share: float) -> None:
    found = show(name)["published"]
    assert found["parameters_here"] == pytest.approx(found["parameters"], rel=0.005)
    assert found["macs_per_s_here"] is None
    whole = costs.macs_per_s(EncoderConfig()) + costs.attention_macs_per_s(EncoderConfig(), found["attention_s"])
    assert found["macs_per_s"] / whole == pytest.approx(share, rel=0.002)


def test_superbs_totals_are_ours_when_frames_attend_to_as_far() -> None:
    """449.4 and 463.5 of the 1669 G of HuBERT base: one length of recordings explains both."""

    def total(name: str) -> float:
        return show(name)["published"]["macs_per_s_here"]

    hubert = costs.macs_per_s(EncoderConfig()) + costs.attention_macs_per_s(EncoderConfig(), 9.4)
    assert total("armhubert-s") / hubert == pytest.approx(449.4 / 1669, rel=0.03)
    assert total("starhubert") / hubert == pytest.approx(463.5 / 1669, rel=0.03)


def test_what_is_published_is_no_part_of_what_is_done() -> None:
    recipe = load_recipe("fithubert")
    assert recipe.published is not None and "published" not in recipe.to_dict()
    assert replace(recipe, published=None) == recipe


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", recipe_names())
def test_figures_are_those_of_what_is_built(name: str) -> None:
    recipe, info = load_recipe(name), show(name)
    teacher = known_teacher(recipe.teacher)
    assert teacher is not None
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig.from_dict(info["encoder"]))
        heads = make_heads(recipe.match, info["width"], teacher.width, encoder.config.time_reduction)
    assert info.get("parameters_before_pruning", info["parameters"]) == count(encoder)
    assert info["training_only_parameters"] == count(heads)


@pytest.mark.parametrize("name", ["fithubert", "armhubert", "armhubert-s", "maskhubert"])
def test_lower_layers_are_hints(name: str) -> None:
    match = load_recipe(name).match
    assert match.layer_weights == {**dict.fromkeys(range(1, 12), 0.1), 12: 1.0}
    assert match.terms == {"l2": 1.0}


def test_armhuberts_size_changes_nothing_else() -> None:
    lines = differences(load_recipe("armhubert"), load_recipe("armhubert-s"))
    changed = {line.partition(":")[0] for line in lines}
    sizes = {"student.conv_channels", "student.width", "student.head_dim", "student.ffn_widths"}
    assert changed == {"name", "about", "train.steps"} | sizes


def test_dpwavlm_is_dphubert_with_another_teacher() -> None:
    changed = {line.partition(":")[0] for line in differences(load_recipe("dphubert"), load_recipe("dpwavlm"))}
    assert changed == {"name", "about", "teacher"}


def test_the_readme_names_every_key_and_its_default() -> None:
    sections = {"student.": Student, "match.": Match, "train.": Train, "streaming.": Streaming, "hear.": Hear}
    sections |= {"prune.": Prune, "prune.final.": Final, "match.clusters.": Clusters}
    for section, cls in {"": Recipe, **sections}.items():
        for item in fields(cls):
            if item.name not in ("places", "config", "student", "match", "train"):
                assert f"`{section}{item.name}`" in README
    for item in fields(EncoderConfig):
        assert f"`{item.name}`" in README
    for key, default in re.findall(r"\| `((?:train|match|streaming|prune)\.\w+)` \| `?([-\w.]+)`? \|", README):
        section, _, name = key.partition(".")
        holder = sections[f"{section}."]
        wanted = next(item.default for item in fields(holder) if item.name == name)
        assert (float(default) if isinstance(wanted, float | int) else default) == wanted
