"""Class names beside class means, and as a start: by the sums, row by row, and in coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from named_classes import BACKBONE, texts
from small_federation import block_of, federated, small_sites

import strategies
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.federation.outcome import Outcome
from fedtl.federation.zero_shot import give_texts, texts_of
from fedtl.transfer.heads import LinearHead, head_of
from fedtl.transfer.standardisation import Standardisation
from strategies.base import Arrays, LabelledRows
from strategies.textncm import TextNCM


def _small(config: RunConfig, **options: Any) -> Outcome:
    draws = np.random.default_rng(0)
    y = draws.integers(0, 3, 60)
    x = (draws.normal(size=(3, 5))[y] + draws.normal(size=(60, 5))).astype(np.float32)
    with small_sites(x, y, np.array_split(np.arange(60), 3)) as sites:
        return federated(config, sites, **options)[0]


def test_class_means_and_names_together() -> None:
    config = RunConfig(strategy="textncm", backbone=BACKBONE, text_weight=0.7)
    outcome = _small(config)
    draws = np.random.default_rng(0)
    y = draws.integers(0, 3, 60)
    x = (draws.normal(size=(3, 5))[y] + draws.normal(size=(60, 5))).astype(np.float32)
    means = np.stack([x[y == one].mean(0) for one in range(3)])
    named = texts_of(config, ("class-0", "class-1", "class-2")).vectors
    np.testing.assert_allclose(outcome.arrays["weight"], means + 0.7 * named, rtol=1e-5, atol=1e-6)
    assert not outcome.arrays["bias"].any()
    assert outcome.zero_shot is not None


def _built(classes: int) -> tuple[TextNCM, Any]:
    config = RunConfig(strategy="textncm", backbone=BACKBONE, own_data_rows="all")
    found = strategies.build(config, LinearHead(4, classes))
    give_texts(found, texts(classes))
    assert isinstance(found, TextNCM)
    return found, texts(classes).vectors


def test_a_class_that_nobody_has_is_told_by_its_name_alone() -> None:
    strategy, named = _built(3)
    sums = np.array([[2.0, 0, 0, 2], [0, 6, 0, 3], [0, 0, 0, 0]])
    head = strategy.solve({"class-sums": sums, "class-counts": np.array([2.0, 3.0, 0.0])})
    means = np.array([[1.0, 0, 0, 1], [0, 2, 0, 1], [0.5, 1, 0, 1]])
    np.testing.assert_allclose(head["weight"], means + named)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_row_left_out_is_scored_by_the_head_of_the_others(grouped: bool) -> None:
    draws = np.random.default_rng(2)
    y = np.array([0, 0, 1, 1, 1, 2, 0, 1])
    x = draws.normal(size=(8, 4)).astype(np.float32)
    groups = np.array([0, 0, 1, 1, 2, 3, 4, 4]) if grouped else np.arange(8)
    strategy, named = _built(3)
    total = strategy.client_statistics(block_of(x, y, [np.arange(8)], 3), 0)
    head = strategy.conclude(total)
    leverage = {k: torch.from_numpy(v) for k, v in strategy._leverage.items()}
    rows = LabelledRows(
        torch.from_numpy(x).double(), torch.from_numpy(y), groups if grouped else None
    )
    stacked = {name: torch.from_numpy(value) for name, value in head.items()}
    said = strategy.left_out(rows, stacked, leverage)
    for at in range(8):
        kept = groups != groups[at]
        seen = [x[kept & (y == one)] for one in range(3)]
        means = np.array([one.mean(0) if len(one) else np.full(4, np.nan) for one in seen])
        means[np.isnan(means)] = np.broadcast_to(np.nanmean(means, 0), means.shape)[np.isnan(means)]
        np.testing.assert_allclose(said[at], x[at] @ (means + named).T, rtol=1e-5, atol=1e-5)


def test_the_start_is_in_the_coordinates_of_training() -> None:
    config = RunConfig(init="zero-shot", backbone=BACKBONE, init_temperature=2.0)
    strategy = strategies.build(config, LinearHead(4, 3))
    give_texts(strategy, texts(3))
    draws = np.random.default_rng(0)
    own = Standardisation(draws.normal(size=4).astype(np.float32), np.float32([1, 2, 0.5, 3]))
    start: Arrays = strategy.named_start(own)
    x = draws.normal(size=(6, 4))
    z = (x - own.mean) * own.scale
    expected = texts(3).scale * x @ texts(3).vectors.T / 2
    np.testing.assert_allclose(
        z @ start["weight"].T + start["bias"], expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strategy": "fed3r"}, "does not train in rounds"),
        ({"head": "mlp"}, "gives a linear head"),
        ({"strategy": "balancedridge"}, "does not train in rounds"),
    ],
)
def test_what_cannot_start_from_it_is_refused(changes: dict[str, Any], told: str) -> None:
    config = RunConfig(init="zero-shot", **changes)
    with pytest.raises(UsageError, match=told):
        strategies.build(config, head_of(config, features=4, classes=3))
