"""How numbers and names are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtl.wording import byte_size, duration, percent, points, printable, shortened


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_fits_and_keeps_both_ends(name: str, width: int) -> None:
    short = shortened(name, width)
    whole = printable(name)
    assert len(short) <= width
    assert short.isprintable()
    if len(whole) <= width:
        assert short == whole
    else:
        head, _, tail = short.rpartition("…") if "…" not in whole else (short[:1], "", "")
        assert whole.startswith(head)
        assert whole.endswith(tail)


@given(st.floats(0, 1e15))
def test_byte_size_reads_back(count: float) -> None:
    number, unit = byte_size(count).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * factor == pytest.approx(count, rel=0.06, abs=0.5)
    assert unit == "TB" or float(number) < 1000


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.874), "87.4%"),
        (percent(math.nan), "\N{EN DASH}"),
        (points(0.234), "+23.4"),
        (points(-0.12), "\N{MINUS SIGN}12.0"),
        (points(-0.0001), "0.0"),
        (points(None), "\N{EN DASH}"),
        (duration(0.0012), "1.2 ms"),
        (duration(0.9999), "1.0 s"),
        (duration(99.97), "1 min 40 s"),
        (duration(7322), "2 h 2 min"),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected
