import re
from dataclasses import fields, replace
from importlib import resources

import pytest

from speechpress.compressor.config import EncoderConfig
from speechpress.compressor.prune_recipe import Final, Prune
from speechpress.compressor.recipe import Match, Recipe, Streaming, Student, Train
from speechpress.compressor.recipe_file import differences, load_recipe, recipe_names, shipped_text
from speechpress.compressor.show import show

README = (resources.files("speechpress.recipes") / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_is_described(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about and recipe.paper.startswith("https://")
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_says_each_training_choice(name: str) -> None:
    optional = {"batch_s"}
    for item in fields(Train):
        assert item.name in optional or f"train.{item.name}" in load_recipe(name).places


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


def test_pocket_keeps_its_budget() -> None:
    info = show("pocket")
    assert info["parameters"] <= 10e6 and not info["blockers"]
    assert all(row["macs_per_s"] <= 1.0e9 for row in info["streaming"])


def test_the_readme_names_every_key_and_its_default() -> None:
    sections = {"student.": Student, "match.": Match, "train.": Train, "streaming.": Streaming}
    sections |= {"prune.": Prune, "prune.final.": Final}
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
