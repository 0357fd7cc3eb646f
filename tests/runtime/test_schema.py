import math

import pytest

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import (
    Anything,
    Either,
    Fields,
    Flag,
    Items,
    Maybe,
    Real,
    Table,
    Text,
    Whole,
    check,
    fits,
)

MODEL = Fields(
    {"width": Whole(1, 100), "rates": Items(Real(0, 1), 1, 3)},
    {
        "name": Maybe(Text(20)),
        "notes": Text(50, lines=True),
        "mode": Text(choices=("fast", "slow")),
        "on": Flag(),
        "share": Real(above=0, high=1),
        "tasks": Table(Fields({"value": Maybe(Real())}), most=2),
        "of": Either((Flag(), Whole(0, 3))),
        "rest": Anything(),
    },
    closed=True,
)
GOOD = {
    "width": 3,
    "rates": [0, 0.5],
    "name": None,
    "notes": "two\nlines",
    "mode": "fast",
    "on": False,
    "share": 1,
    "tasks": {"sid": {"value": -1.5, "more": []}},
    "of": 2,
    "rest": {"a": [1, 2.5, None, True, "é"]},
}


def test_what_fits_passes():
    check(GOOD, MODEL, "x.json")
    check({"width": 1, "rates": [1]}, MODEL, "x.json")
    assert fits(GOOD, MODEL) and not fits([], MODEL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": True}, "width is true, but must be a whole number from 1 to 100"),
        ({"width": 0}, "width is 0, but"),
        ({"width": 101}, "width is 101, but"),
        ({"width": 3.0}, "width is 3.0, but"),
        ({"width": 10**5000}, "width is a number of more than 30 digits, but"),
        ({"width": None}, "width is null, but"),
        ({"rates": []}, r"rates has 0 values, but must be a list of 1 to 3"),
        ({"rates": [0, 1, 2]}, r"rates\[2\] is 2, but must be a number from 0 to 1"),
        ({"rates": [0, math.nan]}, r"rates\[1\] is nan"),
        ({"rates": "0.5"}, "rates is '0.5', but must be a list"),
        ({"share": 0}, "share is 0, but must be a number above 0 to 1"),
        ({"share": True}, "share is true"),
        ({"name": "a\nb"}, r"name is 'a\\nb', but must be printable text of one line"),
        ({"name": "\ud800"}, r"name is '\\ud800'"),
        ({"notes": "\x1b[2J"}, r"notes is '\\x1b\[2J', but must be printable text"),
        ({"name": "x" * 21}, "name is .xxx.*at most 20 characters"),
        ({"mode": "fats"}, "mode is 'fats', but must be one of fast, slow"),
        ({"on": 1}, "on is 1, but must be true or false"),
        ({"tasks": {"sid": {}}}, r"tasks\.sid\.value is missing \(a number, or null\)"),
        ({"tasks": {"sid": {"value": math.inf}}}, r"tasks\.sid\.value is inf"),
        ({"tasks": {"a\n": {"value": 1}}}, r"tasks has the key 'a\\n'"),
        ({"tasks": {key: {"value": 1} for key in "abc"}}, "tasks has 3 keys, but must have at most 2"),
        ({"of": 4}, "of is 4, but must be true or false, or a whole number from 0 to 3"),
        ({"rest": {"a": [math.nan]}}, r"rest\.a\[0\] is nan"),
        ({"rest": {"a": object()}}, r"rest\.a is <object"),
        ({"widht": 3}, r"'widht' is not known; did you mean 'width'\?"),
    ],
)
def test_what_does_not_is_refused_by_its_path(change, said):
    with pytest.raises(SpeechpressError, match=rf"^x\.json: {said}.*; write it again$"):
        check({**GOOD, **change}, MODEL, "x.json", "write it again")


def test_a_missing_key_is_named():
    with pytest.raises(SpeechpressError, match=r"^x\.json: rates is missing \(a list of 1 to 3"):
        check({"width": 1}, MODEL, "x.json")
    with pytest.raises(SpeechpressError, match=r"^x\.json: it is a list, but must be an object"):
        check([], MODEL, "x.json")


def test_a_measured_number_may_be_anything_but_a_text():
    kind = Real(measured=True)
    assert fits(math.nan, kind) and fits(-math.inf, kind) and fits(2, kind) and not fits("2", kind)
    assert not fits(math.nan, Real())
