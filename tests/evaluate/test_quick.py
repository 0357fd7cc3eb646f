"""`compress eval` on the starter speech, with encoders small enough to run in seconds."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from rich.console import Console

from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.data.sounds import read_sound
from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads, save_heads
from speechpress.compressor.evaluate import probes
from speechpress.compressor.evaluate import quick as evaluation
from speechpress.compressor.evaluate.extract import extract, stores
from speechpress.compressor.evaluate.features import Upstream, log_mel, random_copy, some_waves
from speechpress.compressor.evaluate.fidelity import fidelity, linear_fit
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.lineup import open_comparison
from speechpress.compressor.evaluate.quick import evaluate
from speechpress.compressor.evaluate.suite import evaluate_suite, wanted
from speechpress.compressor.evaluate.tables import probe_tables
from speechpress.compressor.models.checkpoint import load_checkpoint, save_encoder, write_json
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.study.probes import layer_scores
from speechpress.compressor.tasks.folder import STARTER, make_task, whole_test_clips
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

SMALL = EncoderConfig(
    conv_channels=(16,) * 7,
    width=32,
    head_dim=16,
    num_heads=(2,) * 3,
    ffn_widths=(48,) * 3,
    pos_conv_kernel=16,
    pos_conv_groups=2,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(probes, "STEPS", 50)
    monkeypatch.setattr(probes, "SWEEP", ((3e-3, 0.01),))
    monkeypatch.setattr(evaluation, "FIDELITY_S", 12.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A teacher of 3 layers and a student of its first 2, which names it in its card."""
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    teacher = Encoder(SMALL).eval()
    student = Encoder(SMALL.with_layers(2)).eval()
    student.load_state_dict(teacher.state_dict(), strict=False)
    save_encoder(root / "teacher", teacher)
    save_encoder(root / "student", student)
    write_json(root / "student" / "card.json", {"teacher": {"source": str(root / "teacher")}})
    return root


@pytest.fixture
def clips():
    """Test clips of the starter, as (1, S)."""
    return some_waves(whole_test_clips(make_task("sid", None, max_clips=8)), read_sound, 12.0, "cpu")


def test_a_checkpoint_is_measured_beside_teacher_random_and_log_mel(folders):
    result = evaluate(folders / "student", tasks=("ks", "sid"), seeds=2, max_clips=40)
    assert set(result["tasks"]) == {"ks", "sid"}
    for task in result["tasks"].values():
        assert task["metric"] == "accuracy"
        for upstream in ("student", "teacher", "random", "logmel"):
            low, high = task["ci95"][upstream]
            assert 0 <= low <= task[upstream] <= high <= 1
            assert sum(task["layer_weights"][upstream]) == pytest.approx(1, abs=1e-4)
        assert [len(task["layer_weights"][name]) for name in ("student", "teacher", "logmel")] == [3, 4, 1]
        assert task["clips"]["test"] == 40
    assert set(result["fidelity"]) == {"1", "2", "3"}
    assert result["fidelity_by"] == "linear"
    assert json.loads(json.dumps(result)) == result
    shown = printed(result, width=400)
    assert f"{result['tasks']['ks']['student']:.3f}" in shown
    assert "nothing about new voices" in shown


SHARED = {"metric", "student", "teacher", "random", "logmel", "ci95", "ci95_method", "val", "layer_weights", "quality"}
SHARED |= {"clips", "chance", "speaker_disjoint", "notes"}
QUICK = SHARED | {"std_over_seeds", "classes", "crop_s", "chance_by_voice"}
SUITE = SHARED | {"better", "seeds", "lr", "also", "retention", "kept_above_floor"}


def test_quick_and_suite_are_one_measure_in_two_documents(folders):
    quick = evaluate(folders / "student", tasks=("sid",), seeds=2, max_clips=40)["tasks"]["sid"]
    task = make_task("sid", None, 50, 40)
    suite = evaluate_suite(folders / "student", [task], budget=Budget(seeds=2))["tasks"]["sid"]
    assert set(quick) == QUICK and set(suite) == SUITE
    assert {key: quick[key] for key in SHARED} == {key: suite[key] for key in SHARED}
    assert quick["speaker_disjoint"] is False and quick["crop_s"] == 1.0


def printed(result, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(*probe_tables(result))
    return console.file.getvalue()


def test_four_studio_voices_are_told_apart_by_log_mel(folders):
    task = evaluate(folders / "student", tasks=("sid",), seeds=1, max_clips=120)["tasks"]["sid"]
    assert task["logmel"] > 0.8 > task["chance"]
    assert task["classes"] == 4


def test_the_same_inputs_give_the_same_numbers(folders):
    first, second = (evaluate(folders / "student", tasks=("lid",), seeds=1, max_clips=25) for _ in range(2))
    assert first["tasks"] == second["tasks"]
    assert first["fidelity_detail"] == second["fidelity_detail"]


def test_without_a_teacher_its_column_is_empty_and_that_is_said(folders, tmp_path, caplog):
    shutil.copytree(folders / "student", tmp_path / "orphan")
    write_json(tmp_path / "orphan" / "card.json", {"teacher": {"source": str(tmp_path / "gone" / "teacher")}})
    result = evaluate(tmp_path / "orphan", tasks=("sid",), seeds=1, max_clips=20)
    task = result["tasks"]["sid"]
    assert task["teacher"] is None and task["ci95"]["teacher"] is None and task["student"] is not None
    assert result["fidelity"] == {}
    assert any("not available" in note for note in result["notes"])
    assert "not available" in caplog.text
    assert "–" in printed(result) and "not available" in printed(result, width=400)
    given = evaluate(tmp_path / "orphan", tasks=("sid",), seeds=1, max_clips=20, teacher=str(folders / "teacher"))
    assert given["tasks"]["sid"]["teacher"] is not None
    write_json(tmp_path / "orphan" / "card.json", {})
    assert "names no teacher" in open_comparison(tmp_path / "orphan").notes[0]


def test_fidelity_of_a_copied_layer_is_perfect_and_falls_with_depth(folders, clips):
    student = load_checkpoint(folders / "student").encoder
    result = fidelity(student, load_teacher(str(folders / "teacher")), None, clips)
    assert result["2"]["linear"]["cosine"] == pytest.approx(1, abs=1e-3)
    assert result["2"]["linear"]["r2"] > 0.99
    assert result["2"]["cka"] == pytest.approx(1, abs=1e-4)
    assert result["3"]["linear"]["r2"] < result["2"]["linear"]["r2"]
    assert result["3"]["heads"] is None


def test_fidelity_of_a_student_with_a_time_reduction_or_without_projections(folders, clips):
    teacher = load_teacher(str(folders / "teacher"))
    torch.manual_seed(0)
    student = Encoder(replace(SMALL, time_reduction=2, width=16, head_dim=8)).eval()
    heads = LayerPairs([(0, 0), (2, 2), (3, 3)], 16, 32, bare=True, factor=2)
    with torch.no_grad():
        result = fidelity(student, teacher, heads, clips)
    assert result["1"]["heads"] is None and -1 <= result["2"]["heads"]["cosine"] <= 1
    assert all(-1 <= layer["cka"] <= 1 for layer in result.values())


def test_fidelity_by_the_checkpoints_own_heads(folders, tmp_path):
    shutil.copytree(folders / "student", tmp_path / "pairs")
    save_heads(tmp_path / "pairs", LayerPairs([(1, 1), (2, 2)], 32, 32))
    result = evaluate(tmp_path / "pairs", tasks=("ks",), seeds=1, max_clips=20)
    assert result["fidelity_by"] == "heads"
    assert result["fidelity"] == pytest.approx({"1": 1.0, "2": 1.0}, abs=1e-5)
    assert result["fidelity_detail"]["1"]["heads"]["l1"] == pytest.approx(0, abs=1e-5)
    save_heads(tmp_path / "pairs", PredictionHeads([3], 32, 32))
    untrained = evaluate(tmp_path / "pairs", tasks=("ks",), seeds=1, max_clips=20)
    assert set(untrained["fidelity"]) == {"3"}
    assert abs(untrained["fidelity"]["3"]) < 0.6


def test_linear_measures_on_known_maps():
    draw = torch.Generator().manual_seed(0)
    x, test_x = torch.randn(400, 6, generator=draw), torch.randn(300, 6, generator=draw)
    mix, noise = torch.randn(6, 9, generator=draw), torch.randn(300, 9, generator=draw)
    exact = linear_fit(x, x @ mix + 2, test_x, test_x @ mix + 2)
    assert exact["r2"] > 0.999 and exact["cosine"] > 0.999
    assert linear_fit(x, torch.randn(400, 9, generator=draw), test_x, noise)["r2"] < 0.05


def test_fidelity_needs_two_clips(folders, clips):
    student = load_checkpoint(folders / "student").encoder
    with pytest.raises(SpeechpressError, match="at least two clips"):
        fidelity(student, load_teacher(str(folders / "teacher")), None, clips[:1])


def test_probing_finds_the_layer_that_hears_something():
    deaf = Upstream(
        lambda waves: [torch.zeros(len(waves), 5, 8), log_mel(waves)[..., :8], torch.ones(len(waves), 5, 8)], False
    )
    task = make_task("sid", None, max_clips=80)
    with stores(None, {"deaf": deaf}) as kept:
        extract({"deaf": deaf}, wanted([task]), kept)
        found = layer_scores(task, kept["deaf"], 1)
    assert [layer["layer"] for layer in found["layers"]] == [0, 1, 2]
    assert found["best_layer"] == 1
    assert found["layers"][1]["val"] == max(layer["val"] for layer in found["layers"])
    assert found["layers"][1]["test"] > found["layers"][0]["test"] + 0.2
    assert found["weighted"]["ci95"][0] <= found["weighted"]["test"]


def test_unreadable_clips_are_skipped_listed_and_fatal_only_if_all_are(folders, tmp_path, caplog):
    lines = (STARTER / "labels.tsv").read_text(encoding="utf-8").splitlines()
    chosen = [line for line in lines[1:] if "\tdigit\t" in line and line.split("\t")[1] in ("en", "ru")]
    chosen.sort(key=lambda line: "\ttest\t" not in line)
    (tmp_path / "labels.tsv").write_text("\n".join([lines[0], *chosen]) + "\n", encoding="utf-8")
    for line in chosen:
        path = tmp_path / line.split("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(STARTER / line.split("\t")[0], path)
    paths = [tmp_path / line.split("\t")[0] for line in chosen]
    paths[0].write_bytes(b"OggS no more")
    soundfile.write(paths[1], np.zeros(100, np.float32), 16000, format="OGG", subtype="OPUS")
    result = evaluate(folders / "student", tmp_path, tasks=("sid",), seeds=1)
    assert {item["path"] for item in result["skipped"]} == {str(paths[0]), str(paths[1])}
    assert "2 clips were left out" in caplog.text
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(SpeechpressError, match=r"none of .* clips can be read"):
        evaluate(folders / "student", tmp_path, tasks=("sid",), seeds=1)


def test_bad_requests_are_refused_before_any_work(folders, tmp_path):
    with pytest.raises(SpeechpressError, match="choose from ks, sid, lid"):
        evaluate(folders / "student", tasks=("asr",))
    with pytest.raises(SpeechpressError, match=r"labels\.tsv"):
        evaluate(folders / "student", tmp_path)
    with pytest.raises(SpeechpressError, match="neither a checkpoint"):
        evaluate(tmp_path, tasks=("sid",))


def test_log_mel_has_the_right_shape_and_follows_the_level():
    wave = torch.sin(torch.arange(16000) * 2 * torch.pi * 1000 / 16000)[None]
    mel = log_mel(wave)
    assert mel.shape == (1, 101, 80)
    loudest = mel[0, 50].argmax().item()
    assert log_mel(10 * wave)[0, 50, loudest] - mel[0, 50, loudest] == pytest.approx(np.log(100.0), abs=1e-3)
    assert 24 <= loudest <= 30  # 1 kHz on a mel scale that is linear up to there: 15 mel of 45 for 8 kHz


def test_a_random_copy_is_reproducible_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = random_copy(SMALL), random_copy(SMALL)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_copy_is_scaled_by_speech_as_a_student_is_before_it_trains():
    clip = torch.from_numpy(golden_clip(20.0))[None]
    front = {"front_end": "mel", "conv_channels": (16, 16), "conv_kernels": (3, 3), "conv_strides": (1, 2)}
    heard = random_copy(replace(SMALL, conv_norm="layer", **front)).feature_extractor.log_mel(clip)[0]
    assert heard.mean(1).abs().max() < 1e-3 and heard.std(1).sub(1).abs().max() < 1e-2
    first = random_copy(replace(SMALL, conv_norm="static")).feature_extractor.first
    convolved = F.conv1d(clip[:, None], first.conv.weight, stride=5)[0].detach()
    assert torch.allclose(first.layer_norm.mean, convolved.mean(1), atol=1e-5)
    assert torch.allclose(first.layer_norm.variance, convolved.var(1), rtol=1e-3)


def test_a_streaming_student_is_measured_in_chunks(folders):
    streaming = replace(SMALL.with_layers(2), conv_norm="static", pos_conv_future=0, left_context=8)
    encoder = Encoder(streaming).eval()
    waves = torch.randn(1, 16_000)
    encoder.measure_statistics(waves)
    save_encoder(folders / "streaming", encoder)
    write_json(folders / "streaming" / "card.json", {"teacher": {"source": str(folders / "teacher")}})
    found = {ms: evaluate(folders / "streaming", tasks=["sid"], seeds=1, chunk_ms=ms) for ms in (None, 40)}
    assert found[None]["latency"] is None
    assert found[40]["latency"] == {"chunk_ms": 40.0, "lookahead_ms": 5.0, "worst_age_ms": 45.0}
    assert found[40]["fidelity"] != found[None]["fidelity"]
    assert found[40]["tasks"]["sid"]["teacher"] == found[None]["tasks"]["sid"]["teacher"]
    assert "in chunks of 40 ms" in str(probe_tables(found[40])[0].title)
    with pytest.raises(SpeechpressError, match="does not stream, so it has no chunks: conv_norm is 'group'"):
        evaluate(folders / "student", tasks=["sid"], chunk_ms=40)
