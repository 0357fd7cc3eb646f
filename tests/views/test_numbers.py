"""Numbers for people: sizes in the unit that fits."""

import pytest

from speechpress.compressor.views.numbers import fitting


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (310_200, "310 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (1.25e9, "1.25 GB"),
        (1e12, "1 TB"),
        (1.2e18, "1200000 TB"),
    ],
)
def test_a_size_is_written_in_the_unit_that_fits(size_bytes, text):
    assert fitting(size_bytes) == text
