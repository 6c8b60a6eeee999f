"""A comparison as a pandas data frame, a row per run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtl.config import RunConfig
from fedtl.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

_WHOLE = (
    "clients",
    "rounds",
    "rounds_to_target",
    "bytes_to_target",
    "bytes_up",
    "bytes_down",
    "failures",
    "seed",
)
_WHOLE_ENDINGS = ("_correct", "_examples", "_groups", "_better", "_worse", "_clients", "_shuffles")


def to_frame(folder: str | Path) -> DataFrame:
    """Return the runs in ``comparison.csv`` of a comparison's folder, with typed columns.

    Counts are pandas' ``Int64``, which knows missing values; figures are ``float64``, NaN if
    missing; what varied has the type of its key.

    Raises:
        UsageError: The folder holds no finished comparison.
    """
    import pandas as pd

    path = Path(folder) / "comparison.csv"
    if not path.is_file():
        raise UsageError(f"{folder} holds no finished comparison: it has no comparison.csv.")
    with path.open(encoding="utf-8") as file:
        columns = file.readline().rstrip("\n").split(",")
    return pd.read_csv(path, dtype={column: _type_of(column) for column in columns})


def _type_of(column: str) -> Any:
    configured = RunConfig().to_mapping()
    if column in _WHOLE or column.endswith(_WHOLE_ENDINGS):
        return "Int64"
    if column == "global_head":
        return "bool"
    if column in ("strategy", "head_sha256"):
        return "string"
    if column in configured:
        return {int: "Int64", float: "float64", str: "string"}[type(configured[column])]
    return "float64"
