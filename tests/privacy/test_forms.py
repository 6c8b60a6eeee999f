"""What a value may be, and how what comes from outside is shown."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtl.privacy.forms import LONGEST_LIST, LONGEST_TEXT, Count, Real, Text, one_line, shown


@given(st.integers())
def test_a_count_is_a_whole_number_that_float64_holds(value: int) -> None:
    sound = 0 <= value < 2**53
    assert (Count().fault(value) == "") == sound
    assert (Count(size=2).fault([0, value]) == "") == sound
    if sound:
        assert int(float(value)) == value


@pytest.mark.parametrize(
    "value", [1.0, True, "1", None, [1], b"1", math.nan, -1, 2**53, (1, 2), "huge"]
)
def test_what_is_no_count_is_said_in_short(value: Any) -> None:
    value = 10**5000 if value == "huge" else value
    fault = Count().fault(value)
    assert "is not a count" in fault and len(fault) < 150 and fault.isprintable()


@given(st.floats(), st.booleans())
def test_a_number_is_finite_and_in_its_range(value: float, unknown: bool) -> None:
    form = Real(low=-1.0, high=2.0, unknown=unknown)
    expected = unknown if math.isnan(value) else -1 <= value <= 2
    assert (form.fault(value) == "") == expected
    assert (Real().fault(value) == "") == math.isfinite(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_number(value: float) -> None:
    assert Real().fault(value) == "is not finite"
    assert Real(unknown=True).fault(value) == ("" if math.isnan(value) else "is not finite")


def test_lists_have_their_length_and_texts_theirs() -> None:
    assert Count(size=3).fault([1, 2]) == "has 2 entries where 3 are declared"
    assert Count(size=3).fault([1, 2, 3, 4]) == "has 4 entries where 3 are declared"
    assert Real(size=-1).fault([1.0] * 7) == "" == Real(size=-1).fault([])
    assert "more than 1,000,000" in Count(size=-1).fault([0] * (LONGEST_LIST + 1))
    assert Text().fault("x" * LONGEST_TEXT) == ""
    assert "501 characters" in Text().fault("x" * (LONGEST_TEXT + 1))
    assert Text().fault("a\x1b[2Jb") == Text().fault("a\nb") == "has control characters"
    for name in ("lésion\u00a0bénigne", "क्\u200dष", "\udce9tage"):
        assert Text().fault(name) == ""
    assert "an entry that is 7, which is not a text" in Text(size=-1).fault(["a", 7])


@given(st.text(), st.integers(0, 3000))
def test_any_text_is_kept_in_one_line_that_a_terminal_may_show(text: str, times: int) -> None:
    kept = one_line(text * times)
    assert len(kept) <= LONGEST_TEXT and kept.isprintable() and kept == kept.strip()
    if len(text) < 100 and text.isprintable():
        assert one_line(text) == " ".join(text.split())
    assert len(shown(text * times)) <= 41
