"""Targets that are heard once: the same losses, the same weights, whatever happened to the folder."""

from contextlib import closing
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.distill import distill, try_out
from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.lessons.keep import blocks
from speechpress.compressor.lessons.told import KeptTeacher, weights_hash
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

CPU = torch.device("cpu")
LAYERS = (1, 3, 4)
# 16 clips in batches of 4: more than two epochs.
QUICK = ["train.steps=12", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=12"]
QUICK += ["train.lr=1e-3", "train.crops=fixed", "match.layers=[1,3,4]", "train.checkpoint_every=5"]


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return load_teacher(str(tiny_teacher))


@pytest.fixture(scope="module")
def batches(few_clips):
    return Batches(open_corpus(few_clips).cuts, batch=5, crop_s=0.5, workers=0, fixed_crops=True)


def some(batches, number, *where):
    with closing(batches.start(*where)) as stream:
        return list(islice(stream, number))


def recipe(teacher, *settings):
    return load_recipe("distilhubert", [f"teacher={teacher}", *QUICK, *settings])


def run(loaded, clips, out, kept=None, listen=None, **options):
    events = []
    distill(loaded, RunOptions((clips,), out, "cpu", keep_targets=kept, **options), listen or events.append)
    return events


def losses(out):
    return [event["loss"] for event in MetricsLog(out / "metrics.jsonl").read() if event["event"] == "train"]


def same_weights(one, two):
    for file in ("model.safetensors", "heads.safetensors"):
        expected, found = load_file(one / file), load_file(two / file)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.fixture(scope="module")
def kept_run(tiny_teacher, few_clips, tmp_path_factory):
    """A run with an empty folder; (its folder, the folder of targets, its events)."""
    folder = tmp_path_factory.mktemp("runs")
    events = run(recipe(tiny_teacher), few_clips, folder / "run", folder / "kept")
    return folder / "run", folder / "kept", events


def test_targets_are_what_the_teacher_says_of_each_clip_alone_in_float16(teacher, batches, tmp_path):
    for turn in range(2):
        kept = KeptTeacher(teacher, LAYERS, tmp_path / "kept", 1.0)
        for batch in some(batches, 3):
            found = kept.targets(batch, 0, 1, CPU)
            assert tuple(found) == LAYERS and found[1].dtype == torch.float32
            for row, wave in enumerate(batch.waves):
                said = teacher.hidden_states(wave[None], layers=LAYERS)
                for layer in LAYERS:
                    assert torch.equal(found[layer][row], said[layer][0].half().float())
        rows = sum(len(batch.waves) for batch in some(batches, 3))
        counts = kept.shelf.counts
        assert (counts.written, counts.read) == ((rows, 0) if turn == 0 else (0, rows))


def test_company_changes_what_the_teacher_says_by_rounding_only(teacher, batches):
    # Rows are cropped alike and never padded, so nothing but the order of additions may differ.
    for batch in some(batches, 3):
        together = teacher.hidden_states(batch.waves, layers=LAYERS)
        for row, wave in enumerate(batch.waves):
            alone = teacher.hidden_states(wave[None], layers=LAYERS)
            for layer in LAYERS:
                torch.testing.assert_close(together[layer][row], alone[layer][0], atol=1e-5, rtol=1e-5)


def test_rounds_and_processes_get_their_rows_and_share_the_folder(teacher, batches, tmp_path):
    kept = KeptTeacher(teacher, LAYERS, tmp_path / "kept", 1.0)
    whole = some(batches, 1)[0]
    expected = kept.targets(whole, 0, 1, CPU)
    for rank in range(2):
        share = some(batches, 1, 0, rank, 2)[0]
        own = KeptTeacher(teacher, LAYERS, tmp_path / "kept", 1.0)
        for micro in range(2):
            found = own.targets(share, micro, 2, CPU)
            assert all(torch.equal(found[n], expected[n][rank::2][micro::2]) for n in LAYERS)
        assert own.shelf.counts.written == 0
    # A round without a row is one of zeros, of which nothing is kept.
    before = len(list(blocks(tmp_path / "kept")))
    assert kept.targets(whole, 9, 10, CPU)[1].shape[0] == 1
    assert len(list(blocks(tmp_path / "kept"))) == before


def test_batches_read_ahead_are_the_same_and_end_with_their_loop(teacher, batches, tmp_path):
    kept = KeptTeacher(teacher, LAYERS, tmp_path / "kept", 1.0)
    plain = some(batches, 9)
    with closing(kept.ahead(batches.start())) as stream:
        for expected, batch in zip(plain, stream, strict=False):
            assert batch.ids == expected.ids and torch.equal(batch.waves, expected.waves)
            kept.targets(batch, 0, 1, CPU)
    # Each clip was heard once, though the first of an epoch were read ahead before the last one was over.
    assert kept.shelf.counts.written == len(batches.pieces) == len(list(blocks(tmp_path / "kept")))


def test_values_beyond_float16_are_used_exactly_and_not_kept(tiny_teacher, batches, tmp_path):
    loud = load_teacher(str(tiny_teacher))
    norm = loud.backbone.model.encoder.layers[-1].final_layer_norm
    norm.weight.data[0], norm.bias.data[0] = 0.0, 1e5
    kept = KeptTeacher(loud, LAYERS, tmp_path / "kept", 1.0)
    batch = some(batches, 1)[0]
    for _ in range(2):
        found = kept.targets(batch, 0, 1, CPU)
        assert (found[4][..., 0] == 1e5).all()
        alone = loud.hidden_states(batch.waves[:1], layers=LAYERS)
        assert all(torch.equal(found[n][0], alone[n][0]) for n in LAYERS)
    assert kept.shelf.counts.written == 0


def test_losses_are_those_of_a_run_without_but_for_float16(tiny_teacher, few_clips, kept_run, tmp_path):
    out, folder, events = kept_run
    run(recipe(tiny_teacher), few_clips, tmp_path / "plain")
    plain, kept = losses(tmp_path / "plain"), losses(out)
    assert len(kept) == 12 and kept == pytest.approx(plain, rel=2e-4) and kept != plain
    facts = next(event for event in events if event["event"] == "kept")
    # Each clip of the training part is written once; the third epoch reads all that it needs.
    count = len(list(blocks(folder)))
    assert facts["written"] == count and facts["damaged"] == 0 and facts["read"] >= count


def test_a_second_run_reads_everything_and_ends_with_the_same_weights(tiny_teacher, few_clips, kept_run, tmp_path):
    out, folder, _ = kept_run
    events = run(recipe(tiny_teacher), few_clips, tmp_path / "again", folder)
    facts = next(event for event in events if event["event"] == "kept")
    assert facts["written"] == 0 and losses(tmp_path / "again") == losses(out)
    same_weights(out, tmp_path / "again")


def test_a_killed_run_resumes_to_the_very_same_weights(tiny_teacher, few_clips, kept_run, tmp_path):
    class Killed(Exception):
        pass

    def kill(event):
        if event["event"] == "saved":
            raise Killed

    with pytest.raises(Killed):
        run(recipe(tiny_teacher), few_clips, tmp_path / "cut", tmp_path / "kept", kill)
    run(recipe(tiny_teacher), few_clips, tmp_path / "cut", tmp_path / "kept", resume=True)
    same_weights(kept_run[0], tmp_path / "cut")


def test_a_damaged_block_and_a_full_folder_change_no_weight(tiny_teacher, few_clips, kept_run, tmp_path):
    out, folder, _ = kept_run
    path, size = next(blocks(folder))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    events = run(recipe(tiny_teacher), few_clips, tmp_path / "damaged", folder)
    facts = next(event for event in events if event["event"] == "kept")
    assert facts["damaged"] == 1 and facts["written"] == 1 and path.read_bytes() == whole
    same_weights(out, tmp_path / "damaged")
    small = run(recipe(tiny_teacher), few_clips, tmp_path / "small", tmp_path / "few", keep_targets_gb=3.5 * size / 1e9)
    facts = next(event for event in small if event["event"] == "kept")
    assert facts["written"] == 3 and facts["left_out"] > 3
    same_weights(out, tmp_path / "small")


def test_another_teacher_of_equal_shape_and_other_layers_are_refused(tiny_teacher, few_clips, kept_run, tmp_path):
    folder = kept_run[1]
    other = load_encoder(tiny_teacher)
    next(other.encoder.layers.parameters()).data[0] += 1e-3
    save_encoder(tmp_path / "other", other)
    with pytest.raises(SpeechpressError, match=r"another teacher .*\n  teacher: it has"):
        run(recipe(tmp_path / "other"), few_clips, tmp_path / "run", folder)
    with pytest.raises(SpeechpressError, match=r"layers: it has \[1, 3, 4\], this run \[1, 2\]"):
        run(recipe(tiny_teacher, "match.layers=[1,2]"), few_clips, tmp_path / "run", folder)
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_a_file_is_told_by_its_tensors(teacher, tiny_teacher):
    first = weights_hash(teacher)
    other = load_teacher(str(tiny_teacher))
    assert weights_hash(other) == first
    next(other.parameters()).data[0] += 1e-3
    assert weights_hash(other) != first


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (["train.crops=random"], {}, "train.crops.*cropped alike"),
        (["train.crops=null"], {}, "set train.crops to fixed"),
        (["match.mask_prob=0.5"], {}, "match.mask_prob.*cannot be kept"),
        ([], {"keep_targets_gb": 0.0}, "keep-targets-gb 0"),
        ([], {"keep_targets_gb": float("inf")}, "keep-targets-gb inf"),
        ([], {"keep_targets_gb": float("nan")}, "keep-targets-gb nan"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    tiny_teacher, few_clips, tmp_path, settings, options, said
):
    with pytest.raises(SpeechpressError, match=said):
        run(recipe(tiny_teacher, *settings), few_clips, tmp_path / "run", tmp_path / "kept", **options)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_keeps_nothing(tiny_teacher, few_clips, tmp_path):
    options = RunOptions((few_clips,), tmp_path / "run", "cpu", keep_targets=tmp_path / "kept")
    assert try_out(recipe(tiny_teacher), options)["first_loss"] > 0
    assert not list(tmp_path.iterdir())
