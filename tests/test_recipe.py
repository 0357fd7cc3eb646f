from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.config import EncoderConfig
from speechpress.compressor.encoder import Encoder
from speechpress.compressor.recipe import Match, resolve_match, student_config
from speechpress.compressor.recipe_file import load_recipe
from speechpress.runtime.errors import SpeechpressError


@pytest.mark.parametrize(
    ("depth", "layers"),
    [(12, (4, 8, 12)), (6, (2, 4, 6)), (24, (8, 16, 24)), (48, (16, 32, 48)), (4, (1, 3, 4)), (2, (1, 2)), (1, (1,))],
)
def test_layers_at_the_same_fractions(depth: int, layers: tuple[int, ...]) -> None:
    match, notes = resolve_match(load_recipe("distilhubert"), depth)
    assert match == replace(load_recipe("distilhubert").match, layers=layers, depth=depth)
    assert match.teacher_layers == layers
    if depth == 12:
        assert notes == []
    if depth == 6:
        assert notes == ["match: layers 4, 8, 12 of 12 -> 2, 4, 6 of 6"]
    assert any("same layer" in note for note in notes) == (depth < 3)


def test_pairs_at_the_same_fractions() -> None:
    recipe = load_recipe("distill-hidden")
    assert resolve_match(recipe, 24)[0].pairs == ((0, 8), (1, 16), (2, 24))
    match, notes = resolve_match(recipe, 2)
    assert match.pairs == ((1, 1), (2, 2))
    assert "pairs [1, 1], [2, 2] are kept" in notes[1]


@given(
    st.integers(1, 60).flatmap(
        lambda depth: st.tuples(
            st.lists(st.integers(0, depth), min_size=1, unique=True), st.just(depth), st.integers(1, 60)
        )
    )
)
def test_resolved_layers_always_exist(case: tuple[list[int], int, int]) -> None:
    layers, meant, depth = case
    recipe = load_recipe("distilhubert")
    recipe = replace(recipe, match=Match(layers=tuple(layers), depth=meant))
    found = resolve_match(recipe, depth)[0].layers
    assert found and len(set(found)) == len(found)
    assert all(0 <= layer <= depth for layer in found)
    assert (0 in found) == (0 in layers)
    assert (depth in found) or meant not in layers
    in_order = resolve_match(replace(recipe, match=Match(layers=tuple(sorted(layers)), depth=meant)), depth)[0].layers
    assert list(in_order) == sorted(in_order)


def test_layer_that_the_teacher_lacks() -> None:
    recipe = load_recipe("distilhubert", ["match.layers=[4, 13, 14]"])
    with pytest.raises(SpeechpressError) as caught:
        resolve_match(recipe, 12)
    assert str(caught.value).startswith(
        "--set match.layers=[4, 13, 14]: match.layers has 13, 14, but the teacher has 12 layers "
        "(0 = input of the first layer). Use values 0–12"
    )
    assert resolve_match(recipe, 14)[1] == []


def test_layer_that_the_teacher_lacks_names_the_line(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: a\nteacher: b\nstudent: {layers: 2}\ntrain: {steps: 1}\nmatch:\n  layers: [6, 13]\n")
    with pytest.raises(SpeechpressError) as caught:
        resolve_match(load_recipe(str(path)), 12)
    assert str(caught.value).startswith(f"{path}:6: match.layers has 13, but the teacher has 12 layers")


def test_distilhuberts_student() -> None:
    config, notes = student_config(load_recipe("distilhubert"), EncoderConfig(), 768)
    assert notes == []
    assert config == replace(EncoderConfig().with_layers(2), projection_norm=False)


def test_student_keeps_what_its_teacher_has() -> None:
    teacher = EncoderConfig(
        width=256,
        head_dim=32,
        num_heads=(8,) * 6,
        ffn_widths=(512,) * 6,
        pre_norm=True,
        normalize_input=True,
        conv_norm="layer",
    )
    config, _ = student_config(load_recipe("distilhubert"), teacher, 256)
    assert config == replace(teacher.with_layers(2), projection_norm=False)


def test_student_of_a_teacher_without_a_waveform_front_end() -> None:
    config, notes = student_config(load_recipe("distilhubert"), None, 512)
    assert (config.width, config.num_heads, config.ffn_widths) == (512, (8, 8), (2048, 2048))
    assert config.conv_channels == EncoderConfig().conv_channels
    assert "no waveform front end" in notes[0]
    with pytest.raises(SpeechpressError, match=r"distilhubert\.yaml:13: the teacher is 500 wide"):
        student_config(load_recipe("distilhubert"), None, 500)
    config, _ = student_config(load_recipe("distilhubert", ["student.width=256"]), None, 500)
    assert (config.width, config.num_heads) == (256, (4, 4))


def test_sizes_per_layer_and_what_follows_the_width() -> None:
    def config(*settings: str) -> tuple[EncoderConfig, list[str]]:
        return student_config(load_recipe("distilhubert", settings), EncoderConfig(), 768)

    assert config("student.num_heads=[6, 3]", "student.ffn_widths=100")[0].num_heads == (6, 3)
    narrow, notes = config("student.width=384", "student.layers=3")
    assert (narrow.num_heads, narrow.ffn_widths) == ((6,) * 3, (1536,) * 3)
    assert len(notes) == 2
    assert Encoder(narrow).config == narrow
    for settings, wanted in (
        (["student.num_heads=[6, 6, 6]"], "student.num_heads has 3 values, but student.layers is 2"),
        (["student.width=100"], "--set student.width=100: encoder: width 100 is no multiple"),
        (["student.conv_channels=[8, 8]"], "must have one entry per layer"),
    ):
        with pytest.raises(SpeechpressError, match=r"--set") as caught:
            config(*settings)
        assert wanted in str(caught.value)
