"""Tables of rows: CSV, TSV, JSON lines and Parquet, all cells as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedtl.data.budget import MOST_TABLE_BYTES
from fedtl.data.parquet_file import is_parquet, read_parquet
from fedtl.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

JSON_LINES = (".jsonl", ".ndjson")
_MOST_COLUMNS = 20_000


def read_table(path: Path) -> dict[str, list[str | None]]:
    """Return a table's columns by name, every cell as text and a missing one as ``None``.

    A CSV's cells are separated by commas, semicolons or tabs, whichever its header has most of.

    Raises:
        UsageError: It cannot be read, has no rows, or two columns of one name.
    """
    import pandas as pd

    try:
        if path.stat().st_size > MOST_TABLE_BYTES:
            raise UsageError(f"{path} is larger than {MOST_TABLE_BYTES >> 20} MiB; split it")
        if not path.stat().st_size:
            raise UsageError(f"{path} is an empty file; write or copy it again")
        suffix = path.suffix.lower()
        if is_parquet(path):
            table = read_parquet(path)
        elif suffix in JSON_LINES:
            table = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        else:
            table = _separated(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} is not UTF-8 text; save it in UTF-8 (in Excel, CSV UTF-8)"
        ) from None
    except (ValueError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is no sound table ({reason.strip().rstrip('.')})") from None
    # A column without a name, as pandas writes the numbers of rows, is called by its place.
    names = [
        str(name).strip() or f"column {place}" for place, name in enumerate(table.columns, start=1)
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{path} has several columns called {twice[0]!r}; rename them")
    if table.empty or len(names) > _MOST_COLUMNS:
        what = "no rows" if table.empty else f"{len(names):,} columns"
        raise UsageError(f"{path} has {what}, but a row for each example is expected")
    columns = [table.iloc[:, place].tolist() for place in range(len(names))]
    return {
        name: [_cell(value) for value in column]
        for name, column in zip(names, columns, strict=True)
    }


def _separated(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
    # Names are taken as they are: pandas would number those that occur twice.
    table = pd.read_csv(
        path,
        sep=delimiter,
        header=None,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        skipinitialspace=True,
    )
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis=1)


def _cell(value: object) -> str | None:
    """Return a cell as text; whole numbers of floating type as integers."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, Mapping | list | np.ndarray):
        raise UsageError(
            "a table's cells must be text or numbers, not lists or tables of their own; embeddings "
            "in a Parquet file are --data features:FILE.parquet"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None
