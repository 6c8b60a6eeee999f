"""Real tables through the command, beside a pipeline of scikit-learn's on the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_process import finished
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fedtl import simulate

SCENARIOS = Path(__file__).parents[2] / "simulations"
DATA = Path(__file__).parents[3] / "shared" / "data"
TABLES = {
    "heart_disease": ("heart_4_hospitals.csv", "disease", "hospital"),
    "credit": ("german_credit.csv", "risk", "purpose"),
}
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real tables are not here")


def _theirs(
    path: Path, label: str, site: str, train: NDArray[np.int64], test: NDArray[np.int64]
) -> tuple[float, float]:
    """Return accuracy and AUROC of all training rows in one place, on the test rows."""
    table = pd.read_csv(path)
    y, x = table[label] == sorted(table[label].unique())[-1], table.drop(columns=[label, site])
    numbers = [name for name in x if pd.api.types.is_numeric_dtype(x[name])]
    words = [name for name in x if name not in numbers]
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), words),
    )
    model = make_pipeline(prepared, RidgeClassifier(alpha=10)).fit(x.iloc[train], y.iloc[train])
    scores = model.decision_function(x.iloc[test])
    truth = y.iloc[test].to_numpy()
    return float(((scores > 0) == truth).mean()), float(roc_auc_score(truth, scores))


@pytest.mark.parametrize("scenario", TABLES)
def test_a_federated_head_is_as_good_as_all_rows_in_one_place(
    scenario: str, tmp_path: Path
) -> None:
    name, label, site = TABLES[scenario]
    out = tmp_path / "run"
    flags = ("--engine=inline", "--quiet", "--no-cache", "--held-out=0", "--test-fraction=0.3")
    config = SCENARIOS / f"{scenario}.toml"
    end = finished(simulate.main, "--config", config, "--data", DATA / name, *flags, "--out", out)
    assert end.exit_code == 0, end.stderr
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())["on_new_data"]
    split = json.loads((out / "partition.json").read_text())
    train = np.concatenate([np.array(one["train"], np.int64) for one in split["clients"]])
    test = np.array(split["test"], np.int64)
    assert len(test) == found["examples"]
    accuracy, auroc = _theirs(DATA / name, label, site, train, test)
    ours = found["federated"]
    assert ours["accuracy"] == pytest.approx(accuracy, abs=0.02)
    assert ours["metrics"]["macro_auroc"] == pytest.approx(auroc, abs=0.02)
    assert ours["accuracy"] > found["local_only"]["accuracy"] + 0.05
    assert ours["accuracy"] == pytest.approx(found["centralised"]["accuracy"], abs=0.015)
