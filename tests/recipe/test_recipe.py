from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.distill.resolve import resolve_match, student_config
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe, parse_recipe
from speechpress.compressor.recipe.schema import Match, Recipe, Streaming
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
        input_norm="utterance",
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
        (["student.width=100"], "--set student.width=100: encoder: width 100 is not a multiple"),
        (["student.conv_channels=[8, 8]"], "must have one entry per layer"),
    ):
        with pytest.raises(SpeechpressError, match=r"--set") as caught:
            config(*settings)
        assert wanted in str(caught.value)


def test_a_streaming_recipe_replaces_what_looks_at_the_whole_recording() -> None:
    config, notes = student_config(load_recipe("distilhubert-streaming"), EncoderConfig(), 768)
    assert (config.conv_norm, config.input_norm, config.pos_conv_future, config.left_context) == (
        "static",
        "none",
        0,
        64,
    )
    assert len(notes) == 1 and "conv_norm group" in notes[0]
    large = replace(EncoderConfig(), conv_norm="layer", input_norm="utterance")
    config, notes = student_config(load_recipe("distilhubert-streaming"), large, 768)
    assert (config.conv_norm, config.input_norm) == ("layer", "running")
    assert len(notes) == 1 and "input_norm utterance" in notes[0]


def test_a_lag_is_whole_frames_of_a_student_that_streams() -> None:
    def config(*settings: str, name: str = "distilhubert-streaming") -> EncoderConfig:
        return student_config(load_recipe(name, settings), EncoderConfig(), 768)[0]

    late = config("match.lag_ms=100")
    assert late.lag_frames == 5 and late.stream_spec(1).lag_ms == 100 and late.to_dict()["lag_frames"] == 5
    assert config("match.lag_ms=0") == config() and "lag_frames" not in config().to_dict()
    assert config("match.lag_ms=80", "student.time_reduction=2").lag_frames == 2
    for settings, why in (
        (
            ["match.lag_ms=90"],
            r"--set match\.lag_ms=90: .* the student's frame of 20 ms; the nearest is 80",
        ),
        (["match.lag_ms=5"], "the nearest is 20"),
        (["match.lag_ms=195", "student.time_reduction=3"], "frame of 60 ms; the nearest is 180"),
        (["match.lag_ms=220"], r"match\.lag_ms is 220\.0, but must be at most 200"),
        (["student.lag_frames=2"], "unknown key 'student.lag_frames'"),
    ):
        with pytest.raises(SpeechpressError, match=why):
            config(*settings)
    with pytest.raises(SpeechpressError, match=r"match\.lag_ms is for a student that streams"):
        config("match.lag_ms=100", name="distilhubert")


def test_a_streaming_recipe_keeps_what_it_is_told() -> None:
    def config(*settings: str) -> EncoderConfig:
        return student_config(load_recipe("distilhubert-streaming", settings), EncoderConfig(), 768)[0]

    assert config("student.conv_norm=frame").conv_norm == "frame"
    assert config("streaming.lookahead_ms=90").pos_conv_future == 5  # whole frames, rounded up
    assert config("streaming.left_context_ms=640").left_context == 32
    why = r"--set student.conv_norm=group: .* for streaming, but conv_norm is 'group'"
    with pytest.raises(SpeechpressError, match=why):
        config("student.conv_norm=group")
    with pytest.raises(SpeechpressError, match=r"pos_conv_future is 150, but must be 0 to 127"):
        config("streaming.lookahead_ms=3000")


def test_any_recipe_becomes_a_streaming_one_by_a_section() -> None:
    recipe = load_recipe("distill-last", ["streaming.full_context=0.5"])
    assert recipe.streaming == Streaming(full_context=0.5)
    assert parse_recipe(recipe.text(), "again.yaml") == recipe
    assert load_recipe("distill-last").streaming is None
    why = r"streaming.chunk_ms is \[640.0, 80.0\], but must be \[smallest, largest\]"
    with pytest.raises(SpeechpressError, match=why):
        load_recipe("pocket", ["streaming.chunk_ms=[640, 80]"])
    with pytest.raises(SpeechpressError, match=r"unknown key 'streaming\.chunk'"):
        load_recipe("pocket", ["streaming.chunk=80"])


def test_chunks_are_drawn_per_step_and_the_same_again() -> None:
    streaming, encoder = Streaming(), EncoderConfig()
    drawn = [streaming.draw_chunk(encoder, 0, step) for step in range(2000)]
    assert drawn == [streaming.draw_chunk(encoder, 0, step) for step in range(2000)]
    assert drawn != [streaming.draw_chunk(encoder, 1, step) for step in range(2000)]
    chunks = [chunk for chunk in drawn if chunk is not None]
    assert {min(chunks), max(chunks)} == {4, 32}
    assert abs(len(chunks) / len(drawn) - 0.75) < 0.03
    assert 0.4 < sum(chunk <= 11 for chunk in chunks) / len(chunks) < 0.6  # half below the geometric mean
    assert {Streaming(full_context=1).draw_chunk(encoder, 0, step) for step in range(50)} == {None}


PEER = """
name: peer
teacher: facebook/hubert-base-ls960
student:
  layers: 4
  CHANGE
match: {style: layers, pairs: [[1, 3], [2, 6], [3, 9], [4, 12]], depth: 12, MATCH}
train: {steps: 1}
"""


def peer(change: str = "", match: str = "l2: 1.0") -> Recipe:
    return parse_recipe(PEER.replace("CHANGE", change).replace("MATCH", match), "mine.yaml")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("reuse_attention: [true, false, false, true]", "reuse_attention is true for the first layer"),
        ("reuse_attention: [false, true]", "student.reuse_attention has 2 values, but student.layers is 4"),
        ("distinct_layers: 3", "distinct_layers is 3, which does not divide 4 layers"),
        ("{distinct_layers: 2, ffn_widths: [8, 8, 16, 8]}", "ffn_widths must repeat after 2 layers"),
        ("projection: false", "projection is false, so the last of conv_channels, 512, must be the width, 768"),
    ],
)
def test_parts_of_the_peers_that_do_not_fit_name_the_line(change: str, wanted: str) -> None:
    text = PEER.replace("MATCH", "l2: 1.0").replace("CHANGE", change.strip("{}").replace(", ffn", "\n  ffn"))
    with pytest.raises(SpeechpressError) as caught:
        student_config(parse_recipe(text, "mine.yaml"), EncoderConfig(), 768)
    line = 7 if "\n" in text.split("layers: 4")[1].split("match")[0].strip() else 6
    assert str(caught.value).startswith(f"mine.yaml:{line}: ") and wanted in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line", "wanted"),
    [
        ("reuse_attention: [false, true, false, false]\n  num_heads: [12, 4, 4, 4]", 7, "the same num_heads"),
        ("num_heads: [12, 4, 4, 4]\n  reuse_attention: [false, true, false, false]", 6, "the same num_heads"),
        ("pos_conv_groups: 7\n  width: 768", 6, "not a multiple of pos_conv_groups"),
        ("pos_conv_kernel: 8\n  pos_conv_future: 9", 7, "pos_conv_future is 9"),
        ("width: 65536\n  ffn_widths: 1000000", 6, "at most 4,000,000,000"),
        ("dropout: 0.1\n  width: 65537", 7, "student.width is 65537, but must be at most 65536"),
        ("dropout: 0.1\n  conv_strides: [5, 2, 2, 2, 2, 2, 1000]", 7, "more than 16000 samples"),
    ],
)
def test_an_error_names_the_line_of_the_key_that_is_to_blame(change: str, line: int, wanted: str) -> None:
    with pytest.raises(SpeechpressError) as caught:
        student_config(peer(change), EncoderConfig(), 768)
    assert str(caught.value).startswith(f"mine.yaml:{line}: ") and wanted in str(caught.value)


def test_a_look_ahead_that_does_not_fit_is_blamed_on_the_streaming_section() -> None:
    text = PEER.replace("CHANGE", "dropout: 0.1").replace("MATCH", "l2: 1.0") + "streaming:\n  lookahead_ms: 5000\n"
    with pytest.raises(SpeechpressError, match=r"^mine\.yaml:10: encoder: pos_conv_future is 250"):
        student_config(parse_recipe(text, "mine.yaml"), EncoderConfig(), 768)
    own = text.replace("dropout: 0.1", "conv_norm: group").replace("5000", "0")
    with pytest.raises(SpeechpressError, match=r"^mine\.yaml:6: the recipe is for streaming, but conv_norm is 'group'"):
        student_config(parse_recipe(own, "mine.yaml"), EncoderConfig(), 768)


def test_parts_of_the_peers_reach_the_encoder() -> None:
    config, notes = student_config(peer("distinct_layers: 2"), EncoderConfig(), 768)
    assert (config.distinct_layers, config.num_layers, notes) == (2, 4, [])
    uneven = replace(EncoderConfig(), num_heads=tuple(range(1, 13)), ffn_widths=(64,) * 12)
    config, _ = student_config(peer("distinct_layers: 2"), uneven, 768)
    assert config.num_heads == (1, 2, 1, 2)
    reusing, _ = student_config(peer("reuse_attention: [false, true, false, true]"), EncoderConfig(), 768)
    assert [reusing.reuses(index) for index in range(5)] == [False, True, False, True, False]
    assert student_config(peer("reuse_attention: []"), EncoderConfig(), 768)[0].reuse_attention == ()


def test_weights_and_projections_follow_their_layers_to_another_depth() -> None:
    recipe = peer(match="weights: [0.1, 0.2, 0.3, 1.0], projections: [0, 1, 1, 2]")
    match, notes = resolve_match(recipe, 2)
    assert match.pairs == ((2, 1), (4, 2)) and match.weights == (0.2, 1.0)
    assert match.projections == (0, 1) and match.layer_weights == {1: 0.2, 2: 1.0}
    assert "kept" in notes[1]
    assert resolve_match(recipe, 12)[0].weights == (0.1, 0.2, 0.3, 1.0)


def test_a_streaming_student_with_a_time_reduction_looks_ahead_by_whole_frames() -> None:
    settings = ["student.time_reduction=2", "streaming.lookahead_ms=50"]
    config, _ = student_config(load_recipe("distilhubert-streaming", settings), EncoderConfig(), 768)
    assert (config.pos_conv_future, config.left_context, config.blockers) == (4, 32, ())
    assert Streaming().chunk_range(config) == (2, 16)
