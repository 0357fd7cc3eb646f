import json
import os
import signal

import pytest

from speechpress.compressor.cli.show import saved_step, show, words
from speechpress.compressor.cli.show_tables import _lineage_rows, show_table
from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.errors import SpeechpressError

QUICK = ["train.steps=6", "train.precision=fp32", "train.batch=2", "train.crop_s=0.5", "train.checkpoint_every=2"]


def begun(teacher, clips, out, resume=False):
    """Run until Ctrl-C, which comes after three steps the first time."""

    def listen(event):
        if event["event"] == "train" and event["step"] == 3 and not resume:
            os.kill(os.getpid(), signal.SIGINT)

    recipe = load_recipe("distilhubert", [f"teacher={teacher}", *QUICK])
    return distill(recipe, RunOptions((clips,), out, "cpu", resume=resume, workers=0), listen)


def test_an_interrupted_run_says_so_until_it_is_finished(tiny_teacher, few_clips, tmp_path):
    out = tmp_path / "run"
    assert not begun(tiny_teacher, few_clips, out).finished
    told = show(str(out))
    assert told["kind"] == "checkpoint" and told["interrupted"] == {"step": 3, "steps": 6, "saved_step": 3}
    assert ("state", "interrupted at step 3 of 6; --resume continues at step 3") in _lineage_rows(told)
    for name in ("card.json", "config.json", "model.safetensors"):  # as after a kill before the first checkpoint
        (out / name).unlink()
    told = show(str(out))
    assert told["kind"] == "run" and words(told["interrupted"]).startswith("interrupted at step 3 of 6")
    assert show_table(told)
    with pytest.raises(SpeechpressError, match=r"interrupted before it had a checkpoint.*--resume"):
        load_checkpoint(out)
    assert begun(tiny_teacher, few_clips, out, resume=True).finished
    told = show(str(out))
    assert told["interrupted"] is None and told["steps"] == 6
    assert not any(name == "state" for name, _ in _lineage_rows(told))


def test_a_run_that_saved_nothing_and_one_whose_state_is_damaged(tiny_teacher, tmp_path):
    recipe = load_recipe("distilhubert", [f"teacher={tiny_teacher}", *QUICK])
    (tmp_path / "recipe.yaml").write_text(recipe.text())
    told = show(str(tmp_path))
    assert words(told["interrupted"]) == "interrupted at step 0 of 6; there is no saved state to continue from"
    assert json.dumps(told)
    (tmp_path / "resume.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(SpeechpressError, match=r"damaged.*--overwrite"):
        saved_step(tmp_path / "resume.safetensors")
