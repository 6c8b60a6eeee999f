"""Scores on training rows, each by heads without it: held against heads that are solved again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from small_federation import federated, small_sites

from fedtl.client.left_out_scores import left_out_scores
from fedtl.config import RunConfig
from fedtl.statistics.intervals import Clusters, Pairs
from fedtl.statistics.verdicts import stands_up, verdicts
from fedtl.transfer.folds import folds_of
from fedtl.transfer.heads import head_of
from fedtl.transfer.left_out import lda_left_out, ridge_left_out
from fedtl.transfer.lone_head import best_lone_head
from fedtl.transfer.prior_correction import RowReadings
from strategies import build
from strategies.base import AloneHead

CHOSEN = True

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLASSES, CLIENTS = 4, 3


def _data(seed: int, n: int = 90, d: int = 6, per: int = 1) -> tuple[Floats, Ints, Ints]:
    """Return features, labels, and groups of ``per`` rows, with a last class of a single unit."""
    rng = np.random.default_rng(seed)
    label = np.r_[CLASSES - 1, rng.integers(0, CLASSES - 1, n // per - 1)]
    y = np.repeat(label, per)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 3, d) + 2.0
    x[np.arange(n), y] += 1.2
    return x, y, np.repeat(np.arange(n // per), per)


def _refitted(groups: Ints, fit_and_say) -> Floats:  # type: ignore[no-untyped-def]
    """Return what ``fit_and_say(train, rows)`` makes of each group's rows without them."""
    said = np.empty((len(groups), CLASSES))
    for group in np.unique(groups):
        said[groups == group] = fit_and_say(groups != group, groups == group)
    return said


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("per", [1, 3])
def test_ridge_without_a_row_is_ridge_of_the_others(per: int, weighted: bool) -> None:
    x, y, groups = _data(0, per=per)
    onehot, penalty = np.eye(CLASSES)[y], 3.0
    w = np.random.default_rng(1).uniform(0.5, 2, CLASSES)[y] if weighted else np.ones(len(y))
    z = x - w @ x / w.sum()
    inverse = np.linalg.inv(z.T @ (w[:, None] * z) + penalty * np.eye(x.shape[1]))
    outputs = Ridge(alpha=penalty).fit(z, onehot, sample_weight=w).predict(z)
    found = ridge_left_out(
        *map(torch.from_numpy, (z, onehot, outputs, inverse)),
        None if per == 1 else groups,
        total=w.sum(),
        weights=torch.from_numpy(w),
    )

    def refit(train: Ints, rows: Ints) -> Floats:
        again = Ridge(alpha=penalty).fit(z[train], onehot[train], sample_weight=w[train])
        return np.asarray(again.predict(z[rows]))

    np.testing.assert_allclose(found.numpy(), _refitted(groups, refit), atol=1e-10)


def _discriminants(x: Floats, y: Ints, penalty: float, rows: Floats) -> Floats:
    """Return log-odds of Gaussian classes, their scatter with a ridge, from scratch."""
    counts = np.bincount(y, minlength=CLASSES)
    seen = counts > 0
    means = np.array([x[y == c].mean(0) if seen[c] else np.zeros(x.shape[1]) for c in range(4)])
    scatter = (x - means[y]).T @ (x - means[y]) + penalty * np.eye(x.shape[1])
    solved = np.linalg.solve(scatter / len(y), means.T)
    said = rows @ solved - (means.T * solved).sum(0) / 2 + np.log(np.maximum(counts, 1) / len(y))
    said[:, ~seen] = said[:, seen].mean(1, keepdims=True) - 1
    return said


@pytest.mark.parametrize("per", [1, 2, 5])
def test_discriminants_without_a_row_are_those_of_the_others(per: int) -> None:
    """Also where the last row of a class is left out, and groups of two classes."""
    x, y, groups = _data(2, per=per)
    y[:2] = [CLASSES - 1, 0]
    penalty, counts = 2.0, np.bincount(y, minlength=CLASSES)
    means = np.array([x[y == c].mean(0) for c in range(CLASSES)])
    inverse = np.linalg.inv((x - means[y]).T @ (x - means[y]) + penalty * np.eye(x.shape[1]))
    found = lda_left_out(
        *map(torch.from_numpy, (x, y, inverse, means, counts.astype(float))),
        None if per == 1 else groups,
    )
    again = _refitted(groups, lambda t, rows: _discriminants(x[t], y[t], penalty, x[rows]))
    np.testing.assert_allclose(found.numpy(), again, atol=1e-9)


def test_softmax_without_a_part_is_softmax_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import fedtl.transfer.lone_head as lone_head

    monkeypatch.setattr(lone_head, "_CANDIDATES", (("softmax", 0.1),))
    x, y, _ = _data(3, n=120)
    y[0] = 0
    found = best_lone_head(
        torch.from_numpy(x),
        torch.from_numpy(y),
        CLASSES,
        None,
        np.random.default_rng(0),
        leave_out=True,
    )
    rng = np.random.default_rng(0)
    folds_of(y, None, rng, 5)
    part = folds_of(y, None, rng, 20)
    assert part is not None
    z = (x - x.mean(0)) / x.std(0)
    said = np.empty((len(y), CLASSES - 1))
    for one in range(20):
        solver = LogisticRegression(C=1 / (0.1 * x.shape[1]), tol=1e-8, max_iter=1000)
        said[part == one] = solver.fit(z[part != one], y[part != one]).decision_function(
            z[part == one]
        )
    assert found.left_out is not None
    ours = found.left_out[:, : CLASSES - 1]
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), said, atol=0.02)


@pytest.mark.parametrize("method", ["ridge", "lda"])
def test_a_lone_head_leaves_out_rows_where_there_are_fewer_than_features(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fedtl.transfer.lone_head as lone_head

    monkeypatch.setattr(lone_head, "_CANDIDATES", ((method, 0.5),))
    x, y, groups = _data(4, n=24, d=40, per=2)
    z, penalty = (x - x.mean(0)) / x.std(0), 0.5 * 40
    onehot = np.eye(CLASSES)[y]
    found = best_lone_head(
        torch.from_numpy(x),
        torch.from_numpy(y),
        CLASSES,
        groups,
        np.random.default_rng(0),
        leave_out=True,
    )

    def refit(train: Ints, rows: Ints) -> Floats:
        if method == "ridge":
            return np.asarray(Ridge(alpha=penalty).fit(z[train], onehot[train]).predict(z[rows]))
        return _discriminants(z[train], y[train], penalty, z[rows])

    again = _refitted(groups, refit)
    assert found.left_out is not None
    ours = found.left_out
    if method == "lda":
        ours, again = (a - a.mean(1, keepdims=True) for a in (ours, again))
    np.testing.assert_allclose(ours, again, atol=1e-8)


def _federation(per: int) -> tuple[NDArray[np.float32], Ints, list[Ints], Ints]:
    x, y, groups = _data(5, n=120, per=per)
    owner = np.random.default_rng(6).integers(0, CLIENTS, groups.max() + 1)[groups]
    return x.astype(np.float32), y, [np.flatnonzero(owner == c) for c in range(CLIENTS)], groups


def _said_again(strategy: str, x: Floats, y: Ints, groups: Ints) -> Floats:
    """Return what a strategy's pooled head, solved again without each row, says of it."""
    z, penalty = (x - x.mean(0)) / x.std(0), 0.5 * x.shape[1]
    onehot, counts = np.eye(CLASSES)[y], np.bincount(y, minlength=CLASSES)
    if strategy == "balancedridge":
        w = (len(y) / (CLASSES * counts))[y]
        mean = w @ x / w.sum()
        z = (x - mean) / np.sqrt(w @ (x - mean) ** 2 / w.sum())
    else:
        w = np.ones(len(y))

    def refit(train: Ints, rows: Ints) -> Floats:
        if strategy == "fedcgs":
            return _discriminants(z[train], y[train], penalty, z[rows])
        if strategy == "fedncm":
            seen = np.unique(y[train])
            means = np.array([x[train & (y == c)].mean(0) for c in seen])
            said = np.full((rows.sum(), CLASSES), -np.inf)
            said[:, seen] = x[rows] @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
            return said
        again = Ridge(alpha=penalty).fit(z[train], onehot[train], sample_weight=w[train])
        return np.asarray(again.predict(z[rows]))

    return _refitted(groups, refit)


@pytest.mark.parametrize("strategy", ["fed3r", "afl", "balancedridge", "fedcgs", "fedncm"])
@pytest.mark.parametrize("per", [1, 4])
def test_clients_count_what_heads_that_are_solved_again_get_right(strategy: str, per: int) -> None:
    x, y, parts, groups = _federation(per)
    config = RunConfig(strategy=strategy, own_data_rows="all")
    none = [np.empty(0, np.int64)] * CLIENTS
    with small_sites(x, y, parts, held_out=none, groups=None if per == 1 else groups) as sites:
        outcome, notes = federated(config, sites)
    right = _said_again(strategy, x.astype(float), y, groups).argmax(1) == y
    for client, rows in enumerate(parts):
        own = outcome.federated[client].held_out
        assert own.total == len(rows)
        assert own.right == int(right[rows].sum())
        pairs = outcome.pairs["federated"][client]
        assert pairs.both + pairs.only_ours == own.right
        assert pairs.both + pairs.only_other == outcome.local_only[client].held_out.right
        assert own.clusters == Clusters.of(right[rows], None if per == 1 else groups[rows])
    down = {entry.record for entry in notes.entries if entry.direction == "down"}
    up = {entry.record for entry in notes.entries if entry.direction == "up"}
    assert "leverage" in down
    assert "leverage" not in up


def test_to_a_client_that_dropped_out_all_its_rows_are_new() -> None:
    x, y, parts, _ = _federation(1)
    none = [np.empty(0, np.int64)] * CLIENTS
    with small_sites(x, y, parts, held_out=none) as sites:
        outcome, _ = federated(
            RunConfig(strategy="fed3r", own_data_rows="all"),
            sites,
            missing=lambda server_round, client: server_round == 1 and client == 2,
        )
    rest = np.concatenate(parts[:2])
    said = x[parts[2]].astype(float) @ outcome.arrays["weight"].T + outcome.arrays["bias"]
    assert outcome.federated[2].held_out.right == int((said.argmax(1) == y[parts[2]]).sum())
    right = _said_again("fed3r", x[rest].astype(float), y[rest], np.arange(len(rest))).argmax(1)
    right = right == y[rest]
    assert outcome.federated[0].held_out.right == int(right[: len(parts[0])].sum())


def test_a_resumed_run_scores_the_same() -> None:
    x, y, parts, _ = _federation(1)
    config = RunConfig(strategy="fedcgs", own_data_rows="all")
    with small_sites(x, y, parts) as sites:
        whole, notes = federated(config, sites)
        again, _ = federated(config, sites, resume=notes.checkpoints[-1])
    for client in range(CLIENTS):
        assert again.federated[client].held_out.correct.tolist() == (
            whole.federated[client].held_out.correct.tolist()
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"own_data_rows": "held-out"},
        {"own_data_rows": "auto"},
        {"strategy": "fedcof"},
        {"strategy": "fedavg", "rounds": 1},
        {"personalise": 1},
        {"attack": "sign-flip", "attackers": 0.34},
    ],
)
def test_else_held_out_rows_alone_are_scored(changes: dict[str, str | int | float]) -> None:
    x, y, parts, _ = _federation(1)
    base = RunConfig(strategy="fed3r", own_data_rows="all")
    train, held_out = [rows[8:] for rows in parts], [rows[:8] for rows in parts]
    with small_sites(x, y, train, held_out=held_out) as sites:
        outcome, notes = federated(base.replace(**changes), sites)
    assert not outcome.strategy.scores_all_rows
    assert all(told.held_out.total == 8 for told in outcome.local_only.values())
    assert "leverage" not in {entry.record for entry in notes.entries}


def test_copies_and_the_only_group_are_not_left_out() -> None:
    x, y, parts, _ = _federation(1)
    lone = np.arange(len(y))
    lone[parts[1]] = parts[1][0]
    with small_sites(x, y, parts, groups=lone) as sites:
        sites = replace(sites, unrepeated=[parts[0][3:], parts[1], parts[2]])
        assert sites.site(0).data.left_out.tolist() == parts[0][3:].tolist()
        assert len(sites.site(1).data.left_out) == 0


def test_the_correction_counts_a_clients_classes_without_the_row() -> None:
    """Three rows of one class and one of another, of which the last is left out with its count."""
    config = RunConfig(strategy="fed3r")
    strategy = build(config, head_of(config, features=2, classes=2))
    with small_sites(
        np.eye(2, dtype=np.float32)[[0, 0, 0, 1]], np.array([0, 0, 0, 1]), [np.arange(4)]
    ) as sites:
        data = sites.site(0).data
        alone = [AloneHead({}, None, left_out=np.zeros((4, 2)))]  # type: ignore[arg-type]
        scores = left_out_scores(
            strategy,
            [data],
            [torch.zeros(4, 2).double()],
            alone,
            np.array([30, 10]),
            [RowReadings(torch.ones(4), torch.ones(4))],
            keep_logits=True,
        )
    logits = scores["corrected-"][0].logits
    assert logits is not None
    # By hand: π_k = (3 + ½, 0 + ½) / 4 and π = (30 + ½, 9 + ½) / 40.
    np.testing.assert_allclose(
        logits[3], np.log([3.5 / 4, 0.5 / 4]) - np.log([30.5 / 40, 9.5 / 40]), rtol=1e-6
    )
    np.testing.assert_allclose(
        logits[0], np.log([2.5 / 4, 1.5 / 4]) - np.log([29.5 / 40, 10.5 / 40]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("separation", "share"), [(0.0, 0.5), (0.0, 0.6), (0.0, 0.9), (0.25, 0.5), (1.0, 0.5)]
)
def test_false_alarms_are_rare_where_rows_are_left_out(separation: float, share: float) -> None:
    """Ten clients, two classes, one feature: alone they are as good as together, or all guess."""
    rng = np.random.default_rng(7)
    families, clients, n = 150, 10, 200
    alarms = {"better": 0, "worse": 0}
    for _ in range(families):
        y = (rng.uniform(size=(clients, n)) < share).astype(np.int64)
        x = rng.normal(size=(clients, n)) + separation * y
        together = _ridge_right(x.reshape(1, -1), y.reshape(1, -1)).reshape(clients, n)
        alone = _ridge_right(x, y)
        pairs = {c: Pairs.of(alone[c], together[c], None) for c in range(clients)}
        found = verdicts(pairs)
        for c, pair in pairs.items():
            intervals = [Clusters.of(one[c], None).interval for one in (alone, together)]
            low, high = intervals if pair.gain > 0 else reversed(intervals)
            assert low is not None
            assert high is not None
            if not stands_up(found[c], high, low, np.bincount(y[c], minlength=2)):
                found[c] = "no clear difference"
        for verdict in alarms:
            alarms[verdict] += verdict in found.values()
    # Three standard deviations above .05 of 150.
    assert max(alarms.values()) / families <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5


def _ridge_right(x: Floats, y: Ints) -> NDArray[np.bool_]:
    """Return which rows of C clients ``(C, n)`` a least-squares line without them gets right."""
    total = x.shape[1]
    z = x - x.mean(1, keepdims=True)
    power = np.square(z).sum(1, keepdims=True)
    mean = y.mean(1, keepdims=True)
    line = mean + z * (z * (y - mean)).sum(1, keepdims=True) / power
    pull = 1 / total + z**2 / power
    return np.asarray((y - (y - line) / (1 - pull) > 0.5) == (y == 1))
