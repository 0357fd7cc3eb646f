"""`compress head` as a user calls it: what is shown, and words that are refused before anything heavy is loaded."""

import json
import shutil
from pathlib import Path

import pytest
from corpora import spoken, write

from speechpress.compressor.cli.head import head_rows, moving_layers
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A folder of two words by four speakers."""
    folder, rows = tmp_path_factory.mktemp("words"), ["path\tlabel\tspeaker\tsplit"]
    for number in range(32):
        word, speaker = ("A", "CB")[number % 2], number // 8
        write(folder / f"{number}.wav", spoken(word, 0.8 + 0.1 * speaker, number))
        rows.append(f"{number}.wav\t{word}\ts{speaker}\t{('train', 'train', 'val', 'test')[speaker]}")
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_head_is_trained_and_shown(cli, small_checkpoint, words, tmp_path):
    shutil.copytree(small_checkpoint, tmp_path / "s")
    done = cli("head", "s", "--task", "classify", "--data", words, "--seeds", 1, "--no-cache", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["head"] == "classes" and document["labels"]["list"] == ["A", "CB"] and document["left_out"] == []
    shown = json.loads(cli("show", "s", "--json").stdout)
    assert shown["heads"]["classes"]["value"] == document["value"]
    assert "head classes" in cli("show", "s").stdout
    again = cli("head", "s", "--task", "classify", "--data", words, "--no-cache")
    assert again.returncode == 1
    assert "has a head 'classes' already" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--task", "ks"), "no --data given"),
        (("--data", "x"), "no --task given"),
        (("--task", "ks", "--data", "x", "--finetune", "top:0"), "--finetune top:0: must be top:N"),
        (("--task", "ks", "--data", "x", "--no-cache", "--cache", "c"), "contradict each other"),
        (("--task", "nothing", "--data", "x"), "--task nothing: must be one of"),
        (("--task", "ks", "--data", "x", "--labels", ","), "--labels: is empty"),
    ],
)
def test_words_that_mean_nothing_are_refused(given, said, small_checkpoint):
    from typer.testing import CliRunner

    from speechpress.compressor.cli.main import app

    done = CliRunner().invoke(app, ["head", str(small_checkpoint), *given])
    assert isinstance(done.exception, SpeechpressError) and said in str(done.exception)


def test_layers_that_move_are_named():
    assert [moving_layers(text) for text in (None, "all", "top:1", "top:12")] == [0, -1, 1, 12]
    for text in ("top", "top:", "top:-1", "top:x", "1", "top:\u0661"):
        with pytest.raises(SpeechpressError, match="must be top:N"):
            moving_layers(text)


def test_a_line_of_a_card_that_says_little_is_shown_as_far_as_it_goes():
    assert head_rows({}) == [("kind", "None")]
    rows = dict(
        head_rows(
            {
                "kind": "ctc",
                "labels": {"count": 12, "list": [" ", *"abcdefghijk"]},
                "metric": "PER",
                "value": 0.25,
                "ci95": [0.2, 0.3],
                "chance": 1.0,
            }
        )
    )
    assert rows["labels"] == "12: space, a, b, c, d, e, f, g, ..." and rows["PER"].startswith("0.250 (0.200 to 0.300)")
    assert dict(head_rows({"metric": "x", "value": 0.5, "ci95": [None, None]}))["x"] == "0.500"


def test_every_word_reaches_its_field(monkeypatch, small_checkpoint, tmp_path):
    from typer.testing import CliRunner

    from speechpress.compressor.cli.main import app
    from speechpress.compressor.evaluate.heads import Budget
    from speechpress.compressor.heads.learn import HeadOptions, Shape

    found = []

    class Enough(Exception):
        pass

    def stop(*given):
        found.append(given)
        raise Enough

    monkeypatch.setattr("speechpress.compressor.heads.head.train_head", stop)
    words = "--task ctc --data d --out o --name n --overwrite --label c --labels a,b --clusters 7 --layer 2 --kernel 3"
    more = "--hidden 4 --chunk-ms 80 --chunk-ms 160 --finetune top:2 --finetune-lr 0.1 --finetune-steps 5 --steps 6"
    last = "--seeds 8 --cache k --device cuda"
    done = CliRunner().invoke(app, ["head", str(small_checkpoint), *f"{words} {more} {last}".split()])
    assert isinstance(done.exception, Enough)
    assert found[0][1] == HeadOptions(
        task="ctc",
        data=Path("d"),
        out=Path("o"),
        name="n",
        overwrite=True,
        column="c",
        labels=("a", "b"),
        shape=Shape(3, 4),
        clusters=7,
        layer=2,
        chunks_ms=(80.0, 160.0),
        budget=Budget(steps=6, seeds=8),
        finetune=2,
        finetune_lr=0.1,
        finetune_steps=5,
        cache=Path("k"),
        device="cuda",
    )
