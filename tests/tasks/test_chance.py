"""What guesses that never listen get, by hand and in general."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.tasks.kinds import KINDS

BOTH = np.array([[True, True], [True, False]])
FIRST = np.array([[True, False], [True, False]])


@pytest.mark.parametrize(
    ("kind", "train", "test", "score"),
    [
        ("classify", ["a", "a", "b"], ["a", "b", "b", "b"], 0.25),
        ("ctc", [("A",)], [("B",)], 1.0),
        ("words", [("A",)], [("B",)], 1.0),
        ("verify", ["x"], ["y"], 0.5),
        ("search", [], ["w"], 0.0),
        # "size" is always there and mostly small; naming a drink as well would be wrong too often.
        (
            "slots",
            [(("size", "small"),)] * 3 + [(("drink", "tea"),)],
            [(("size", "small"),), (("size", "large"),)],
            0.5,
        ),
        ("diarize", [FIRST], [FIRST], 0.0),
        ("diarize", [BOTH], [FIRST], 0.5),  # both, then the first one, as in training: wrong once here
        ("diarize", [np.array([[False, False]])], [FIRST], 1.0),
        ("spell", [("B-a", "X", "E-a")], [("B-a", "Y", "E-a"), ("Y",)], 0.5),
        ("classify", [], ["a"], None),
    ],
)
def test_the_best_constant_guess_by_hand(kind, train, test, score):
    assert KINDS[kind].chance_level(train, test) == (None if score is None else pytest.approx(score))


labels = st.lists(st.sampled_from("abc"), min_size=1, max_size=20)


@given(labels, labels)
def test_a_majority_is_never_better_than_the_share_of_the_largest_class(train, test):
    score = KINDS["classify"].chance_level(train, test)
    assert 0 <= score <= max(test.count(label) for label in test) / len(test)


@given(labels)
def test_on_its_own_labels_it_is_exactly_that(train):
    assert KINDS["classify"].chance_level(train, train) == max(train.count(label) for label in train) / len(train)
