"""The section `hear`: what only the student hears, read strictly."""

import pytest

from speechpress.compressor.data.noise import DISTURBANCES
from speechpress.compressor.recipe.files import differences, load_recipe, parse_recipe
from speechpress.compressor.recipe.hear import NOISES, Hear
from speechpress.runtime.errors import SpeechpressError

SMALL = """\
name: small
teacher: starter
student: {layers: 2}
match: {layers: [1, 2]}
train: {steps: 10}
hear:
"""


def test_every_kind_of_noise_that_may_be_asked_for_can_be_made() -> None:
    assert set(NOISES) == set(DISTURBANCES)


def test_a_recipe_without_the_section_is_written_as_it_always_was() -> None:
    plain = parse_recipe(SMALL.replace("hear:\n", ""), "mine.yaml")
    assert plain.hear is None and "hear" not in plain.to_dict() and "standardise" not in plain.to_dict()["match"]


def test_what_is_not_said_has_its_defaults_and_survives_being_written() -> None:
    recipe = parse_recipe(SMALL + "  mask_prob: 0.4\n  noise_prob: 0.5\n", "mine.yaml")
    assert recipe.hear == Hear(mask_prob=0.4, noise_prob=0.5)
    assert (recipe.hear.span_frames, recipe.hear.snr_range_db, recipe.hear.kinds) == (10, (5.0, 20.0), NOISES)
    again = parse_recipe(recipe.text(), "again.yaml")
    assert again == recipe and not differences(recipe, again)
    only = parse_recipe(SMALL + "  mask_prob: 0.4\n  mask_length: 3\n", "mine.yaml").hear
    assert only.kinds == () and only.span_frames == 3
    set_by_hand = parse_recipe(SMALL.replace("hear:\n", ""), "mine.yaml", ["hear.noise_prob=0.1", "hear.noise=[pink]"])
    assert set_by_hand.hear.kinds == ("pink",)


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("  mask_length: 3", "mine.yaml:6: hear has neither mask_prob nor noise_prob"),
        ("  noise_prob: 0.5\n  mask_length: 3", "mine.yaml:8: hear.mask_length is only used with hear.mask_prob"),
        ("  mask_prob: 0.5\n  snr_db: [0, 5]", "mine.yaml:8: hear.snr_db is only used with hear.noise_prob"),
        ("  mask_prob: 0.5\n  noise: [pink]", "mine.yaml:8: hear.noise is only used with hear.noise_prob"),
        (
            "  noise_prob: 0.5\n  snr_db: [5, 0]",
            "mine.yaml:8: hear.snr_db is [5.0, 0.0], but must be [lowest, highest]",
        ),
        ("  noise_prob: 0.5\n  snr_db: [5]", "mine.yaml:8: hear.snr_db has 1 values, but must have 2"),
        ("  noise_prob: 0.5\n  snr_db: [0, 90]", "mine.yaml:8: hear.snr_db has 90.0, but must be at most 60"),
        ("  noise_prob: 0.5\n  noise: [pink, pink]", "mine.yaml:8: hear.noise lists a kind twice"),
        ("  noise_prob: 0.5\n  noise: [white]", "mine.yaml:8: hear.noise has 'white', but must be one of pink, babble"),
        ("  mask_prob: 0", "mine.yaml:7: hear.mask_prob is 0.0, but must be more than 0"),
        ("  noise_prob: 2", "mine.yaml:7: hear.noise_prob is 2.0, but must be at most 1"),
        ("  noise_probability: 2", "mine.yaml:7: unknown key 'hear.noise_probability'. Did you mean 'noise_prob'?"),
        ("  lr: 2", "mine.yaml:7: unknown key 'hear.lr'. It belongs under train, as train.lr."),
    ],
)
def test_errors_name_file_and_line(section: str, wanted: str) -> None:
    with pytest.raises(SpeechpressError) as caught:
        parse_recipe(SMALL + section + "\n", "mine.yaml")
    assert wanted in str(caught.value)


def test_standardised_targets_need_dimensions_to_compare() -> None:
    relations = "match: {style: layers, pairs: [[1, 1], [2, 2]], l1: 0, cosine: 0, gram: 1, standardise: true}"
    text = SMALL.replace("match: {layers: [1, 2]}", relations).replace("hear:\n", "")
    with pytest.raises(SpeechpressError, match=r"mine\.yaml:4: match\.standardise is for the dimensions"):
        parse_recipe(text, "mine.yaml")
    projected = text.replace("gram: 1", "gram: 1, projections: [0, 1]")
    assert parse_recipe(parse_recipe(projected, "a").text(), "b").match.standardise is True


def test_frames_are_hidden_from_both_or_from_the_student_alone() -> None:
    text = SMALL.replace("layers: [1, 2]}", "layers: [1, 2], mask_prob: 0.8}")
    with pytest.raises(SpeechpressError, match=r"mine\.yaml:7: hear\.mask_prob hides frames from the student alone"):
        parse_recipe(text + "  mask_prob: 0.4\n", "mine.yaml")
    assert parse_recipe(text + "  noise_prob: 0.4\n", "mine.yaml").hear.mask_prob is None


def test_a_power_is_of_standardised_targets() -> None:
    for key in ("standardise_power", "standardise_plain"):
        with pytest.raises(SpeechpressError, match=rf"match\.{key} is for standardised targets"):
            load_recipe("distilhubert", [f"match.{key}=0.5"])
    recipe = load_recipe("distilhubert", ["match.standardise=true", "match.standardise_power=0.5"])
    assert parse_recipe(recipe.text(), "again").match.standardise_power == 0.5
