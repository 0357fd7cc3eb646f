import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.heldout import VALIDATION_S, heldout_waves
from speechpress.compressor.distill.distill import distill, first_batch, make_batches, set_up
from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.objectives import load_heads
from speechpress.compressor.distill.plan import plan
from speechpress.compressor.distill.run import RunOptions, check_folder
from speechpress.compressor.models.checkpoint import load_checkpoint, load_encoder, read_json, save_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.tensor_file import read_metadata

QUICK = ["train.steps=4", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=2"]


def recipe(teacher, *settings, name="distilhubert"):
    return load_recipe(name, [f"teacher={teacher}", *QUICK, *settings])


def run(loaded, clips, out, **options):
    events = []
    outcome = distill(loaded, RunOptions((clips,), out, "cpu", **options), events.append)
    return outcome, events


def test_a_student_starts_as_the_beginning_of_its_teacher(tiny_teacher):
    teacher = load_teacher(str(tiny_teacher))
    job = plan(recipe(tiny_teacher, "student.projection_norm=true"), teacher)
    waves = torch.randn(1, 8000)
    ours, theirs = job.student.eval().hidden_states(waves), teacher.hidden_states(waves)
    for layer in range(3):
        torch.testing.assert_close(ours[layer], theirs[layer], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["distilhubert", "distilhubert-streaming"])
def test_a_student_of_another_width_starts_as_a_part_of_its_teacher(tiny_teacher, name):
    teacher = load_teacher(str(tiny_teacher))
    width = teacher.card.encoder.width
    job = plan(recipe(tiny_teacher, f"student.width={2 * width}", name=name), teacher)
    assert any("have other shapes" in note for note in job.notes)
    kernel = "encoder.layers.0.feed_forward.output_dense.weight"
    ours, theirs = job.student.state_dict()[kernel], teacher.hubert_weights()[kernel]
    assert ours.shape[0] == 2 * width and set(theirs.flatten().tolist()) <= set(ours.flatten().tolist())


@torch.no_grad()
def test_projections_start_as_the_identity_on_what_comes_from_the_teacher(tiny_teacher):
    teacher, waves = load_teacher(str(tiny_teacher)), torch.randn(1, 8000) * 0.1
    width = teacher.card.encoder.width
    matched = [
        "match.style=layers",
        "match.layers=[]",
        "match.pairs=[[0,0],[1,1],[2,2]]",
        "student.projection_norm=true",
    ]
    targets = teacher.hidden_states(waves)
    wider = plan(recipe(tiny_teacher, *matched, f"student.width={2 * width}"), teacher)
    assert any(f"identity on the {width} dimensions" in note for note in wider.notes)
    for layer, found in wider.heads(wider.student.eval().hidden_states(waves)).items():
        assert (
            torch.cosine_similarity(found, targets[layer], dim=-1).mean() > 0.95
        )  # norms see twice as many dimensions
    narrower = plan(recipe(tiny_teacher, *matched, f"student.width={width // 2}"), teacher)
    linear = narrower.heads.projections[0]
    ones = (linear.weight == 1.0).nonzero()  # (teacher's dimension, student's)
    assert ones[:, 1].sort().values.tolist() == list(range(width // 2)) and len(set(ones[:, 0].tolist())) == width // 2
    random = plan(recipe(tiny_teacher, *matched, f"student.width={2 * width}", "student.init=random"), teacher)
    assert not any("identity" in note for note in random.notes)


def test_statistics_of_another_number_of_channels_are_measured_anew(tiny_teacher, tmp_path):
    teacher = load_teacher(str(tiny_teacher))
    channels = teacher.card.encoder.conv_channels
    wider = [channels[0] + 4, *channels[1:]]
    static = replace(teacher.card.encoder, conv_norm="static")
    save_encoder(tmp_path, Encoder(static))
    settings = ("student.conv_norm=static", f"student.init={tmp_path}")
    same = plan(recipe(tiny_teacher, *settings), teacher)
    more = plan(recipe(tiny_teacher, *settings, f"student.conv_channels={wider}"), teacher)
    assert not same.statistics_missing and more.statistics_missing


@pytest.mark.parametrize(("value", "layer_grads"), [(0.25, "even"), (1.0, "scaled")])
def test_the_student_scales_its_gradients_as_the_recipe_says(tiny_teacher, value, layer_grads):
    """The gradient that its front end gets, against that of the same student without the factor."""
    settings = [f"train.front_end_grad={value}", f"train.layer_grads={layer_grads}", "student.dropout=0"]
    student = plan(recipe(tiny_teacher, *settings), load_teacher(str(tiny_teacher))).student.eval()
    waves = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    found = []
    for factor, scaled in ((student.front_end_grad, student.encoder.scale_layer_grads), (1.0, False)):
        student.front_end_grad, student.encoder.scale_layer_grads = factor, scaled
        student.zero_grad()
        student.hidden_states(waves)[-1].square().sum().backward()
        found.append(student.feature_extractor.first.conv.weight.grad.clone())
    # Two layers, scaled: 2/3 x 1/2 on the way down, and half of what the last one's own match is.
    torch.testing.assert_close(found[0], found[1] * (value if layer_grads == "even" else 2 / 3 * 1 / 2 * 1 / 2))


def test_layers_are_taken_at_the_same_fractions_and_said(tiny_teacher):
    job = plan(recipe(tiny_teacher), load_teacher(str(tiny_teacher)))
    assert job.match.teacher_layers == (1, 3, 4)
    assert any("4, 8, 12 of 12" in note for note in job.notes)


def test_random_initialisation_takes_nothing_from_the_teacher(tiny_teacher):
    teacher = load_teacher(str(tiny_teacher))
    job = plan(recipe(tiny_teacher, "student.init=random"), teacher)
    name = "feature_extractor.conv_layers.0.conv.weight"
    assert not torch.equal(job.student.state_dict()[name], teacher.hubert_weights()[name])


def test_initialisation_from_a_checkpoint_says_what_stays_random(tiny_teacher, tiny_config, tmp_path):
    save_encoder(tmp_path, Encoder(tiny_config.with_layers(1)))
    job = plan(recipe(tiny_teacher, f"student.init={tmp_path}"), load_teacher(str(tiny_teacher)))
    assert any("encoder.layers.1" in note and "random" in note for note in job.notes)


@pytest.mark.parametrize("name", ["distilhubert", "distill-last", "distill-hidden"])
def test_every_recipe_trains_and_its_folder_is_whole(tiny_teacher, few_clips, tmp_path, name):
    outcome, events = run(recipe(tiny_teacher, name=name), few_clips, tmp_path / "run")
    assert outcome.finished and [e["step"] for e in events if e["event"] == "valid"] == [0, 2, 4]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "model.safetensors", "config.json", "preprocessor_config.json", "heads.safetensors", "card.json",
        "metrics.jsonl", "recipe.yaml", "loss.png",
    }  # fmt: skip
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.encoder.config.num_layers == 2 and checkpoint.card["steps"] == 4
    assert checkpoint.card["teacher"]["sha256"] and checkpoint.card["data"]["fingerprint"]
    assert load_recipe(str(tmp_path / "run" / "recipe.yaml")) == recipe(tiny_teacher, name=name)


THIN = [
    "student.layers=4", "student.conv_channels=[16,16,16,16,16,16,32,32,32]", "student.width=32", "student.head_dim=8",
    "student.num_heads=4", "student.ffn_widths=64", "student.pos_conv_kernel=16", "student.pos_conv_groups=4",
    "match.pairs=[[1,1],[2,3],[3,4],[4,6]]", "match.weights=[0.1,0.1,0.1,1.0]",
]  # fmt: skip
REUSED = [*THIN, "student.reuse_attention=[false,true,false,true]"]
UNWEIGHTED = [word for word in THIN if not word.startswith("match.weights")]
PEERS = {
    "fithubert": THIN,
    "armhubert": REUSED,
    "armhubert-s": REUSED,
    "maskhubert": THIN,
    "starhubert": UNWEIGHTED,
    "deep-vs-wide": [word for word in UNWEIGHTED if "conv_channels" not in word],
    "distil-alhubert": ["student.layers=4", "match.pairs=[[2,3],[4,6]]"],
    "dphubert": [
        "student.layers=6",
        "match.pairs=[[0,0],[2,2],[4,4],[6,6]]",
        "train.batch_s=null",
        "student.init=random",
        "prune.ramp=1",
    ],
    "dpwavlm": [
        "student.layers=6",
        "match.pairs=[[0,0],[2,2],[4,4],[6,6]]",
        "train.batch_s=null",
        "student.init=random",
        "prune.ramp=1",
    ],
}


@pytest.mark.parametrize("name", PEERS)
def test_every_peers_recipe_trains_a_student_that_opens_again(few_clips, tmp_path, name):
    settings = [*PEERS[name], "train.steps=2", "train.batch=2"]
    outcome, _ = run(recipe("starter", *settings, name=name), few_clips, tmp_path / "run")
    layers = {str(teacher) for _, teacher in outcome.card["match"]["pairs"]}
    assert outcome.finished and set(outcome.card["valid"]["end"]) == layers
    for start, end in zip(*(outcome.card["valid"][when].values() for when in ("start", "end")), strict=True):
        assert start["l1"] > 0 and start != end
    opened = load_checkpoint(tmp_path / "run")
    assert opened.encoder.config.num_layers == outcome.card["recipe"]["student"]["layers"]
    teacher = load_teacher("starter")
    heads = load_heads(tmp_path / "run", opened.encoder.config.width, teacher.card.width)
    wave = first_batch(make_batches(recipe("starter", *settings, name=name), open_corpus(few_clips), 1)).waves[:1]
    predictions, targets = heads(opened.encoder.hidden_states(wave)), teacher.hidden_states(wave)
    factor = opened.encoder.config.time_reduction
    for layer, prediction in predictions.items():
        assert prediction.shape[1] == targets[layer].shape[1] // factor * factor


def masked_recipe(teacher, *settings):
    pairs = ["match.pairs=[[1,1],[2,2],[3,3],[4,4]]", "match.mask_length=3"]
    changes = [word for word in REUSED if "pairs" not in word and "conv_channels" not in word]
    front = "student.conv_channels=[16,16,16,16,16,16,32,32,32]"
    return recipe(teacher, *changes, *pairs, front, "train.lr=1e-3", *settings, name="armhubert")


def test_masking_distillation_resumes_to_the_very_same_weights(tiny_teacher, few_clips, tmp_path):
    class Killed(Exception):
        pass

    def kill(event):
        if event["event"] == "saved":
            raise Killed

    loaded = masked_recipe(tiny_teacher, "train.checkpoint_every=2", "train.validate_every=4")
    run(loaded, few_clips, tmp_path / "whole")
    with pytest.raises(Killed):
        distill(loaded, RunOptions((few_clips,), tmp_path / "cut", "cpu"), kill)
    outcome, events = run(loaded, few_clips, tmp_path / "cut", resume=True)
    assert events[1]["event"] == "resumed" and outcome.card["steps"] == 4
    for file in ("model.safetensors", "heads.safetensors"):
        expected, found = (load_file(tmp_path / name / file) for name in ("whole", "cut"))
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_masking_distillation_teaches_a_mask_vector_and_hides_the_same_frames_in_any_rounds(
    tiny_teacher, few_clips, tmp_path
):
    still = [f"student.{name}=0" for name in ("dropout", "attention_dropout", "activation_dropout")]
    for rounds in (1, 2):
        loaded = masked_recipe(tiny_teacher, *still, f"train.accumulate={rounds}")
        run(loaded, few_clips, tmp_path / str(rounds))
    one, two = (load_file(tmp_path / str(rounds) / "model.safetensors") for rounds in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=0)
    start = plan(masked_recipe(tiny_teacher), load_teacher(str(tiny_teacher))).student
    assert start.masked_spec_embed.requires_grad
    assert not torch.equal(start.masked_spec_embed, one["masked_spec_embed"])


def test_masking_distillation_needs_a_teacher_that_can_be_masked(tmp_path):
    from tiny_models import save, tiny_whisper

    teacher = save(tiny_whisper(), tmp_path)
    loaded = masked_recipe(teacher, "match.pairs=[[1,1],[2,2],[4,3]]", "match.weights=[1,1,1]")
    why = r"armhubert\.yaml:\d+: match\.mask_prob hides frames .* \(whisper\) has no mask vector.*mask_prob=null"
    with pytest.raises(SpeechpressError, match=why):
        plan(loaded, load_teacher(teacher))


def test_frames_that_do_not_fit_the_teachers_are_refused(tiny_teacher):
    strides = "student.conv_strides=[5,2,2,2,2,2,1]"
    with pytest.raises(SpeechpressError, match=r"student\.conv_strides=.* every 10 ms, the teacher every 20 ms"):
        plan(recipe(tiny_teacher, strides), load_teacher(str(tiny_teacher)))
    job = plan(recipe(tiny_teacher, strides, "student.time_reduction=4"), load_teacher(str(tiny_teacher)))
    assert job.heads.factor == 2


def test_a_streaming_student_starts_as_the_beginning_of_its_teacher(tiny_teacher, few_clips, tmp_path):
    """The statistics that replace the GroupNorm's are those of speech, so that training starts near the teacher."""
    loaded = recipe(tiny_teacher, "student.projection_norm=true", "train.batch=16", name="distilhubert-streaming")
    teacher = load_teacher(str(tiny_teacher))
    job = plan(loaded, teacher)
    assert job.statistics_missing and any("needs the whole recording" in note for note in job.notes)
    waves = first_batch(make_batches(loaded, open_corpus(few_clips), workers=1)).waves
    wanted = load_encoder(tiny_teacher).feature_extractor.conv_layers[0](waves[:, None])

    def error():
        return float((job.student.feature_extractor.conv_layers[0](waves[:, None]) - wanted).square().mean().detach())

    unmeasured = error()
    job.student.measure_statistics(waves)
    assert error() < 0.25 * unmeasured


def test_a_causal_position_convolution_starts_with_the_past_of_the_centred_one(tiny_teacher, tiny_config):
    """On a single frame of input: what the teacher adds at and after it, the student adds too."""
    loaded = recipe(tiny_teacher, "student.projection_norm=true", name="distilhubert-streaming")
    job = plan(loaded, load_teacher(str(tiny_teacher)))
    assert any("7 frames less of the future" in note for note in job.notes)
    frames = torch.zeros(1, 30, tiny_config.width)
    frames[:, 12] = torch.randn(tiny_config.width)
    with torch.inference_mode():
        wanted = load_encoder(tiny_teacher).encoder.pos_conv_embed(frames)
        found = job.student.eval().encoder.pos_conv_embed(frames)
    quiet = found[:, 0]  # the bias alone
    assert torch.equal(found[:, :12], quiet[:, None].expand(-1, 12, -1))
    assert not torch.allclose(wanted[:, 6:12], quiet[:, None].expand(-1, 6, -1), atol=1e-3)
    torch.testing.assert_close(found[:, 12:], wanted[:, 12:], atol=1e-6, rtol=0)


def test_a_streaming_student_goes_on_from_a_finished_one(tiny_teacher, few_clips, tmp_path):
    _, _ = run(recipe(tiny_teacher, name="distilhubert-streaming"), few_clips, tmp_path / "first")
    again = recipe(tiny_teacher, f"student.init={tmp_path / 'first'}", name="distilhubert-streaming")
    job = plan(again, load_teacher(str(tiny_teacher)))
    assert not job.statistics_missing and not [note for note in job.notes if note.startswith("init")]
    first = load_checkpoint(tmp_path / "first").encoder.state_dict()
    assert all(torch.equal(first[name], tensor) for name, tensor in job.student.state_dict().items())
    heads = load_file(tmp_path / "first" / "heads.safetensors")
    assert all(torch.equal(heads[name], tensor) for name, tensor in job.heads.state_dict().items())
    other = recipe(tiny_teacher, f"student.init={tmp_path / 'first'}", name="distill-last")
    assert any("heads" in note for note in plan(other, load_teacher(str(tiny_teacher))).notes)


def test_the_output_of_a_finished_pre_norm_student_is_standardised(tiny_teacher, few_clips, tmp_path):
    shape = ["student.width=32", "student.num_heads=4", "student.head_dim=8", "student.ffn_widths=32"]
    job = recipe(
        tiny_teacher, *shape, "student.conv_channels=[16,16,16,32]", "student.pos_conv_groups=4", name="pocket"
    )
    run(job, few_clips, tmp_path / "run")
    norm = load_encoder(tmp_path / "run").encoder.layer_norm
    assert not torch.equal(norm.weight, torch.ones(32)) and not torch.equal(norm.bias, torch.zeros(32))
    # A norm that comes from the teacher is kept: what its students are matched to lies before it.
    own = recipe(tiny_teacher, "student.pre_norm=true", "student.conv_norm=layer", "student.init=teacher")
    assert not plan(own, load_teacher(str(tiny_teacher))).output_norm_free


def test_a_streaming_run_says_how_the_student_does_in_chunks(tiny_teacher, few_clips, tmp_path):
    outcome, events = run(recipe(tiny_teacher, name="distilhubert-streaming"), few_clips, tmp_path / "run")
    valid = outcome.card["valid"]
    assert valid["chunk_ms"] == 80 and valid["end_chunked"].keys() == valid["end"].keys()
    assert valid["end_chunked"] != valid["end"]
    assert all("chunked" in event for event in events if event["event"] == "valid")
    assert load_checkpoint(tmp_path / "run").encoder.config.blockers == ()
    assert [row["worst_age_ms"] for row in outcome.card["streaming"]] == [85, 165, 325, 645]


def test_of_a_large_held_out_part_the_same_two_minutes_are_measured():
    corpus = open_corpus(SPEECH)
    first, again = heldout_waves(corpus, 15.0), heldout_waves(corpus, 15.0)
    seconds = sum(wave.shape[1] for wave in first) / 16_000
    assert VALIDATION_S <= seconds < VALIDATION_S + 15
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def test_training_brings_the_student_closer(tiny_teacher, few_clips, tmp_path):
    loaded = recipe(tiny_teacher, "train.steps=60", "train.lr=3e-3", "train.batch=8", "train.validate_every=60")
    outcome, _ = run(loaded, few_clips, tmp_path / "run")
    valid = outcome.card["valid"]
    for layer, start in valid["start"].items():
        assert valid["end"][layer]["cosine"] > start["cosine"] + 0.2
        assert valid["end"][layer]["l1"] < start["l1"]


def test_bf16_trains_too(tiny_teacher, few_clips, tmp_path):
    outcome, _ = run(recipe(tiny_teacher, "train.precision=bf16"), few_clips, tmp_path / "run")
    assert all(0 < valid["l1"] < 5 for valid in outcome.card["valid"]["end"].values())
    assert all(tensor.dtype == torch.float32 for tensor in load_file(tmp_path / "run" / "model.safetensors").values())


@pytest.mark.parametrize("rounds", [2, 4])
def test_accumulation_gives_the_same_weights(tiny_teacher, few_clips, tmp_path, rounds):
    still = ["student.dropout=0", "student.attention_dropout=0", "student.activation_dropout=0", "train.lr=1e-3"]
    for number in (1, rounds):
        run(recipe(tiny_teacher, *still, f"train.accumulate={number}"), few_clips, tmp_path / str(number))
    one, many = (load_file(tmp_path / str(number) / "model.safetensors") for number in (1, rounds))
    for name, tensor in one.items():
        torch.testing.assert_close(many[name], tensor, atol=2e-5, rtol=0)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path, few_clips, tiny_config):
    encoder = Encoder(tiny_config)
    encoder.encoder.layers[3].final_layer_norm.weight.data.fill_(float("nan"))
    save_encoder(tmp_path / "teacher", encoder)
    with pytest.raises(SpeechpressError, match=r"loss is nan at step 0.*train\.lr"):
        run(recipe(tmp_path / "teacher"), few_clips, tmp_path / "run")


def test_a_diverging_loss_stops_with_advice(tiny_teacher, few_clips, tmp_path):
    loaded = recipe(
        tiny_teacher, "train.lr=1", "train.steps=300", "train.clip=0", "train.warmup=0", "train.validate_every=300"
    )
    with pytest.raises(SpeechpressError, match=r"(risen|nan|inf).*train\.lr"):
        run(loaded, few_clips, tmp_path / "run")


def test_a_folder_in_use_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SpeechpressError, match="not empty"):
        check_folder(RunOptions((), tmp_path))
    with pytest.raises(SpeechpressError, match="does not touch it"):
        check_folder(RunOptions((), tmp_path, overwrite=True))
    assert (tmp_path / "thesis.txt").exists()


def test_overwrite_replaces_a_run(tiny_teacher, few_clips, tmp_path):
    first, _ = run(recipe(tiny_teacher), few_clips, tmp_path / "run")
    again, _ = run(recipe(tiny_teacher, "train.steps=2"), few_clips, tmp_path / "run", overwrite=True)
    assert (first.card["steps"], again.card["steps"]) == (4, 2)


def test_overwrite_keeps_the_old_run_until_the_new_one_can_start(tiny_teacher, few_clips, tmp_path):
    run(recipe(tiny_teacher), few_clips, tmp_path / "run")
    with pytest.raises(SpeechpressError, match="no-such-teacher"):
        run(recipe("./no-such-teacher"), few_clips, tmp_path / "run", overwrite=True)
    assert load_checkpoint(tmp_path / "run").card["steps"] == 4


def test_resume_wants_an_unfinished_run(tiny_teacher, few_clips, tmp_path):
    with pytest.raises(SpeechpressError, match="no run to resume"):
        run(recipe(tiny_teacher), few_clips, tmp_path / "none", resume=True)
    run(recipe(tiny_teacher), few_clips, tmp_path / "run")
    with pytest.raises(SpeechpressError, match="finished"):
        run(recipe(tiny_teacher), few_clips, tmp_path / "run", resume=True)


def make_command(teacher, clips, out, *more, name="distilhubert"):
    words = [
        "distill",
        "--recipe",
        name,
        "--teacher",
        teacher,
        "--data",
        clips,
        "--out",
        out,
        "--device",
        "cpu",
    ]
    settings = [*QUICK, "train.steps=400", "train.checkpoint_every=5", "train.validate_every=400"]
    sets = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "speechpress.compressor.cli.main", *map(str, [*words, *sets, *more])]


def saved_step(out):
    from safetensors import safe_open

    with safe_open(out / "resume.safetensors", "pt") as file:
        return json.loads(file.metadata()["speechpress"])["progress"]["step"]


def start_and_signal(words, out, number):
    """Start a run and send it a signal once it has saved for the first time."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 90
    while not (out / "resume.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "distilhubert-streaming"), (signal.SIGINT, "distilhubert")]
)
def test_a_run_that_was_stopped_resumes_to_the_very_same_weights(tiny_teacher, few_clips, tmp_path, number, name):
    command = partial(make_command, name=name)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    steps = ["--set", "train.steps=40", "--set", "train.validate_every=20"]
    subprocess.run(command(tiny_teacher, few_clips, whole, *steps), check=True, capture_output=True)
    code, output = start_and_signal(command(tiny_teacher, few_clips, cut, *steps), cut, number)
    assert code == (-9 if number == signal.SIGKILL else 130), output
    if number == signal.SIGINT:
        assert "--resume" in output and read_json(cut / "card.json")["finished"] is False
    assert 5 <= saved_step(cut) < 40
    subprocess.run(command(tiny_teacher, few_clips, cut, *steps, "--resume"), check=True, capture_output=True)
    for file in ("model.safetensors", "heads.safetensors"):
        expected, found = load_file(whole / file), load_file(cut / file)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    losses = [[e.get("loss") for e in MetricsLog(path / "metrics.jsonl").read()] for path in (whole, cut)]
    assert losses[0] == losses[1]


def test_resuming_another_recipe_names_what_differs(tiny_teacher, few_clips, tmp_path):
    out = tmp_path / "run"
    start_and_signal(make_command(tiny_teacher, few_clips, out), out, signal.SIGKILL)
    with pytest.raises(SpeechpressError, match=r"recipe\.train\.lr.*0\.0002.*0\.001"):
        run(load_recipe(str(out / "recipe.yaml"), ["train.lr=1e-3"]), few_clips, out, resume=True)


@pytest.mark.parametrize("name", ["distilhubert", "distilhubert-streaming"])
def test_two_processes_give_the_weights_of_one(tiny_teacher, few_clips, tmp_path, name):
    command = partial(make_command, name=name)
    still = [f"student.{name}=0" for name in ("dropout", "attention_dropout", "activation_dropout")]
    more = [word for setting in [*still, "train.steps=6", "train.lr=1e-3"] for word in ("--set", setting)]
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run(command(tiny_teacher, few_clips, one, *more), check=True, capture_output=True)
    words = command(tiny_teacher, few_clips, two, *more)
    launcher = [words[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words[1:]]
    done = subprocess.run(
        launcher, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    expected, found = (load_file(folder / "model.safetensors") for folder in (one, two))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=0)
    first, second = (MetricsLog(folder / "metrics.jsonl").read()[1]["loss"] for folder in (one, two))
    assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("damaged", range(4))
def test_one_damaged_recording_in_a_small_corpus_costs_no_run(tiny_teacher, tmp_path, damaged):
    """Whichever it is: of those that are trained on, whole batches are empty; the one that is held out is replaced."""
    for index in range(4):
        samples = np.random.default_rng(index).standard_normal(16_000) * 0.1
        if index == damaged:
            samples[8_000] = np.nan  # found when it is decoded, not when the corpus is opened
        soundfile.write(tmp_path / f"{index}.wav", samples, 16_000, subtype="FLOAT")
    settings = ("train.steps=8", "train.batch=1", "train.crop_s=1.0", "train.validate_every=8")
    events, smoothed = [], {0: None}

    def listen(event):
        events.append(event)
        if event["event"] == "saved":
            said = json.loads(read_metadata(tmp_path / "run" / "resume.safetensors")["speechpress"])
            smoothed[event["step"]] = said["progress"]["loss_ema"]

    options = RunOptions((tmp_path,), tmp_path / "run", "cpu")
    outcome = distill(recipe(tiny_teacher, *settings, "train.checkpoint_every=1"), options, listen)
    assert outcome.finished and not list((tmp_path / "run").glob("resume.*"))
    card = read_json(tmp_path / "run" / "card.json")
    assert [Path(item["path"]).name for item in card["data"]["skipped"]] == [f"{damaged}.wav"]
    lines = [event for event in events if event["event"] == "train"]
    assert all(set(line["layers"]) == {"1", "3", "4"} and line["loss"] > 0 for line in lines)
    assert (tmp_path / "run" / "loss.png").stat().st_size > 1000
    # An empty batch has no loss: one of zero would be the best ever, and every later one look like a divergence.
    spoken = {line["step"] for line in lines}
    assert all((smoothed[step] != smoothed[step - 1]) == (step in spoken) for step in range(1, 8))


def test_a_plot_that_fails_is_a_warning_and_costs_nothing(tiny_teacher, few_clips, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *words, **more: 1 / 0)
    outcome, _ = run(recipe(tiny_teacher), few_clips, tmp_path / "run")
    assert outcome.finished and load_checkpoint(tmp_path / "run").card["steps"] == 4
    assert not (tmp_path / "run" / "loss.png").exists() and "plot of the run could not be drawn" in caplog.text


def test_an_old_run_that_a_killed_one_had_half_removed_goes(tiny_teacher, few_clips, tmp_path):
    (tmp_path / ".run.abcdefgh.part" / "run").mkdir(parents=True)
    assert run(recipe(tiny_teacher), few_clips, tmp_path / "run")[0].finished
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("precision", "half"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", None)])
def test_on_a_gpu_the_teacher_has_the_recipes_precision_and_on_a_cpu_all_bits(tiny_teacher, few_clips, precision, half):
    made = set_up(recipe(tiny_teacher, f"train.precision={precision}"), RunOptions((few_clips,), few_clips, "cpu"))
    assert made.teacher.half_dtype is half
    waves = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    exact = load_teacher(str(tiny_teacher)).hidden_states(waves)
    assert all(torch.equal(state, exact[layer]) for layer, state in made.teacher.hidden_states(waves).items())
