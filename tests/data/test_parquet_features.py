"""Embeddings in Parquet are those of the same arrays in a .npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import finished

from fedtl import predict, simulate
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.sources import open_dataset
from fedtl.errors import UsageError

RNG = np.random.default_rng(0)
Y = np.array(["ill", "well"])[np.arange(40) % 2]
X = (RNG.normal(size=(40, 6)) + 2 * (Y == "ill")[:, None]).astype(np.float32)
SITE = np.array(["north", "south"])[np.arange(40) // 20]


def _open(path: Path) -> Dataset:
    return open_dataset(RunConfig(data=f"features:{path}"))


def _lists() -> pd.DataFrame:
    return pd.DataFrame({"slide_id": [f"s{k}" for k in range(40)], "embedding": list(X)})


def _loose() -> pd.DataFrame:
    columns = {f"f{place}": X[:, place] for place in range(6)}
    return pd.DataFrame({"number": np.arange(40), **columns})


@pytest.mark.parametrize("form", ["lists", "loose"])
def test_both_forms_are_the_arrays(form: str, tmp_path: Path) -> None:
    table = _lists() if form == "lists" else _loose()
    table.assign(label=Y, hospital=SITE).to_parquet(tmp_path / "e.parquet")
    found = _open(tmp_path / "e.parquet")
    np.savez(tmp_path / "e.npz", x=X, y=Y, site=SITE)
    wanted = _open(tmp_path / "e.npz")
    assert isinstance(found.inputs, np.ndarray)
    assert isinstance(wanted.inputs, np.ndarray)
    assert found.inputs.tobytes() == wanted.inputs.tobytes()
    assert (found.labels == wanted.labels).all()
    assert found.classes == wanted.classes == ("ill", "well")
    assert found.sites is not None
    assert found.sites.tolist() == SITE.tolist()
    assert (found.groups is None) == (form == "loose")


def test_a_run_and_its_predictions(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    _lists().assign(label=Y).to_parquet(path)
    flags = ("--strategy=fed3r", "--clients=2", "--engine=inline", "--quiet", "--no-cache")
    run = finished(simulate.main, "--data", f"features:{path}", *flags, "--out", tmp_path / "run")
    assert run.exit_code == 0, run.stderr
    said = finished(predict.main, tmp_path / "run", f"features:{path}", "--json")
    assert said.exit_code == 0, said.stderr
    scored = finished(predict.main, tmp_path / "run", f"features:{path}", "--score", "--json")
    assert scored.exit_code == 0, scored.stderr


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    ragged = pd.DataFrame({"x": [np.zeros(2), np.zeros(3)], "y": [0, 1]})
    ragged.to_parquet(tmp_path / "ragged.parquet")
    with pytest.raises(UsageError, match="lists of column x differ in length"):
        _open(tmp_path / "ragged.parquet")
    _lists().assign(label=[None, *Y[1:]]).to_parquet(tmp_path / "gap.parquet")
    with pytest.raises(UsageError, match="rows of y are empty or nan"):
        _open(tmp_path / "gap.parquet")
    _lists().to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(UsageError, match=r"has no array y; its arrays are slide_id, embedding"):
        _open(tmp_path / "bare.parquet")
    (tmp_path / "not.parquet").write_bytes(b"PAR1" + bytes(99))
    with pytest.raises(UsageError, match="no sound Parquet file"):
        _open(tmp_path / "not.parquet")
    with pytest.raises(UsageError, match="does not exist"):
        _open(tmp_path / "absent.parquet")


def test_a_small_file_of_many_equal_cells_is_not_unpacked(tmp_path: Path) -> None:
    pd.DataFrame({"x": np.zeros(20_000_000)}).to_parquet(tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**20
    with pytest.raises(UsageError, match="would unpack to 152 MiB"):
        _open(tmp_path / "bomb.parquet")
