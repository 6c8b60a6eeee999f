"""Parquet files: as tables, and as arrays of embeddings by the names of their columns."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.budget import most_unpacked
from fedtl.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
"""Their suffixes."""
# Numbers of floating type compress little, and runs of equal cells much.
_RATIO = 50
_CELL = 8


def is_parquet(path: Path) -> bool:
    """Return whether a file's name says that it is Parquet."""
    return path.suffix.lower() in PARQUET


def read_parquet(path: Path) -> pd.DataFrame:
    """Return a file's table.

    Raises:
        UsageError: It is missing, no sound Parquet file, would unpack to far more than it should,
            or the package that reads it is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{path}: Parquet needs an extra: pip install 'fedtl[parquet]'")
    import pandas as pd
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        told = ParquetFile(path).metadata
        groups = [told.row_group(at) for at in range(told.num_row_groups)]
        parts = [group.column(at) for group in groups for at in range(group.num_columns)]
        # Equal cells are written once, however many they are.
        whole = sum(max(one.total_uncompressed_size, _CELL * one.num_values) for one in parts)
        if whole > most_unpacked(path.stat().st_size, ratio=_RATIO):
            raise UsageError(f"{path} would unpack to {whole >> 20:,} MiB; save it in parts")
        return pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (ArrowException, OSError, ValueError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is no sound Parquet file ({reason.rstrip('.')})") from None


def parquet_arrays(path: Path, known: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return a file's columns as arrays.

    A column of lists of one length is an array of shape ``(N, d)``. If there is none, the columns
    of floating-point numbers that have no known name are the array ``x`` together, in their order.

    Args:
        path: The file.
        known: What other columns may be called, in lower case and without _ and -.

    Raises:
        UsageError: The file cannot be read, or the lists of a column differ in length.
    """
    table = read_parquet(path)
    found = {str(name): _array(path, str(name), table[name]) for name in table.columns}
    if any(values.ndim > 1 for values in found.values()):
        return found
    loose = [
        name
        for name, values in found.items()
        if values.dtype.kind == "f" and name.lower().replace("_", "").replace("-", "") not in known
    ]
    if len(loose) < 2:
        return found
    rest = {name: values for name, values in found.items() if name not in loose}
    return {"x": np.stack([found[name] for name in loose], axis=1), **rest}


def _array(path: Path, name: str, column: Any) -> NDArray[Any]:
    values = column.to_numpy()
    if values.dtype.kind != "O":
        return np.asarray(values)
    if all(isinstance(value, np.ndarray | list) for value in values):
        lengths = {len(value) for value in values}
        if len(lengths) != 1:
            raise UsageError(f"{path}: the lists of column {name} differ in length")
        return np.stack([np.asarray(value) for value in values])
    # An absent name becomes an empty one, which is refused where a name is needed.
    return np.array(["" if value is None or value != value else str(value) for value in values])
