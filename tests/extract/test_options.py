"""What is asked of an extraction, and what is told at once when it makes no sense."""

from pathlib import Path

import pytest

from speechpress.compressor.extract.options import ExtractOptions, Shard, parse_layers, parse_shard
from speechpress.runtime.errors import SpeechpressError


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "/", "-1/4", "a/b", "1/2/3", "1.0/4", ""])
def test_a_shard_that_there_is_not(text):
    with pytest.raises(SpeechpressError, match="must be K/N with K from 1 to N"):
        parse_shard(text)


def test_shards_are_counted_from_one():
    assert parse_shard("3/16") == Shard(3, 16) and parse_shard("1/1").ending == ""
    assert parse_shard("3/16").ending == "-03-of-16"


def test_layers_by_words_and_numbers():
    assert parse_layers("last", (0, 2, 4), "x") == (4,) and parse_layers("all", (0, 2, 4), "x") == (0, 2, 4)
    assert parse_layers("4, 0", (0, 2, 4), "x") == (4, 0)
    for text, said in (("5", "has no layer 5, only 0, 2, 4"), ("0,0", "twice"), ("-1", "must be"), ("top", "must be")):
        with pytest.raises(SpeechpressError, match=said):
            parse_layers(text, (0, 2, 4), "x")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"form": "csv"}, "--format csv: must be one of npy"),
        ({"what": "words"}, "--what words"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"resume": True, "overwrite": True}, "contradict"),
        ({"longest_s": 0.0}, "--longest-s"),
        ({"heads": ("phones",)}, "features have no heads"),
        ({"what": "units", "layers": "all"}, "is for features"),
        ({"what": "units", "form": "lhotse"}, "not units"),
        ({"what": "answers", "form": "parquet"}, "JSON lines"),
    ],
)
def test_options_that_contradict_each_other(given, said):
    with pytest.raises(SpeechpressError, match=said):
        ExtractOptions(Path("out"), **given)
