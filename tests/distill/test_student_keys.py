"""Whole runs with the keys that let a student learn more: what only it hears, and what it is held against."""

import pytest
import torch
from safetensors.torch import load_file

from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.plan import plan
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

QUICK = ["train.steps=4", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=2"]
KEYS = ["hear.mask_prob=0.3", "hear.mask_length=3", "hear.noise_prob=0.5", "match.standardise=true", "match.lag_ms=40"]


class Killed(Exception):
    pass


def recipe(teacher, *settings, name="distilhubert-streaming"):
    return load_recipe(name, [f"teacher={teacher}", *QUICK, *settings])


def run(loaded, clips, out, **options):
    events = []
    outcome = distill(loaded, RunOptions((clips,), out, "cpu", **options), events.append)
    return outcome, events


def kill(event):
    if event["event"] == "saved":
        raise Killed


def test_a_resumed_run_with_all_keys_has_the_very_same_weights(tiny_teacher, few_clips, tmp_path):
    loaded = recipe(tiny_teacher, *KEYS, "train.checkpoint_every=2", "train.lr=1e-3")
    run(loaded, few_clips, tmp_path / "whole")
    with pytest.raises(Killed):
        distill(loaded, RunOptions((few_clips,), tmp_path / "cut", "cpu"), kill)
    outcome, events = run(loaded, few_clips, tmp_path / "cut", resume=True)
    assert events[1] == {"event": "resumed", "step": 2} and outcome.card["steps"] == 4
    assert load_encoder(tmp_path / "cut").config.lag_frames == 2 and outcome.card["match"]["lag_ms"] == 40
    assert outcome.card["streaming"][0]["lag_ms"] == 40
    for file in ("model.safetensors", "heads.safetensors"):
        expected, found = (load_file(tmp_path / name / file) for name in ("whole", "cut"))
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_student_alone_has_a_mask_vector_that_is_trained_with_any_teacher(tiny_teacher, few_clips, tmp_path):
    from tiny_models import save, tiny_whisper

    noise = plan(recipe(tiny_teacher, "hear.noise_prob=0.5"), load_teacher(str(tiny_teacher))).student
    assert not noise.masked_spec_embed.requires_grad
    whisper = save(tiny_whisper(), tmp_path / "whisper")
    loaded = recipe(whisper, *KEYS, "match.layers=[1,2]", "student.width=32", "train.steps=2", "train.lr=1e-3")
    run(loaded, few_clips, tmp_path / "run")
    start = plan(loaded, load_teacher(whisper)).student
    assert start.masked_spec_embed.requires_grad
    found = load_file(tmp_path / "run" / "model.safetensors")["masked_spec_embed"]
    assert not torch.equal(start.masked_spec_embed, found)


def test_the_loss_falls_with_all_keys(tiny_teacher, few_clips, tmp_path):
    loaded = recipe(tiny_teacher, *KEYS, "train.steps=40", "train.lr=3e-3", "train.validate_every=40")
    run(loaded, few_clips, tmp_path / "run")
    events = MetricsLog(tmp_path / "run" / "metrics.jsonl").read()
    losses = [event["loss"] for event in events if event["event"] == "train"]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    first, last = (event["layers"] for event in events if event["event"] == "valid")
    assert all(last[layer]["cosine"] > first[layer]["cosine"] for layer in first)


def test_a_teacher_that_answers_late_is_refused(tmp_path):
    sizes = {"conv_channels": (16,) * 7, "width": 32, "head_dim": 8, "num_heads": (4,) * 4, "ffn_widths": (64,) * 4}
    streams = {"conv_norm": "static", "pos_conv_future": 0, "left_context": 12, "lag_frames": 2}
    config = EncoderConfig(**sizes, **streams, pos_conv_kernel=16, pos_conv_groups=4)
    teacher = tmp_path / "late"
    teacher.mkdir()
    save_encoder(teacher, Encoder(config))
    with pytest.raises(SpeechpressError, match=r"answers 40 ms late \(match\.lag_ms\)"):
        plan(recipe(teacher), load_teacher(str(teacher)))


def test_gates_and_fewer_bits_go_with_what_only_the_student_hears(tiny_teacher, few_clips, tmp_path):
    from speechpress.compressor.distill.stages import distill_in_stages

    gates = ["prune.sparsity=0.2", "prune.ramp=2", "prune.final.steps=2", "train.steps=3"]
    loaded = recipe(tiny_teacher, *KEYS, *gates)
    outcome = distill_in_stages(loaded, RunOptions((few_clips,), tmp_path / "gates", "cpu"), lambda event: None)
    assert outcome.finished and outcome.card["recipe"]["hear"]["mask_prob"] == 0.3
    rounded, _ = run(recipe(tiny_teacher, *KEYS, "quantize.scheme=int8-static"), few_clips, tmp_path / "bits")
    assert rounded.finished
