"""`compress head` from end to end on tiny corpora of tones: what is written, what the card says, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import spoken, write

from speechpress.compressor.data.sounds import read_sound
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.upstreams import encoder_upstream
from speechpress.compressor.heads.data import open_task
from speechpress.compressor.heads.features import chunks_of
from speechpress.compressor.heads.files import read_heads
from speechpress.compressor.heads.head import train_head
from speechpress.compressor.heads.judge import judged
from speechpress.compressor.heads.learn import HeadOptions, Shape
from speechpress.compressor.models.checkpoint import WEIGHTS, load_checkpoint, load_encoder, sha256, write_json
from speechpress.compressor.models.kept_heads import head_names
from speechpress.compressor.prune.prune import left_behind
from speechpress.compressor.quantize.ptq import prepare, quantize
from speechpress.compressor.teachers.convert import convert
from speechpress.runtime.errors import SpeechpressError

QUICK = Budget(steps=6, batch=4, lrs=(1e-2,), seeds=2)
silent = lambda text: None  # noqa: E731


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
        patch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))
        yield


@pytest.fixture(scope="module")
def data(mini_data, tmp_path_factory):
    """The mini suite's root, with few clips of each speaker."""
    root = tmp_path_factory.mktemp("few")
    shutil.copytree(mini_data / "arabic_speech_commands", root / "arabic_speech_commands")
    shutil.copytree(mini_data / "speechocean762", root / "speechocean762")
    table = root / "speechocean762" / "labels.tsv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *(line for line in lines if "/0.wav" in line or "/1.wav" in line)]) + "\n")
    return root


def trained(folder, task, data, **more):
    return train_head(folder, HeadOptions(task, data, **{"budget": QUICK, "clusters": 5, **more}), silent)


@pytest.fixture(scope="module")
def first(small_checkpoint, data, tmp_path_factory):
    """A student with four heads, and what was said of each."""
    folder = shutil.copytree(small_checkpoint, tmp_path_factory.mktemp("student") / "small")
    before = sha256(folder / WEIGHTS)
    said = {name: trained(folder, name, data) for name in ("ks", "pr", "asv")}
    said |= {name: trained(folder, name, data / "speechocean762") for name in ("units", "vad")}
    assert sha256(folder / WEIGHTS) == before
    return folder, said


def test_heads_of_many_kinds_hang_on_one_student(first):
    folder, said = first
    heads = read_heads(folder)
    assert {name: head.kind for name, head in heads.items()} == {
        **{"keywords": "classify", "phones": "ctc", "voice": "speaker", "units": "units", "vad": "vad"}
    }
    assert heads["keywords"].labels == ("A", "BB", "CA") and heads["phones"].labels == ("", "A", "B", "C")
    assert heads["vad"].threshold == 0.5 and -1 < heads["voice"].threshold < 1 and heads["phones"].threshold is None
    assert said["vad"]["heads"] == sorted(heads) and said["ks"]["heads"] == ["keywords"]
    # As long as a clip of the training: what is averaged on a device is what was averaged here.
    assert 0.4 <= heads["keywords"].decoder["window_s"] <= 0.6


def test_the_card_says_how_a_head_was_made_and_how_well_it_answers(first):
    folder, said = first
    card = load_checkpoint(folder).card
    assert card["steps"] == 3 and set(card["heads"]) == {"keywords", "phones", "voice", "units", "vad"}
    for name, head in read_heads(folder).items():
        line = card["heads"][name]
        assert json.loads(json.dumps(line)) == dict(head.card)
        low, high = line["ci95"]
        assert low - 1e-9 <= line["value"] <= high + 1e-9 or name == "units"
        assert line["data"]["hours"] > 0 and len(line["data"]["fingerprint"]) == 64
        assert sum(line["layer_weights"]) == pytest.approx(1) and line["parameters"] > 0
        assert line["chunks_ms"] == [80.0, 220.0, 640.0] and line["chance"] is not None
    assert card["heads"]["keywords"]["labels"] == {"count": 3, "list": ["A", "BB", "CA"]}
    assert card["heads"]["phones"]["labels"]["count"] == 3 and len(card["heads"]["phones"]["seeds"]) == 2
    assert card["heads"]["vad"]["data"]["clips"] == said["vad"]["data"]["clips"]
    assert card["heads"]["units"]["layer"] == 1 and card["heads"]["units"]["layer_weights"] == [0.0, 1.0]


def test_units_are_held_against_phones_where_a_head_can_align_them(first, small_checkpoint, data, tmp_path):
    line = first[1]["units"]
    assert line["metric"] == "PNMI" and 0 <= line["value"] <= 1 and set(line["also"]["purity"]) == {"phone", "cluster"}
    assert any("the head 'phones' aligns" in note for note in line["data"]["notes"])
    folder = shutil.copytree(small_checkpoint, tmp_path / "s")
    line = trained(folder, "units", data / "speechocean762")
    assert line["metric"] == "variance explained" and 0 < line["value"] < 1
    assert any("train one first" in note for note in line["data"]["notes"])


def test_what_was_judged_is_what_the_student_streams(first, data):
    """The score in the card is that of the kept head on the student's own frames in chunks, without any cache."""
    folder, said = first
    task, encoder = open_task("pr", data), load_encoder(folder)
    head = read_heads(folder)["phones"]
    chunk = chunks_of(load_checkpoint(folder))[0]
    upstream = encoder_upstream(encoder, chunk)

    class Straight:
        def frames(self, name):
            return self.kept[name]

        def __init__(self):
            from speechpress.compressor.data.sounds import identity

            self.kept = {}
            with torch.inference_mode():
                for item in task.items:
                    waves = torch.from_numpy(read_sound(item.sound))[None]
                    self.kept[identity(item.sound)] = torch.stack(list(upstream.states(waves)), 2)[0].numpy()

    score, _ = judged(head.module, head.labels, task, Straight(), upstream.hop_samples)
    assert min(abs(score.test - one) for one in said["pr"]["seeds"]) < 0.02


def test_a_name_that_is_taken_is_replaced_only_when_asked(first, data, tmp_path):
    folder = shutil.copytree(first[0], tmp_path / "s")
    with pytest.raises(SpeechpressError, match="has a head 'keywords' already; replace it with --overwrite"):
        trained(folder, "ks", data)
    before = (folder / "heads" / "keywords.safetensors").read_bytes()
    trained(folder, "ks", data, overwrite=True, budget=Budget(6, 4, (1e-2,), 1))
    assert (folder / "heads" / "keywords.safetensors").read_bytes() != before
    assert len(load_checkpoint(folder).card["heads"]["keywords"]["seeds"]) == 1
    trained(folder, "ks", data, name="again")
    assert {"keywords", "again"} <= set(read_heads(folder))


def test_another_folder_gets_the_student_and_all_its_heads(first, data, tmp_path):
    folder, _ = first
    there = sorted(path.name for path in folder.rglob("*"))
    said = trained(folder, "ks", data, name="more", out=tmp_path / "copy")
    assert sorted(path.name for path in folder.rglob("*")) == there
    assert set(read_heads(tmp_path / "copy")) == {*read_heads(folder), "more"}
    assert sha256(tmp_path / "copy" / WEIGHTS) == sha256(folder / WEIGHTS) and said["out"] == str(tmp_path / "copy")
    with pytest.raises(SpeechpressError, match="already exists"):
        trained(folder, "ks", data, name="more", out=tmp_path / "copy")


@pytest.mark.parametrize("name", ["Phones", "../x", "features", "a b"])
def test_what_is_no_name_is_refused_before_anything_is_heard(first, name):
    with pytest.raises(SpeechpressError, match="is not a name for a head"):
        trained(first[0], "ks", Path("/nowhere"), name=name)


@pytest.mark.parametrize(
    ("task", "more", "said"),
    [
        ("units", {"clusters": 100_000}, "--clusters 100000: the training clips have"),
        ("units", {"layer": 9}, "--layer 9: the student has layers 0 to 1"),
        ("units", {"labels": ("a",)}, "units have no labels"),
        ("ks", {"chunks_ms": (90.0,)}, "a chunk of 90 ms is not made of whole frames"),
        ("ks", {"finetune": 1}, "name its folder with --out"),
    ],
)
def test_what_cannot_be_is_refused(first, data, tmp_path, task, more, said):
    folder = first[0]
    with pytest.raises(SpeechpressError, match=said):
        trained(folder, task, data / "speechocean762" if task == "units" else data, name="other", **more)
    assert "other" not in head_names(folder)


def test_a_student_that_does_not_stream_is_heard_whole(tiny_pair, data, tmp_path):
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "s")
    assert trained(folder, "ks", data)["chunks_ms"] == [None]
    with pytest.raises(SpeechpressError, match="does not stream, so it has no chunks"):
        trained(folder, "ks", data, name="b", chunks_ms=(80.0,))


def test_chunks_are_those_of_the_streaming_training(small_checkpoint, tmp_path):
    folder = shutil.copytree(small_checkpoint, tmp_path / "s")
    write_json(folder / "card.json", {"recipe": {"name": "x", "streaming": {"chunk_ms": [40, 160]}}})
    assert chunks_of(load_checkpoint(folder)) == (2, 4, 8)
    write_json(folder / "card.json", {"recipe": {"name": "x", "streaming": {"chunk_ms": "40"}}})
    assert chunks_of(load_checkpoint(folder)) == (4, 11, 32)
    assert chunks_of(load_checkpoint(folder), (160.0, 80.0, 160.0)) == (4, 8)


def test_a_kernel_hears_the_past(first, data, tmp_path):
    folder = shutil.copytree(first[0], tmp_path / "s")
    trained(folder, "pr", data, name="wide", shape=Shape(kernel=5, hidden=8))
    assert read_heads(folder)["wide"].module.initial_state()["past"].shape == (1, 4, load_encoder(folder).config.width)


def test_a_words_head_gives_vectors_that_taught_words_are_found_by(first, data, tmp_path):
    from speechpress.runtime.answers.words import vector_of

    folder = shutil.copytree(first[0], tmp_path / "s")
    said = trained(folder, "words", data / "arabic_speech_commands")
    head = read_heads(folder)["words"]
    assert (head.kind, head.labels, said["metric"], said["chance"]) == ("words", (), "EER", 0.5)
    layers = torch.randn(1, 30, head.module.layers, load_encoder(folder).config.width)
    (outputs,), _ = head.module(layers, torch.ones(1, 30, dtype=torch.bool), head.module.initial_state())
    assert vector_of(outputs[0].numpy()).shape == (3 * head.module.embedding,)
    moved = trained(folder, "words", data / "arabic_speech_commands", finetune=1, finetune_steps=3, out=tmp_path / "m")
    assert moved["finetune"]["layers"] and read_heads(tmp_path / "m")["words"].kind == "words"


def test_features_are_kept_for_the_next_head(small_checkpoint, data, tmp_path):
    folder, heard = shutil.copytree(small_checkpoint, tmp_path / "s"), []
    options = HeadOptions("pr", data, budget=QUICK, cache=tmp_path / "cache")
    train_head(folder, options, silent)
    train_head(folder, HeadOptions("asv", data, budget=QUICK, cache=tmp_path / "cache"), heard.append)
    found = [line for line in heard if line.startswith("features:")]
    assert found and all(line.split()[1] == line.split()[3] for line in found)


def test_a_clip_that_cannot_be_read_is_left_out(small_checkpoint, tmp_path):
    folder, data = shutil.copytree(small_checkpoint, tmp_path / "s"), tmp_path / "data"
    rows = ["path\tlabel\tsplit"]
    for number in range(24):
        word, split = "AB"[number % 2], ("train", "train", "val", "test")[number // 2 % 4]
        write(data / f"{number}.wav", spoken(word, 1, number))
        rows.append(f"{number}.wav\t{word}\t{split}")
    (data / "labels.tsv").write_text("\n".join(rows) + "\n")
    head = (data / "0.wav").read_bytes()
    # The header is whole and says how long it is; the samples are not there.
    (data / "0.wav").write_bytes(head[:60])
    said = trained(folder, "classify", data)
    assert said["data"]["clips"]["train"] in (11, 12) and said["head"] == "classes"


def test_quantised_checkpoints_take_heads_along_and_refuse_stale_ones(first, tmp_path):
    folder = shutil.copytree(first[0], tmp_path / "s")
    quantize(prepare(folder, None, False), "int8", tmp_path / "q", silent)
    assert set(read_heads(tmp_path / "q")) == set(read_heads(folder))
    assert load_checkpoint(tmp_path / "q").card["heads"] == load_checkpoint(folder).card["heads"]
    spoil(folder)
    with pytest.raises(SpeechpressError, match="is stale"):
        quantize(prepare(folder, None, False), "int8", tmp_path / "q2", silent)
    assert not (tmp_path / "q2").exists()


def spoil(folder):
    """Change the weights behind the back of the heads."""
    from speechpress.compressor.models.checkpoint import save_encoder

    encoder = load_encoder(folder)
    encoder.masked_spec_embed.data.add_(1)
    save_encoder(folder, encoder)


def test_a_head_beside_stale_ones_can_be_trained_and_a_copy_cannot_be_made(first, data, tmp_path):
    folder = shutil.copytree(first[0], tmp_path / "s")
    spoil(folder)
    trained(folder, "ks", data, overwrite=True)
    assert list(read_heads(folder, ["keywords"])) == ["keywords"]
    with pytest.raises(SpeechpressError, match="is stale"):
        trained(folder, "ks", data, name="b", out=tmp_path / "copy")


def test_conversion_says_that_heads_stay_behind(first, tmp_path):
    assert any("heads are left out" in note for note in convert(str(first[0]), tmp_path / "t", "transformers").notes)
    assert not (tmp_path / "t" / "heads").exists()
    assert left_behind(first[0])[0].startswith("heads are removed") and left_behind(tmp_path) == []


def test_pruning_leaves_heads_behind_and_says_so(first, tmp_path):
    from speechpress.compressor.distill.run import RunOptions
    from speechpress.compressor.prune.options import PrunePlan, read_target
    from speechpress.compressor.prune.prune import prune

    target, heard = read_target(None, "44k", None, None), []
    plan = PrunePlan(first[0], target, "magnitude", 0, None, None, None, (), None, None)
    options = RunOptions((), tmp_path / "p", "cpu", False, False)
    document = prune(plan, options, silent, heard.append)
    assert any("heads are removed" in note for note in document["notes"])
    assert any("heads are removed" in line for line in heard)
    assert not (tmp_path / "p" / "heads").exists() and "heads" not in load_checkpoint(tmp_path / "p").card


@pytest.mark.parametrize(("task", "count"), [("ks", -1), ("pr", 1), ("asv", 1)])
def test_layers_that_move_make_another_checkpoint(first, data, tmp_path, task, count):
    folder, out = first[0], tmp_path / "moved"
    said = trained(folder, task, data, name="x", out=out, finetune=count, finetune_lr=1e-3, finetune_steps=4)
    assert list(read_heads(out)) == ["x"] and said["left_out"] == sorted(head_names(folder))
    before, after = load_encoder(folder).state_dict(), load_encoder(out).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and (count < 0 or all(name.startswith("encoder.layers.0.") for name in moved))
    card = load_checkpoint(out).card
    assert card["parents"][0]["sha256"] == sha256(folder / WEIGHTS) and set(card["heads"]) == {"x"}
    assert card["heads"]["x"]["finetune"]["steps"] == 4 and "moved for the head 'x'" in card["notes"][-1]


def test_more_layers_than_there_are_cannot_move(first, data, tmp_path):
    with pytest.raises(SpeechpressError, match=r"top:5: the student has 1 layers"):
        trained(first[0], "ks", data, name="x", out=tmp_path / "o", finetune=5)


def test_a_quantised_student_is_not_moved(first, data, tmp_path):
    quantize(prepare(first[0], None, False), "int8", tmp_path / "q", silent)
    with pytest.raises(SpeechpressError, match="is quantised"):
        trained(tmp_path / "q", "ks", data, name="x", out=tmp_path / "o", finetune=1)


def test_moving_helps_where_the_frozen_student_cannot_tell(tiny_pair, data, tmp_path):
    """All weights and many steps on two words: the loss on the training clips goes down."""
    heard = []
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "s")
    options = HeadOptions(
        "ks", data, out=tmp_path / "o", budget=QUICK, finetune=-1, finetune_lr=2e-3, finetune_steps=60
    )
    train_head(folder, options, heard.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in heard if line.startswith("moving")]
    assert len(losses) == 3 and losses[-1] < losses[0] and np.isfinite(losses).all()


def test_the_public_verb_hands_every_word_to_its_field(monkeypatch, tmp_path):
    import speechpress

    found = []
    monkeypatch.setattr("speechpress.compressor.heads.head.train_head", lambda *given: found.append(given) or {})
    given = {"out": "o", "name": "n", "overwrite": True, "label": "c", "labels": ["a"], "clusters": 7, "layer": 2}
    given |= {"kernel": 3, "hidden": 4, "chunk_ms": [80.0], "finetune": 1, "finetune_lr": 0.1, "finetune_steps": 5}
    speechpress.head(tmp_path, "ctc", data="d", steps=6, seeds=8, cache="k", device="cuda", **given)
    budget = Budget(steps=6, seeds=8)
    assert found[0][:2] == (
        tmp_path,
        HeadOptions(
            task="ctc",
            data=Path("d"),
            out=Path("o"),
            name="n",
            overwrite=True,
            column="c",
            labels=("a",),
            shape=Shape(3, 4),
            clusters=7,
            layer=2,
            chunks_ms=(80.0,),
            budget=budget,
            finetune=1,
            finetune_lr=0.1,
            finetune_steps=5,
            cache=Path("k"),
            device="cuda",
        ),
    )
