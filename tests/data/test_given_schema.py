"""A schema that a person names for a table: it fits, and what it does not know is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.schema import NumericColumn, Schema
from fedtl.data.schema_file import write_schema
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError


def _open(folder: Path, *columns: str, **options: str) -> Dataset:
    """Open a small table by a schema of some columns of numbers."""
    rows = [f"{k},{'ew'[k % 2]},{40 + k},{k}.5,{'xy'[k // 2]}" for k in range(4)]
    (folder / "ward.csv").write_text("\n".join(["patient_no,site,age,crp,label", *rows]))
    schema = Schema(tuple(NumericColumn(name, 50.0, 10.0) for name in columns))
    write_schema(folder / "s.toml", schema)
    given = {"table-schema": str(folder / "s.toml"), **options}
    return open_dataset(RunConfig(data=str(folder / "ward.csv"), options=tuple(given.items())))


def test_columns_that_it_does_not_know_are_told(tmp_path: Path) -> None:
    found = _open(tmp_path, "age", "crp", "weight")
    assert not isinstance(found.inputs, np.ndarray)
    assert found.inputs.load(1).cells == {"age": "41", "crp": "1.5"}
    told = f"ward.csv: columns that {tmp_path / 's.toml'} does not have are not used: patient_no"
    assert told in found.notes
    whole = _open(tmp_path, "age", "crp", **{"ignored-columns": "patient_no"})
    assert not any("does not have" in note for note in whole.notes)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (("age", "weight"), r"has 1 of the 2 columns of .*s\.toml.*\(missing: weight\); name"),
        (("bmi", "weight", "age"), r"has 1 of the 3 columns.*\(missing: bmi, weight\)"),
        (("bmi", "weight", "site"), "has none of the 3 columns"),
    ],
)
def test_one_of_other_data_is_refused(columns: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        _open(tmp_path, *columns)
