"""The benchmark of backbones: its probe against scikit-learn's, and what its splits promise."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from fedtl.data.dataset import Dataset
from simulations.benchmarks import backbones
from simulations.benchmarks.backbone_tasks import Split, split_by_site, split_of_site
from simulations.benchmarks.ridge_probe import PENALTIES, RidgeProbe, probe

TRIED = [0.1, 30.0, 1e5]


def _dataset(rows: int, sites: int, classes: int = 3) -> Dataset:
    """Return made-up data whose sites and classes are of unequal size."""
    draw = np.random.default_rng(0)
    site = (sites * draw.random(rows) ** 1.5).astype(int)
    return Dataset(
        name="made up",
        classes=tuple(map(str, range(classes))),
        labels=(classes * draw.random(rows) ** 1.5).astype(np.int64),
        inputs=np.zeros((rows, 1), np.float32),
        test=np.zeros(rows, np.bool_),
        sites=np.array([f"site-{s}" for s in site]),
        keys=[str(row) for row in range(rows)],
    )


def _sites(dataset: Dataset, rows: NDArray[np.int64]) -> set[str]:
    assert dataset.sites is not None
    return set(dataset.sites[rows].tolist())


@pytest.mark.parametrize(("rows", "width"), [(120, 20), (40, 40), (40, 90)])
def test_probe_is_scikit_learns_ridge_on_standardised_features(rows: int, width: int) -> None:
    draw = np.random.default_rng(1)
    scale = 10.0 ** draw.uniform(-2, 2, width)
    features = (scale * (draw.normal(size=(rows + 30, width)) + 3)).astype(np.float32)
    features[:rows, 4] = 0.1  # never varies in training
    labels = draw.integers(0, 3, rows)
    ridge = RidgeProbe(features[:rows], labels, classes=3)
    exact = features.astype(np.float64)
    scaler = StandardScaler().fit(exact[:rows])
    inputs, unseen = scaler.transform(exact[:rows]), scaler.transform(exact[rows:])
    inputs[:, 4] = unseen[:, 4] = 0.0
    for penalty, on_path in zip(TRIED, ridge.path(TRIED), strict=True):
        theirs = Ridge(alpha=penalty).fit(inputs, np.eye(3)[labels])
        for weights in (ridge.weights(penalty), on_path):
            np.testing.assert_allclose(weights, theirs.coef_.T, rtol=1e-6, atol=1e-9)
            scores = ridge.scores(weights, features[rows:])
            np.testing.assert_allclose(scores, theirs.predict(unseen), rtol=1e-6, atol=1e-9)


def test_of_equal_penalties_the_probe_chooses_the_largest() -> None:
    labels = np.arange(60) % 2
    features = (10.0 * labels[:, None] + np.zeros((60, 2))).astype(np.float32)
    parts = Split(np.arange(30), np.arange(30, 40), np.arange(40, 60))
    assert probe(features, labels, parts) == (1.0, max(PENALTIES))


def test_parts_by_site_share_no_site_and_have_the_size_asked_for() -> None:
    dataset = _dataset(7000, sites=60)
    split = split_by_site(dataset, 0)
    assert (len(split.train), len(split.test)) == (4000, 1500)
    assert 800 <= len(split.validation) < 1400
    assert len(np.unique(np.concatenate(split))) == 5500
    of_fit, of_validation, of_test = (_sites(dataset, part) for part in split)
    assert of_fit and of_validation and of_test
    assert not (of_fit & of_validation or of_fit & of_test or of_validation & of_test)


def test_split_of_a_site_has_each_class_in_every_part() -> None:
    dataset = _dataset(900, sites=4, classes=7)
    split = split_of_site(dataset, 0, site="site-2")
    rows = np.sort(np.concatenate(split))
    assert dataset.sites is not None
    np.testing.assert_array_equal(rows, np.flatnonzero(dataset.sites == "site-2"))
    assert len(split.test) == round(0.2 * len(rows))
    share = np.bincount(dataset.labels[rows], minlength=7) / len(rows)
    for part in split:
        counts = np.bincount(dataset.labels[part], minlength=7)
        assert counts.min() > 0
        np.testing.assert_allclose(counts, share * len(part), atol=1.5)


def test_a_split_depends_on_its_seed_alone() -> None:
    dataset = _dataset(7000, sites=60)
    for split in (split_by_site, partial(split_of_site, site="site-2")):
        one, again, other = (split(dataset, seed) for seed in (3, 3, 4))
        for part, same, different in zip(one, again, other, strict=True):
            np.testing.assert_array_equal(part, same)
            assert not np.array_equal(part, different)


def test_absent_data_are_left_out_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"hospitals": None, "malaria": Path("/nowhere/malaria.zip")}
    assert backbones.selected("", files) == ["hospitals"]
    assert "malaria is left out: there is no /nowhere/malaria.zip" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match="'hospital' is not one of hospitals, malaria"):
        backbones.selected("hospital", files)
