import pytest

from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.recipe.files import load_recipe

TRAIN = ["train.steps=40", "train.lr=0.003", "train.batch=4", "train.crop_s=0.5", "train.validate_every=40"]
PATCHES = (
    "front_end=patch",
    "conv_channels=[16,16]",
    "conv_kernels=[400,1]",
    "conv_strides=[320,1]",
    "conv_norm=frame",
)
STUDENTS = {"rms": ("norm=rms",), "dyt and patches": ("norm=dyt", *PATCHES)}


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_with_parts_of_its_own_learns(name, tiny_teacher, few_clips, tmp_path):
    own = [f"student.{setting}" for setting in (*STUDENTS[name], "init=random")]
    recipe = load_recipe("distilhubert", [f"teacher={tiny_teacher}", "train.precision=fp32", *TRAIN, *own])
    events = []
    distill(recipe, RunOptions((few_clips,), tmp_path / "out", "cpu"), events.append)
    losses = [event["loss"] for event in events if event["event"] == "train"]
    assert len(losses) > 1 and losses[-1] < 0.95 * losses[0]
