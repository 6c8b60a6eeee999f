"""Nothing leaves a site but what is declared, and everything that crosses has its right weight."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedtl.privacy.egress import Declaration, EgressError, release, weigh
from fedtl.privacy.forms import Count, Real, Text
from fedtl.records import to_record

_DECLARED = Declaration(
    arrays={"arrays": {"weight": (2, 3), "bias": (2,)}},
    metrics={"metrics": {"num-examples": Count(), "loss": Real(low=0.0, unknown=True)}},
    config={"identity": {"version": Text(longest=10)}},
)


def _reply(**changes: Any) -> RecordDict:
    """Return a reply as declared, with records put in, or, where ``None``, left out."""
    records = {
        "arrays": _head(),
        "metrics": MetricRecord({"num-examples": 5, "loss": 0.25}),
        "identity": ConfigRecord({"version": "1.0"}),
        **changes,
    }
    return RecordDict({name: record for name, record in records.items() if record is not None})


def _head(**changes: NDArray[Any] | None) -> ArrayRecord:
    arrays = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32), **changes}
    return to_record({name: value for name, value in arrays.items() if value is not None})


def test_what_is_declared_leaves_as_it_is() -> None:
    reply = _reply()
    assert release(reply, _DECLARED) is reply
    assert list(reply) == ["arrays", "metrics", "identity"]


def test_a_metric_may_be_nan() -> None:
    # A closed form has no training loss, and a client without held-out examples no score.
    release(_reply(metrics=MetricRecord({"num-examples": 5, "loss": float("nan")})), _DECLARED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": _head()}, "'images' is not declared"),
        ({"extra": MetricRecord({"a": 1})}, "'extra' is not declared"),
        ({"notes": ConfigRecord({"text": "patient 7"})}, "'notes' is not declared"),
        ({"metrics": MetricRecord({"num-examples": 5, "age": 77})}, "age in 'metrics' is not decl"),
        ({"metrics": MetricRecord({"num-examples": 5})}, "'metrics' lacks loss"),
        (
            {"metrics": MetricRecord({"num-examples": -5, "loss": 1.0})},
            "num-examples in 'metrics' is",
        ),
        ({"metrics": MetricRecord({"num-examples": 5, "loss": -1.0})}, "loss in 'metrics' is -1.0"),
        ({"identity": ConfigRecord({"version": "x" * 11})}, "version in 'identity' has 11 char"),
        ({"metrics": MetricRecord({})}, "'metrics' lacks loss, num-examples"),
        ({"metrics": _head()}, "'metrics' is not declared"),
        ({"metrics": ConfigRecord({"loss": 1.0})}, "'metrics' is not declared"),
        ({"identity": MetricRecord({"version": 1})}, "'identity' is not declared"),
        ({"identity": ConfigRecord({"version": "1", "name": "Ada"})}, "name in 'identity' is not"),
        ({"identity": ConfigRecord({})}, "'identity' lacks version"),
        ({"identity": None}, "lacks the record 'identity'"),
        ({"arrays": MetricRecord({"weight": 1.0})}, "'arrays' is not declared"),
        ({"arrays": None}, "lacks the record 'arrays'"),
        ({"metrics": None}, "lacks the record 'metrics'"),
        ({"arrays": _head(bias=None)}, "carries weight where bias, weight is declared"),
        ({"arrays": ArrayRecord({})}, "carries nothing where bias, weight is declared"),
        ({"arrays": _head(labels=np.ones(1))}, "carries bias, labels, weight"),
        ({"arrays": _head(bias=np.zeros(3))}, "'bias' in 'arrays' has shape (3,) where (2,)"),
        ({"arrays": _head(bias=np.zeros((2, 1)))}, "has shape (2, 1) where (2,)"),
        ({"arrays": _head(bias=np.zeros(2, np.int64))}, "'bias' in 'arrays' is not finite"),
        ({"arrays": _head(bias=np.array(["a", "b"]))}, "'bias' in 'arrays' is not finite"),
    ],
)
def test_anything_else_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EgressError) as error:
        release(_reply(**changes), _DECLARED)
    assert said in str(error.value)


@settings(deadline=None)
@given(
    value=hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(max_dims=3, max_side=4),
        elements=st.floats(-100, 100, width=16),
    ),
    poison=st.sampled_from([np.nan, np.inf, -np.inf]),
    data=st.data(),
)
def test_one_number_that_is_not_finite_is_enough_to_be_refused(
    value: NDArray[Any], poison: float, data: st.DataObject
) -> None:
    declared = Declaration(arrays={"arrays": {"w": value.shape}})
    release(RecordDict({"arrays": to_record({"w": value})}), declared)
    value.flat[data.draw(st.integers(0, value.size - 1))] = poison
    with pytest.raises(EgressError, match="'w' in 'arrays' is not finite"):
        release(RecordDict({"arrays": to_record({"w": value})}), declared)


def test_an_array_of_another_precision_is_refused() -> None:
    declared = Declaration(arrays={"arrays": {"w": (2,)}}, precision="float32")
    release(RecordDict({"arrays": to_record({"w": np.ones(2, np.float32)})}), declared)
    with pytest.raises(EgressError, match="'w' in 'arrays' is of float64 where float32"):
        release(RecordDict({"arrays": to_record({"w": np.ones(2)})}), declared)


@pytest.mark.parametrize("long", ["x" * 5_000_000, "line\nfeed", "\x1b[2J"])
def test_a_name_from_outside_is_told_in_one_short_line(long: str) -> None:
    for content in ({long: _head()}, {"metrics": MetricRecord({long: 1})}):
        with pytest.raises(EgressError) as error:
            release(_reply(**content), _DECLARED)
        assert str(error.value).isprintable() and len(str(error.value)) < 700


def test_an_array_that_is_not_what_it_states_is_refused() -> None:
    hidden = to_record({"w": np.ones((100, 100), np.float32)})["w"]
    lying = Array("float32", (2,), "numpy.ndarray", hidden.data)
    declared = Declaration(arrays={"arrays": {"w": (2,)}})
    with pytest.raises((EgressError, ValueError)):
        release(RecordDict({"arrays": ArrayRecord({"w": lying})}), declared)


@settings(deadline=None)
@given(
    value=hnp.arrays(
        st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=0, max_dims=3)
    )
)
def test_an_array_weighs_what_numpy_would_save(value: NDArray[Any]) -> None:
    file = io.BytesIO()
    np.save(file, value)
    [(name, shape, size)] = weigh(RecordDict({"arrays": to_record({"w": value})}))
    assert (name, size) == ("arrays", len(file.getvalue()))
    assert shape == f"w[{'×'.join(str(side) for side in value.shape)}]"


def test_records_are_weighed_one_by_one() -> None:
    content = RecordDict(
        {
            "arrays": _head(),
            "empty": ConfigRecord({}),
            "metrics": MetricRecord({"n": 5, "loss": 0.5, "counts": [1, 2, 3]}),
            "config": ConfigRecord({"text": "né", "raw": b"123", "on": True, "words": ["a", "bc"]}),
        }
    )
    head = sum(len(array.data) for array in content.array_records["arrays"].values())
    assert weigh(content) == [
        ("arrays", "weight[2×3] bias[2]", head),
        ("metrics", "n loss counts", 8 + 8 + 3 * 8),
        ("config", "text raw on words", 3 + 3 + 1 + 3),
    ]
