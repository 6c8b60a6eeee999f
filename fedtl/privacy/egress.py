"""What may leave a site, decided in one place, and the ledger of what left.

A client declares, per kind of message, the names, shapes and precision of the arrays and the names
and forms of the numbers that a reply may carry. :func:`release` is the only door: a reply with
anything else is an error and nothing is sent. The server holds every reply against the same
declaration, because a site may run other code than ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedtl.privacy.forms import Form, one_line
from fedtl.records import from_array

Shapes = Mapping[str, tuple[int, ...]]


class EgressError(Exception):
    """A reply carries something undeclared or not finite; the message says what."""


@dataclass(frozen=True)
class Declaration:
    """Everything that one kind of reply carries.

    Attributes:
        arrays: Per array record, the name and shape of each array.
        metrics: Per metric record, the form of each value.
        config: Per config record, likewise.
        precision: Of all arrays, ``float32`` or ``float64``; ``None`` for any float.
    """

    arrays: Mapping[str, Shapes] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Form]] = field(default_factory=dict)
    config: Mapping[str, Mapping[str, Form]] = field(default_factory=dict)
    precision: str | None = None


def release(content: RecordDict, declared: Declaration) -> RecordDict:
    """Return ``content`` if it carries exactly what is declared, with finite arrays.

    Raises:
        EgressError: It does not.
    """
    for name, record in content.items():
        known: Mapping[str, object] = declared.arrays
        if not isinstance(record, ArrayRecord):
            known = declared.metrics if isinstance(record, MetricRecord) else declared.config
        if name not in known:
            raise EgressError(f"the record {_name(name)} is not declared to leave a site")
        if isinstance(record, ArrayRecord):
            _check_arrays(name, record, declared.arrays[name], declared.precision)
        else:
            forms = declared.metrics if isinstance(record, MetricRecord) else declared.config
            _check_values(name, record, forms[name])
    for name in (*declared.arrays, *declared.metrics, *declared.config):
        if name not in content:
            raise EgressError(f"the reply lacks the record {name!r}")
    return content


def _check_values(
    name: str, record: MetricRecord | ConfigRecord, forms: Mapping[str, Form]
) -> None:
    if record.keys() != forms.keys():
        if undeclared := record.keys() - forms.keys():
            raise EgressError(f"{_names(undeclared)} in {name!r} is not declared to leave a site")
        raise EgressError(f"{name!r} lacks {_names(forms.keys() - record.keys())}")
    for key, form in forms.items():
        if fault := form.fault(record[key]):
            raise EgressError(f"{key} in {name!r} {fault}")


def _check_arrays(name: str, record: ArrayRecord, shapes: Shapes, precision: str | None) -> None:
    if record.keys() != shapes.keys():
        raise EgressError(
            f"the record {name!r} carries {_names(record) or 'nothing'} "
            f"where {_names(shapes)} is declared"
        )
    for key, array in record.items():
        if array.shape != shapes[key]:
            raise EgressError(
                f"{key!r} in {name!r} has shape {one_line(tuple(array.shape))} "
                f"where {tuple(shapes[key])} is declared"
            )
        if precision is not None and array.dtype != precision:
            raise EgressError(
                f"{key!r} in {name!r} is of {one_line(array.dtype)} where {precision} is declared"
            )
        value = from_array(array)
        if value.dtype.kind != "f" or not _finite(value):
            raise EgressError(f"{key!r} in {name!r} is not finite")


def _name(name: str) -> str:
    return repr(one_line(name))


def _names(names: Iterable[str]) -> str:
    return one_line(", ".join(sorted(names)))


def _finite(value: NDArray[np.floating]) -> bool:
    # A sum of squares shows anything that is not finite in half the time; it may also overflow.
    return math.isfinite(np.vdot(value, value)) or bool(np.isfinite(value).all())


class LedgerEntry(NamedTuple):
    """One record that crossed a site's border.

    Attributes:
        server_round: Round, 0 before the first and the last round + 1 for the closing evaluation.
        client: Partition id.
        direction: ``"down"`` to the site, ``"up"`` from it.
        record: Name of the record.
        shape: Its arrays and their shapes, or its keys, as text.
        bytes: Size of its serialised values.
    """

    server_round: int
    client: int
    direction: str
    record: str
    shape: str
    bytes: int


def weigh(content: RecordDict) -> list[tuple[str, str, int]]:
    """Return name, shape as text, and bytes of every record of a message that is not empty."""
    weighed = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            arrays = record.items()
            shape = _shapes_as_text(tuple((key, tuple(array.shape)) for key, array in arrays))
            size = sum(len(array.data) for _, array in arrays)
        else:
            shape = " ".join(record.keys())
            size = sum(map(_scalar_bytes, record.values()))
        if size:
            weighed.append((name, shape, size))
    return weighed


@lru_cache(maxsize=256)
def _shapes_as_text(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    return " ".join(f"{name}[{'×'.join(map(str, shape))}]" for name, shape in shapes)


def _scalar_bytes(value: object) -> int:
    """Return 8 bytes per number, 1 per Boolean, and the UTF-8 length of text."""
    if isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return 8
    if isinstance(value, list):
        if value and isinstance(value[0], bool | int | float):
            # A record's list is of one type, and may have a number for each example.
            return len(value) * _scalar_bytes(value[0])
        return sum(map(_scalar_bytes, value))
    return len(value.encode() if isinstance(value, str) else bytes(value))  # type: ignore[call-overload]
