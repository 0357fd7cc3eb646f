import itertools

import pytest

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.recipe.files import load_recipe, parse_recipe
from speechpress.compressor.search.space import (
    cheapest,
    check_choices,
    chunk_macs,
    described,
    load_space,
    narrowed,
    recipe_shape,
    shaped,
)
from speechpress.runtime.errors import SpeechpressError

BASE = EncoderConfig()


def written(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_the_space_that_ships_fits_the_recipe_that_it_is_for():
    space, pocket = load_space(None), load_recipe("pocket-heads")
    space, notes = narrowed(space, pocket)
    assert not notes and {len(choice) for choice in space.conv_channels} == {2}
    check_choices(space, pocket, BASE, BASE.width)
    shape = recipe_shape(space, pocket)
    assert shape is not None and shape["width"] == 384 and shape["quantize"] == "int8"
    assert space.size > 1000 and space.shape(space.numbers(shape)) == shape


@pytest.mark.parametrize(("recipe", "length"), [("pocket-conv", 7), ("distilhubert", 7), ("pocket-patch", 3)])
def test_channels_are_searched_that_are_as_many_as_a_recipe_has(tmp_path, recipe, length):
    space = load_space(
        written(tmp_path, f"conv_channels: [[8, 16], {[8] * length}, {[16] * length}]\nlayers: [2, 3]\n")
    )
    space, notes = narrowed(space, load_recipe(recipe))
    assert space.conv_channels == ((8,) * length, (16,) * length) and not notes
    check_choices(space, load_recipe(recipe), BASE, BASE.width)


def test_a_space_is_written_as_it_is_read(tmp_path):
    space = load_space(None)
    again = load_space(written(tmp_path, space.text()))
    assert again == space and again.choices == space.choices
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in space.shape(
        dict.fromkeys(space.choices, 1)).items()}  # fmt: skip
    assert space.shape(space.numbers(lists)) == space.shape(dict.fromkeys(space.choices, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width: [192, 256]\nwidht: [3]\n", r"space.yaml:2: unknown key 'widht'. Did you mean 'width'\?"),
        ("width: [192, 256, 192]\n", "space.yaml:1: width names 192 twice"),
        ("layers: [1, 2]\nquantize: [int9]\n", "space.yaml:2: there is no quantisation 'int9'"),
        ("width: [192]\n", "has one shape, so there is nothing to search"),
        ("width: 192\n", "space.yaml:1: width is 192, but must be a list"),
        ("width: [192, wide]\n", "space.yaml:1: width is 'wide', but must be a whole number"),
        ("conv_channels: [[8, 8], [0, 8]]\n", "space.yaml:1: conv_channels has 0, but must be at least 1"),
        ("chunk_ms: [80, -1]\n", "space.yaml:1: chunk_ms has -1.0, but must be more than 0"),
        ("places: [1]\n", "unknown key 'places'"),
        ("- 1\n", "expected `key: value` lines"),
    ],
)
def test_what_is_wrong_with_a_space_is_said_with_its_line(tmp_path, text, said):
    with pytest.raises(SpeechpressError, match=said):
        load_space(written(tmp_path, text))


def test_a_space_that_is_not_there(tmp_path):
    with pytest.raises(SpeechpressError, match="there is no such file"):
        load_space(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers: [2, 3]\nwidth: [192, 200]\n", r"space.yaml:2: width 200: .*not a multiple of pos_conv_groups"),
        ("conv_channels: [[8, 8, 8], [8]]\n", r"space.yaml:1: conv_channels \[8, 8, 8\]: .*one entry per layer"),
        ("chunk_ms: [80, 90]\n", "space.yaml:1: chunk_ms 90.0: is not made of whole frames of 20 ms"),
    ],
)
def test_a_choice_of_which_nothing_can_be_built_is_refused_beforehand(tmp_path, text, said):
    with pytest.raises(SpeechpressError, match=said):
        check_choices(load_space(written(tmp_path, text)), load_recipe("pocket-heads"), BASE, BASE.width)


def test_what_the_recipe_settles_is_not_searched(tmp_path):
    fixed, notes = narrowed(load_space(None), load_recipe("pocket-heads", ["student.width=256", "train.steps=3"]))
    assert "width" not in fixed.choices
    assert notes == ["space: width is given by --set student.width=256 and not searched"]
    whole, notes = narrowed(load_space(None), load_recipe("distilhubert"))
    assert "chunk_ms" not in whole.choices and "does not stream" in notes[0]
    hidden, notes = narrowed(load_space(None), load_recipe("distill-hidden"))
    assert "quantize" not in hidden.choices and "matches hidden layers" in notes[1]
    narrow = load_space(written(tmp_path, "width: [192, 256]\n"))
    with pytest.raises(SpeechpressError, match="one shape left"):
        narrowed(narrow, load_recipe("pocket-heads", ["student.width=256"]))


def test_a_shape_makes_a_recipe_that_the_strict_reader_takes():
    space, _ = narrowed(load_space(None), load_recipe("pocket-heads"))
    shape = space.shape({name: len(choices) - 1 for name, choices in space.choices.items()})
    made = shaped(load_recipe("pocket-heads"), shape)
    again = parse_recipe(made.text(), "made.yaml")
    assert again == made and again.streaming.chunk_ms == (320, 640)
    config, _ = student_config(again, BASE, BASE.width)
    assert (config.num_layers, config.width, set(config.num_heads), set(config.ffn_widths)) == (8, 512, {6}, {2048})
    assert config.conv_channels == shape["conv_channels"] and config.pos_conv_kernel == 64
    assert shaped(made, {"chunk_ms": 960.0}).streaming.chunk_ms == (960, 960)


def test_a_shape_without_the_layers_that_are_matched_is_refused():
    with pytest.raises(SpeechpressError, match=r"layers is 1, but match.pairs of distill-hidden has student layer 2"):
        shaped(load_recipe("distill-hidden"), {"layers": 1})


def test_the_cheapest_shape_is_the_cheapest_of_all(tmp_path):
    text = "layers: [4, 2]\nwidth: [384, 192]\nffn_widths: [1536, 384]\nchunk_ms: [320, 80]\n"
    space, recipe = load_space(written(tmp_path, text)), load_recipe("pocket-heads")

    def macs(shape):
        return chunk_macs(student_config(shaped(recipe, shape), BASE, 768)[0], shape["chunk_ms"])

    everything = [dict(zip(space.choices, row, strict=True)) for row in itertools.product(*space.choices.values())]
    assert len(everything) == space.size
    assert macs(cheapest(space, recipe, BASE, 768)) == min(map(macs, everything))


def test_a_shape_in_a_few_words():
    shape = {"conv_channels": (64, 64, 128), "layers": 3, "chunk_ms": 80.0, "quantize": "int8"}
    assert described(shape) == "front end 64-128, 3 layers, 80 ms, int8"
