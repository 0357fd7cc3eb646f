"""The commands for s3prl: for every task, on the way that holds the student, with options that s3prl has."""

import dataclasses
import re
import shlex

import pytest
from bundled import DISTIL, make, saved

from speechpress.compressor.evaluate.s3prl import s3prl_plan
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.tasks.suites import TASKS
from speechpress.compressor.teachers.convert import convert
from speechpress.runtime.errors import SpeechpressError

DOWNSTREAM = {
    "ctc", "asr", "speech_commands", "voxceleb1", "sv_voxceleb1", "diarization", "fluent_commands", "emotion",
    "quesst14_dtw",
}  # fmt: skip


def test_every_task_is_trained_and_tested(tmp_path):
    plan = s3prl_plan(saved(tmp_path / "student"))
    assert plan["upstream"] == "distiller_local" and plan["format"] == "s3prl"
    assert sorted(step["task"] for step in plan["steps"][1:]) == sorted(TASKS)
    assert plan["steps"][0]["commands"][0].startswith("export CORPORA=")
    for step in plan["steps"][1:]:
        runs = [shlex.split(line) for line in step["commands"] if "run_downstream.py -m" in line]
        assert any("-m evaluate" in line or "test_expdir.sh" in line for line in step["commands"])
        for words in runs:
            if "-d" in words:
                assert words[words.index("-d") + 1] in DOWNSTREAM
                assert words[words.index("-u") + 1] == "distiller_local"
                assert words[words.index("-k") + 1] == str(tmp_path / "student.ckpt")
            for option in words[words.index("-o") + 1].split(",,") if "-o" in words else ():
                assert re.fullmatch(r"config\.[a-z_0-9.]+=.+", option)


def test_folds_layers_and_recipes_of_their_own(tmp_path):
    steps = {step["task"]: step["commands"] for step in s3prl_plan(saved(tmp_path / "s"))["steps"]}
    assert sum("test_fold='fold" in line for line in steps["er"]) == 5 and len(steps["er"]) == 10
    assert sum("run_downstream" in line for line in steps["qbe"]) == 2 * 3 and "-l 2" in steps["qbe"][-2]
    assert "-c downstream/ctc/libriphone.yaml" in steps["pr"][0] and "-c downstream/ctc/snips.yaml" in steps["sf"][0]
    assert "dev-clean-best.ckpt" in steps["asr"][-1] and "best-states-dev.ckpt" in steps["sd"][-2]


def test_the_first_command_makes_what_the_others_open(tmp_path):
    plan = s3prl_plan(saved(tmp_path / "student"), data_root=tmp_path)
    (line,) = plan["steps"][0]["commands"]
    words = shlex.split(line)
    assert words[:2] == ["compress", "convert"] and "$CORPORA" not in str(plan["steps"])
    done = convert(words[2], words[3])
    assert str(done.out) == plan["file"] and plan["upstream"] in done.open_with


def test_another_way_where_a_distiller_cannot_hold_it(tmp_path):
    hubert = s3prl_plan(saved(tmp_path / "h", projection_norm=True))
    assert (hubert["upstream"], hubert["format"]) == ("hubert_custom", "s3prl-hubert")
    assert "--to s3prl-hubert" in hubert["steps"][0]["commands"][-1]
    assert any("LayerNorm before the projection" in note for note in hubert["notes"])
    plain = s3prl_plan(saved(tmp_path / "t", conv_bias=True, conv_norm="layer"))
    assert (plain["upstream"], plain["format"]) == ("hf_hubert_custom", "transformers")
    for plan in (hubert, plain):
        words = shlex.split(plan["steps"][0]["commands"][-1])
        assert (
            plan["upstream"].split("_")[-1] == "custom"
            and convert(words[2], words[3], words[5]).format == plan["format"]
        )


def test_no_way_is_said_with_the_other_one(small_checkpoint, small_bundle, tmp_path):
    with pytest.raises(SpeechpressError, match=r"streams, and s3prl has no counterpart.*--suite superb"):
        s3prl_plan(small_checkpoint)
    with pytest.raises(SpeechpressError, match="a bundle runs in ExecuTorch"):
        s3prl_plan(small_bundle)
    odd = make(dataclasses.replace(DISTIL, ffn_widths=(24, 8)))
    save_encoder(tmp_path / "odd", odd)
    write_json(tmp_path / "odd" / "card.json", {})
    with pytest.raises(SpeechpressError, match=r"s3prl has no model that computes.*different sizes"):
        s3prl_plan(tmp_path / "odd")
