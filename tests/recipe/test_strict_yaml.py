from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.recipe.strict_yaml import fill, key, override, parse, places
from speechpress.runtime.errors import SpeechpressError


@dataclass(frozen=True)
class Inner:
    count: int = key(low=1, high=9, doc="how many")
    rate: float = key(0.5, above=0, below=1)
    kind: str = key("red", choices=("red", "green"))


@dataclass(frozen=True)
class Outer:
    inner: Inner
    title: str = key("")
    flag: bool = key(False)
    sizes: tuple[int, ...] = key((), low=0)
    pair: tuple[float, float] = key((0.1, 0.2))
    pairs: tuple[tuple[int, int], ...] = key(())
    limit: float | None = key(None)


def load(text: str, *settings: str) -> Outer:
    return fill(Outer, override(parse(text, "x.yaml"), settings))


def error(text: str, *settings: str) -> str:
    with pytest.raises(SpeechpressError) as caught:
        load(text, *settings)
    return str(caught.value)


def test_every_kind_of_value() -> None:
    text = """
inner: {count: 3, rate: 2e-4, kind: green}
title: "two words"
flag: true
sizes: [1, 2]
pair: [0.5, 1]
pairs: [[1, 2], [3, 4]]
limit: 7
"""
    wanted = Outer(Inner(3, 2e-4, "green"), "two words", True, (1, 2), (0.5, 1.0), ((1, 2), (3, 4)), 7.0)
    assert load(text) == wanted


def test_defaults_and_null() -> None:
    assert load("inner: {count: 1}\nlimit: null\nsizes:") == Outer(Inner(1))
    assert load("inner: {count: 5e0}").inner.count == 5


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("inner:\n  count: 0", "x.yaml:2: inner.count is 0, but must be at least 1"),
        ("inner:\n  count: 10", "x.yaml:2: inner.count is 10, but must be at most 9"),
        ("inner:\n  count: 1\n  rate: 1.0", "x.yaml:3: inner.rate is 1.0, but must be less than 1"),
        ("inner:\n  count: 1\n  rate: .nan", "x.yaml:3: inner.rate is nan, but must be finite"),
        ("inner:\n  count: 1\n  rate: .inf", "x.yaml:3: inner.rate is inf, but must be finite"),
        ("inner:\n  count: true", "x.yaml:2: inner.count is True, but must be a whole number"),
        ("inner:\n  count: 1.5", "x.yaml:2: inner.count is 1.5, but must be a whole number"),
        ("inner:\n  count: many", "x.yaml:2: inner.count is 'many', but must be a whole number"),
        ("inner:\n  count:", "x.yaml:2: inner.count has no value, but must be a whole number"),
        ("inner:\n  rate: 0.1", "x.yaml:1: inner.count is missing (how many)"),
        (
            "inner:\n  count: 1\n  kind: geen",
            "x.yaml:3: inner.kind is 'geen', but must be one of red, green. Did you mean",
        ),
        ("inner: 3", "x.yaml:1: inner is 3, but must hold further keys"),
        ("inner: {count: 1}\nsizes: 4", "x.yaml:2: sizes is 4, but must be a list, such as [1, 2]"),
        ("inner: {count: 1}\nsizes: [1, -1]", "x.yaml:2: sizes has -1, but must be at least 0"),
        ("inner: {count: 1}\nsizes: [1, [2]]", "x.yaml:2: sizes is [2], but must be a whole number"),
        ("inner: {count: 1}\npair: [1]", "x.yaml:2: pair has 1 values, but must have 2"),
        ("inner: {count: 1}\npairs: [1, 2]", "x.yaml:2: pairs is 1, but must be a list"),
        ("inner: {count: 1}\ntitle: 2021-10-03", "but must be a text. Quote it"),
        ('inner: {count: 1}\ntitle: "a\\nb"', "must be one line of printable text"),
        ("inner: {count: 1}\nflag: 1", "x.yaml:2: flag is 1, but must be true or false"),
        ("inner: {count: 1}\nlimit: []", "x.yaml:2: limit is [], but must be a number"),
        ("inner: {count: 1}\n\ninner: {count: 2}", "x.yaml:3: the key 'inner' stands here again (first at x.yaml:1)"),
        ("", "x.yaml: is empty"),
        ("# only a comment", "x.yaml: is empty"),
        ("- 1\n- 2", "x.yaml:1: expected `key: value` lines, found a list"),
        ("just words", "found the text 'just words'"),
        ("inner: {count: 1", "x.yaml:1: is not valid YAML"),
        ("a: 1\n\tb: 2", "x.yaml:2: is not valid YAML"),
        ("a: 1\n---\nb: 2", "is not valid YAML"),
        ("[a]: 1", "a key must be a word, found a list"),
        ("a: &x 1\nb: *x", "x.yaml:2: is not valid YAML: aliases"),
        ("a: \x00", "is not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "[" * 20 + "]" * 20, "x.yaml:1: is nested too deeply"),
        ("a: " + "9" * 6000, "x.yaml:1: only plain values are read"),
        ("a: " + "x" * 2_000_000, "far too long"),
    ],
)
def test_errors_name_the_line(text: str, wanted: str) -> None:
    assert wanted in error(text)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system ''",
        "!thing {a: 1}",
        "!!set {a}",
        "!thing 3",
    ],
)
def test_only_plain_data_is_read(value: str) -> None:
    assert "x.yaml:1: only plain values are read" in error(f"inner: {value}")


def test_overrides() -> None:
    text = "inner: {count: 1}\n"
    assert load(text, "inner.count=2", "inner.count=4").inner.count == 4
    assert load(text, "sizes=[1, 2]", "title=a=b") == Outer(Inner(1), "a=b", sizes=(1, 2))
    assert load("title: x", "inner.count=2") == Outer(Inner(2), "x")
    assert load("title: x", "inner={count: 2, kind: green}").inner == Inner(2, kind="green")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("inner.count=0", "--set inner.count=0: inner.count is 0, but must be at least 1"),
        ("inner.count", "--set inner.count: expected KEY=VALUE"),
        ("=1", "--set =1: expected KEY=VALUE"),
        ("inner..count=1", "expected KEY=VALUE"),
        ("inner.count.x=1", "--set inner.count.x=1: inner.count is 1, it has no key 'x'"),
        ("inner.count=[1", "--set inner.count=[1: is not valid YAML"),
        ("inner.count=", "--set inner.count=: inner.count has no value"),
        ("inner={count: 1, count: 2}", "the key 'count' stands here again"),
        ("title=!!python/name:os.system ''", "only plain values are read"),
    ],
)
def test_errors_name_the_override(setting: str, wanted: str) -> None:
    assert wanted in error("inner: {count: 1}", setting)


def test_places_know_overrides_from_lines() -> None:
    root = override(parse("inner:\n  count: 1\n  rate: 0.1\n", "x.yaml"), ["inner.rate=0.2"])
    assert places(root) == {"inner": "x.yaml:1", "inner.count": "x.yaml:2", "inner.rate": "--set inner.rate=0.2"}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        fill(Outer, parse(text, "x.yaml"))
    except SpeechpressError as caught:
        assert str(caught).startswith("x.yaml")
