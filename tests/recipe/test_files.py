import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.recipe.files import (
    cp_recipe,
    differences,
    load_recipe,
    parse_recipe,
    recipe_names,
    shipped_text,
)
from speechpress.compressor.recipe.schema import Match, Recipe, Student, Train
from speechpress.runtime.errors import SpeechpressError

SMALL = """
name: small
teacher: starter
student: {layers: 2}
match:
  layers: [1, 2]
train:
  steps: 10
"""


def error(text: str, *settings: str) -> str:
    with pytest.raises(SpeechpressError) as caught:
        parse_recipe(text, "mine.yaml", settings)
    return str(caught.value)


def test_a_small_recipe_has_distilhuberts_defaults() -> None:
    recipe = parse_recipe(SMALL, "mine.yaml")
    assert recipe == Recipe(Student(2), Match(layers=(1, 2)), Train(10), "small", "starter")
    shipped = load_recipe("distilhubert")
    assert replace(recipe.train, steps=shipped.train.steps) == shipped.train
    assert recipe.train.crop_samples == 250_000


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("steps: 10", "step: 10", "mine.yaml:8: unknown key 'train.step'. Did you mean 'steps'? Known here: steps, lr"),
        ("steps: 10", "steps: 10\nlr: 1.0", "mine.yaml:9: unknown key 'lr'. It belongs under train, as train.lr."),
        (
            "layers: 2}",
            "layers: 2, lr: 1}",
            "mine.yaml:4: unknown key 'student.lr'. It belongs under train, as train.lr.",
        ),
        ("layers: 2}", "layers: 2, name: a}", "unknown key 'student.name'. It belongs at the top level."),
        ("layers: 2}", "layers: 2, pre_nom: true}", "Did you mean 'pre_norm'?"),
        ("layers: 2}", "init: random}", "mine.yaml:4: student.layers is missing"),
        ("layers: 2}", "layers: 2, conv_norm: batch}", "student.conv_norm is 'batch', but must be one of group, layer"),
        ("layers: 2}", "layers: 2, dropout: 1.0}", "student.dropout is 1.0, but must be less than 1"),
        ("layers: 2}", "layers: 2, num_heads: [4, 0]}", "student.num_heads has 0, but must be at least 1"),
        ("layers: 2}", "layers: 2, pre_norm: 1}", "student.pre_norm is 1, but must be true or false"),
        ("layers: 2}", "layers: 2, init: ''}", "mine.yaml:4: student.init is empty"),
        ("train:\n  steps: 10\n", "", "mine.yaml: train is missing"),
        ("name: small", "name: a b", "mine.yaml:2: name is 'a b', but must be letters"),
        ("name: small", "name: ../a", "mine.yaml:2: name is '../a'"),
        ("[1, 2]", "[]", "mine.yaml:6: match.layers is missing: style heads needs it, such as [4, 8, 12]"),
        ("[1, 2]", "[2, 2]", "mine.yaml:6: match.layers lists a layer twice: [2, 2]"),
        (
            "[1, 2]",
            "[1, 2]\n  depth: 1",
            "mine.yaml:6: match.layers has 2, but match.depth says that they are layers of 1",
        ),
        ("[1, 2]", "[1, 2]\n  pairs: [[1, 2]]", "mine.yaml:7: match.pairs is not used by style heads"),
        ("layers: [1, 2]", "style: layers", "mine.yaml:6: match.pairs is missing: style layers needs it"),
        (
            "layers: [1, 2]",
            "style: layers\n  pairs: [[3, 2]]",
            "mine.yaml:7: match.pairs has student layer 3, but the student",
        ),
        (
            "layers: [1, 2]",
            "style: layers\n  pairs: [[1, 2], [2, 2]]",
            "mine.yaml:7: match.pairs lists a teacher layer twice",
        ),
        ("layers: [1, 2]", "style: layers\n  pairs: [[1, 2], [1, 4]]", "mine.yaml:7: match.pairs lists a layer twice"),
        (
            "layers: [1, 2]",
            "style: layers\n  pairs: [[1, 2, 3]]",
            "mine.yaml:7: match.pairs has 3 values, but must have 2",
        ),
        ("[1, 2]", "[1, 2]\n  l1: 0\n  cosine: 0", "mine.yaml:8: match.l1 and match.cosine are both 0"),
        (
            "[1, 2]",
            "[1, 2]\n  weights: [0.1]",
            "mine.yaml:7: match.weights has 1 values for 2 matched layers; give one for each",
        ),
        ("[1, 2]", "[1, 2]\n  weights: [0, 0]", "mine.yaml:7: match.weights has 2 values for 2 matched layers"),
        ("[1, 2]", "[1, 2]\n  projections: [0, 0]", "mine.yaml:7: match.projections is not used by style heads"),
        (
            "layers: [1, 2]",
            "style: layers\n  pairs: [[1, 1], [2, 2]]\n  projections: [0, 2]",
            "mine.yaml:8: match.projections is [0, 2], but must number, from 0 on, one projection for each of 2 pairs",
        ),
        ("[1, 2]", "[1, 2]\n  mask_length: 10", "mine.yaml:7: match.mask_length is only used with match.mask_prob"),
        ("[1, 2]", "[1, 2]\n  mask_prob: 1.5", "mine.yaml:7: match.mask_prob is 1.5, but must be at most 1"),
        ("[1, 2]", "[1]\n  gram_intra: 1.0", "mine.yaml:7: match.gram_intra compares a matched layer with"),
        ("[1, 2]", "[1, 2]\n  cosine_form: log", "match.cosine_form is 'log', but must be one of log-sigmoid, raw"),
        (
            "layers: 2}",
            "layers: 2, time_reduction: 0}",
            "mine.yaml:4: student.time_reduction is 0, but must be at least",
        ),
        ("layers: 2}", "layers: 2, time_reduction: 1.5}", "student.time_reduction is 1.5, but must be a whole number"),
        ("layers: 2}", "layers: 2, reuse_attention: true}", "student.reuse_attention is True, but must be a list"),
        (
            "layers: 2}",
            "layers: 2, reuse_attention: [0, 1]}",
            "student.reuse_attention is 0, but must be true or false",
        ),
        ("steps: 10", "steps: 10\npublished: {parameters: 0}", "mine.yaml:9: published.parameters is 0.0, but must"),
        ("steps: 10", "steps: 10\n  batch_s: 15", "mine.yaml:9: train.batch_s is 15.0, less than one crop"),
        ("steps: 10", "steps: 10\n  lr: -1.0", "mine.yaml:9: train.lr is -1.0, but must be more than 0"),
        ("steps: 10", "steps: 10\n  clip:", "mine.yaml:9: train.clip has no value"),
        ("steps: 10", "steps: 10\n  betas: [0.9, 1.0]", "mine.yaml:9: train.betas has 1.0, but must be less than 1"),
    ],
)
def test_errors_name_file_and_line(old: str, new: str, wanted: str) -> None:
    assert old in SMALL
    assert wanted in error(SMALL.replace(old, new))


def test_overrides_change_keys_and_name_themselves() -> None:
    recipe = parse_recipe(SMALL, "mine.yaml", ["train.lr=1e-3", "student.pre_norm=true", "train.steps=2e3"])
    assert (recipe.train.lr, recipe.train.steps, recipe.student.config) == (1e-3, 2000, {"pre_norm": True})
    assert "--set train.speed=3: unknown key 'train.speed'" in error(SMALL, "train.speed=3")


def test_layers_set_by_hand_are_the_teachers_own() -> None:
    assert load_recipe("distilhubert", ["match.layers=[1, 2]"]).match.depth is None
    assert load_recipe("distilhubert", ["match.layers=[1, 2]", "match.depth=4"]).match.depth == 4
    assert load_recipe("distill-hidden", ["match.pairs=[[1, 13]]"]).match.depth is None
    assert load_recipe("distilhubert", ["match.cosine=0.5"]).match.depth == 12
    changed = ["match.style=layers", "match.layers=null", "match.pairs=[[2, 6]]"]
    assert load_recipe("distilhubert", changed).match == Match("layers", pairs=((2, 6),))


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(SMALL)
    assert load_recipe("mine.yaml") == load_recipe(str(tmp_path / "mine.yaml")) == parse_recipe(SMALL, "x")
    Path("broken.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for name, wanted in {
        "distilhuber": "there is no recipe 'distilhuber'. Did you mean 'distilhubert'? Built-in recipes: armhubert, ",
        "mine": "Did you mean the file mine.yaml?",
        "none.yaml": "none.yaml: there is no such file. Built-in recipes: ",
        "a/b": "a/b: there is no such file",
        ".": ".: is a folder, but must be a file",
        "broken.yaml": "broken.yaml: is not a text file in UTF-8",
    }.items():
        with pytest.raises(SpeechpressError, match=r".") as caught:
            load_recipe(name)
        assert wanted in str(caught.value)


def test_copy_refuses_to_overwrite(tmp_path: Path) -> None:
    path = cp_recipe("distilhubert", tmp_path / "mine.yaml")
    assert path.read_text() == shipped_text("distilhubert")
    assert cp_recipe("distill-last", tmp_path) == tmp_path / "distill-last.yaml"
    path.write_text("kept")
    for name, destination, wanted in (
        ("distilhubert", path, "already exists"),
        ("distilhubert", tmp_path / "no" / "x.yaml", "does not exist"),
        ("distilhuber", tmp_path / "y.yaml", "there is no recipe"),
    ):
        with pytest.raises(SpeechpressError, match=wanted):
            cp_recipe(name, destination)
    assert path.read_text() == "kept"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["distill-last.yaml", "mine.yaml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_copy_into_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SpeechpressError, match="cannot be written"):
        cp_recipe("distilhubert", tmp_path / "y.yaml")


def test_copy_to_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from speechpress.compressor.recipe.files import cp_recipe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cp_recipe("distilhubert", {str(tmp_path / "mine.yaml")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "SpeechpressError" in done.stderr and "cannot be written" in done.stderr
    assert not list(tmp_path.iterdir())


def test_differences() -> None:
    old, new = load_recipe("distilhubert"), load_recipe("distilhubert", ["train.lr=0.001", "train.batch_s=100"])
    assert differences(old, old) == []
    assert differences(old, new) == ["train.lr: 0.0002 -> 0.001", "train.batch_s: absent -> 100.0"]


words = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and text.strip()
)
rates = st.floats(1e-12, 1, exclude_max=True, allow_nan=False)
numbers = st.integers(1, 10**6)
small = st.integers(1, 4096)
sizes = small | st.lists(small, min_size=1, max_size=3).map(tuple)
encoders = st.fixed_dictionaries(
    {},
    optional={
        "width": small,
        "num_heads": sizes,
        "conv_channels": st.lists(small, min_size=1, max_size=8).map(tuple),
        "conv_norm": st.sampled_from(["group", "layer"]),
        "projection_norm": st.booleans(),
        "dropout": rates,
        "layer_norm_eps": rates,
    },
)
layers = st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=5).map(tuple)


@st.composite
def matches(draw: st.DrawFn, student_layers: int) -> Match:
    depth, weights = draw(st.none() | st.just(30)), (draw(rates), draw(rates))
    if draw(st.booleans()):
        return Match("heads", draw(layers), (), depth, *weights)
    count = draw(st.integers(1, min(5, student_layers)))
    teacher = draw(st.lists(st.integers(0, 30), unique=True, min_size=count, max_size=count))
    student = draw(st.lists(st.integers(0, student_layers), unique=True, min_size=count, max_size=count))
    return Match("layers", (), tuple(zip(student, teacher, strict=True)), depth, *weights)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    student = Student(draw(st.integers(1, 40)), draw(words), draw(encoders))
    train = Train(
        steps=draw(numbers),
        lr=draw(rates),
        warmup=draw(st.floats(0, 1)),
        schedule=draw(st.sampled_from(["linear", "constant"])),
        betas=(draw(rates), draw(rates)),
        batch_s=draw(st.none() | st.floats(16, 1e6)),
        precision=draw(st.sampled_from(["fp32", "bf16", "fp16"])),
        clip=draw(st.floats(0, 1e9)),
        seed=draw(st.integers(0, 2**31 - 1)),
    )
    name = draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True))
    return Recipe(
        student, draw(matches(student.layers)), train, name, draw(words), draw(st.just("") | words), draw(words)
    )


@given(recipes())
def test_written_and_read_again_is_equal(recipe: Recipe) -> None:
    assert parse_recipe(recipe.text(), "again.yaml") == recipe
    assert parse_recipe(recipe.text(), "again.yaml").to_dict() == recipe.to_dict()


@given(st.data())
def test_damaged_recipes_are_read_or_refused(data: st.DataObject) -> None:
    text = shipped_text("distilhubert")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    damaged = text[:start] + data.draw(st.text(max_size=10)) + text[end:]
    try:
        recipe = parse_recipe(damaged, "x.yaml")
    except SpeechpressError as caught:
        assert str(caught).startswith("x.yaml")
    else:
        assert parse_recipe(recipe.text(), "y.yaml") == recipe


def test_nothing_heavy_is_imported() -> None:
    code = """
import sys
from speechpress.compressor.cli import show, show_tables
from speechpress.compressor.recipe.files import recipe_names
show_tables.ls_table(show.ls())
for name in recipe_names():
    show_tables.show_table(show.show(name))
heavy = {"torch", "transformers", "numpy", "lhotse", "matplotlib", "lightning_fabric"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    own = {"distilhubert", "distilhubert-streaming", "distill-hidden", "distill-last", "pocket", "pocket-patch"}
    assert own < set(recipe_names()) and recipe_names() == sorted(recipe_names())
