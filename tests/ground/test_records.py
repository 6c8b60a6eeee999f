"""Records against Flower's own conversion and numpy's own NPY reader and writer."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedtl.records import (
    array_record,
    config_record,
    from_array,
    from_record,
    metric_record,
    to_array,
    to_record,
)

_dtypes = st.one_of(
    hnp.floating_dtypes(endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
)
_arrays = hnp.arrays(_dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


def _npy(value: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, value, version=version)
    return file.getvalue()


def _stated(dtype: str, shape: tuple[int, ...], data: bytes, stype: str = "numpy.ndarray") -> Array:
    return Array(dtype, shape, stype, data)


@settings(deadline=None)
@given(_arrays)
@example(np.zeros((), np.float32))
@example(np.zeros((0,), np.float64))
@example(np.zeros((3, 0, 2), np.int64))
@example(np.zeros((123_456, 1), np.uint8))
@example(np.zeros((1,) * 16, np.float32))
@example(np.arange(12.0).reshape(3, 4).T)
@example(np.arange(12.0).reshape(3, 4)[:, ::2])
def test_bytes_are_flowers_and_come_back_unchanged(value: NDArray[Any]) -> None:
    ours, flowers = to_array(value), Array(np.ascontiguousarray(value).reshape(value.shape))
    assert (ours.dtype, ours.shape, ours.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert ours.data == flowers.data
    back = from_array(ours)
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert back.tobytes() == value.tobytes()
    assert ours.numpy().tobytes() == value.tobytes()


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), _arrays, max_size=4))
def test_a_record_keeps_names_order_and_values(arrays: dict[str, NDArray[Any]]) -> None:
    back = from_record(to_record(arrays))
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value)


def test_arrays_written_by_flower_are_read() -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(from_record(ArrayRecord({"w": Array(value)}))["w"], value)


def test_what_is_read_shares_the_bytes_and_cannot_be_written() -> None:
    array = to_array(np.arange(3.0))
    assert not from_array(array).flags.writeable
    assert np.shares_memory(from_array(array), np.frombuffer(array.data, np.uint8))


def test_records_of_a_message_are_found_by_name() -> None:
    arrays, metrics, config = to_record({}), MetricRecord({"loss": 1.0}), ConfigRecord({"lr": 0.1})
    content = RecordDict({"arrays": arrays, "metrics": metrics, "config": config})
    assert array_record(content, "arrays") is arrays
    assert metric_record(content, "metrics") is metrics
    assert config_record(content, "config") is config
    with pytest.raises(KeyError):
        array_record(content, "absent")


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_a_foreign_npy_header_is_read(version: tuple[int, int]) -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    array = _stated("float32", (2, 3), _npy(value, version))
    np.testing.assert_array_equal(from_array(array), value)


def test_fortran_order_is_read() -> None:
    value = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))
    assert b"'fortran_order': True" in _npy(value)
    np.testing.assert_array_equal(from_array(_stated("float64", (2, 3), _npy(value))), value)


_HONEST = _npy(np.arange(4, dtype=np.float32))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(_stated("float32", (2, 2), _HONEST), id="other shape, same size"),
        pytest.param(_stated("float32", (5,), _HONEST), id="longer"),
        pytest.param(_stated("float32", (-1,), _HONEST), id="negative side"),
        pytest.param(_stated("int32", (4,), _HONEST), id="other dtype, same size"),
        pytest.param(_stated("float16", (4,), _HONEST), id="narrower dtype"),
        pytest.param(_stated("no-such-type", (4,), _HONEST), id="unknown dtype"),
        pytest.param(_stated("object", (4,), _HONEST), id="object"),
        pytest.param(_stated("float32", (4,), _HONEST, "torch.Tensor"), id="other serialisation"),
        pytest.param(_stated("float32", (4,), _HONEST[:-1]), id="truncated"),
        pytest.param(_stated("float32", (4,), _HONEST[:9]), id="header cut"),
        pytest.param(_stated("float32", (4,), _HONEST + bytes(4)), id="one number too many"),
        pytest.param(_stated("float32", (4,), b""), id="empty"),
        pytest.param(_stated("float32", (4,), b"PK\x03\x04" + bytes(60)), id="zip"),
        pytest.param(_stated("float32", (4,), b"\x93NUMPY\x01\x00\x01\x00("), id="header syntax"),
        pytest.param(_stated("float32", (4,), b"not NPY at all, but long"), id="noise"),
    ],
)
def test_bytes_that_are_not_what_they_state_are_refused(lie: Array) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_array(lie)


def test_a_lie_is_told_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"states float32\[2, 2\] but holds float32\[4\]"):
        from_array(_stated("float32", (2, 2), _HONEST))


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(_HONEST) - 1))
def test_damaged_bytes_never_escape_as_another_error(noise: bytes, at: int) -> None:
    damaged = _HONEST[:at] + noise + _HONEST[at + len(noise) :]
    try:
        value = from_array(_stated("float32", (4,), damaged))
    except ValueError:
        return
    assert (value.dtype, value.shape) == (np.dtype(np.float32), (4,))
