"""One whole run against numpy: who holds what, standardisation, each round's head, final scores."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_learning import SGD, best_lone_heads, generator
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score
from unequal_run import CLASSES, ROUNDS, SIZES, WIDTH, Ran, run_of, write_data

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.partition import partition_rows
from fedtl.preparation.splitting import hold_out
from fedtl.runs.reference import centralised_reference
from fedtl.statistics.intervals import Interval
from fedtl.statistics.verdicts import stands_up
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.heads import LinearHead
from strategies import build

CHOSEN = True

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def ran(unequal_run: Callable[..., Ran]) -> Ran:
    return unequal_run()


def _losses(ran: Ran, head: dict[str, Any], rows: NDArray[np.int64]) -> tuple[Floats, Any]:
    """Return each row's cross-entropy under a head on standardised features, and who is right."""
    mean, scale = ran.standardisation[0]
    z = (ran.data["x"][rows].astype(np.float64) - mean) * scale
    logits = z @ head["weight"].T.astype(np.float64) + head["bias"]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    y = ran.data["y"][rows]
    return -log_p[np.arange(len(rows)), y], logits.argmax(1) == y


def test_sites_are_clients_and_each_row_is_in_one_part(ran: Ran) -> None:
    parts = ran.parts()
    assert [name for name, _, _ in parts] == sorted(SIZES)
    for name, train, held_out in parts:
        rows = np.concatenate([train, held_out])
        assert len(set(rows.tolist())) == len(rows) == SIZES[name]
        assert (ran.data["site"][rows] == name).all()
        assert len(held_out) == round(0.7 * SIZES[name])
        for label in range(CLASSES):
            share = 0.7 * (ran.data["y"][rows] == label).sum()
            assert abs((ran.data["y"][held_out] == label).sum() - share) < 1


def test_features_are_standardised_by_training_rows_alone(ran: Ran) -> None:
    train = np.concatenate([train for _, train, _ in ran.parts()])
    x = ran.data["x"][train].astype(np.float64)
    for mean, scale in ran.standardisation:
        np.testing.assert_allclose(mean, x.mean(0), rtol=1e-6)
        np.testing.assert_allclose(scale, 1 / x.std(0), rtol=1e-5)


def test_every_round_is_scored_with_its_own_head(ran: Ran) -> None:
    tested = np.flatnonzero(ran.data["test"])
    rows = ran.metrics()
    assert len(rows) == len(ran.heads) == ROUNDS
    for row, head in zip(rows, ran.heads, strict=True):
        each = [_losses(ran, head, held_out) for _, _, held_out in ran.parts()]
        losses, right = (np.concatenate(column) for column in zip(*each, strict=True))
        clients = np.array([own.mean() for _, own in each])
        assert row["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert row["accuracy"] == pytest.approx(right.mean(), abs=1e-9)
        assert row["mean_client_accuracy"] == pytest.approx(clients.mean(), abs=1e-9)
        assert row["worst_client_accuracy"] == pytest.approx(clients.min(), abs=1e-9)
        assert row["test_accuracy"] == _losses(ran, head, tested)[1].mean()
    accuracies = [row["test_accuracy"] for row in rows]
    assert len(set(accuracies)) > 3, "a curve, so that another round's score would be seen"


def test_rounds_are_sgd_from_the_head_before_and_its_mean(ran: Ran) -> None:
    """Training loss and head of every round, in float64 from the head that the round began with."""
    config, y = ran.config(), ran.data["y"]
    mean, scale = ran.standardisation[0]
    z = (ran.data["x"].astype(np.float64) - mean) * scale
    sgd = SGD.of(config)
    head = np.zeros((CLASSES, WIDTH)), np.zeros(CLASSES)
    for at, (found, told) in enumerate(zip(ran.heads, ran.metrics(), strict=True), 1):
        parts = [train for _, train, _ in ran.parts()]
        each = [
            sgd.trained(head, z, y, rows, client, at=at, epochs=config["local-epochs"])
            for client, rows in enumerate(parts)
        ]
        sizes = [len(rows) for rows in parts]
        loss = np.average([loss for _, loss in each], weights=sizes)
        assert told["train_loss"] == pytest.approx(loss, rel=1e-5), at
        for name, part in (("weight", 0), ("bias", 1)):
            expected = np.average([one[part] for one, _ in each], 0, weights=sizes)
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
        head = found["weight"], found["bias"]


def test_heads_of_own_rows_and_of_all_are_the_best_of_three_methods(ran: Ran) -> None:
    """The choice over folds, the head itself, and each number that is told of it."""
    x, y = ran.data["x"].astype(np.float64), ran.data["y"]
    seed, summary, parts = ran.config()["seed"], ran.summary(), ran.parts()
    everything = np.sort(np.concatenate([train for _, train, _ in parts]))
    found, methods = [], []
    for client, (rows, told) in enumerate(
        zip([*(train for _, train, _ in parts), everything], ran.lone, strict=True)
    ):
        z = (x - x[rows].mean(0)) / x[rows].std(0)
        theirs = x @ told.weight.T + told.bias
        rng = generator(seed, "folds", client)
        alike = []
        for (weight, bias), method in best_lone_heads(x[rows], y[rows], CLASSES, rng):
            said = z @ weight.T + bias
            # Shifts that are common to all classes change no prediction.
            apart = theirs - theirs.mean(1, keepdims=True) - said + said.mean(1, keepdims=True)
            if np.abs(apart).max() < 1e-5 * np.abs(said).max():
                alike.append((said.argmax(1), method))
        ((predicted, method),) = alike
        assert told.method == method
        found.append(predicted)
        methods.append(method)
    assert set(methods) == {"ridge", "lda", "softmax"}
    assert summary["centralised_method"] == methods[-1]
    for client, ((_, _, held), row) in enumerate(zip(parts, ran.table("clients.csv"), strict=True)):
        assert row["local_only_method"] == methods[client]
        for way, said in (("local_only", found[client]), ("centralised", found[-1])):
            right = said[held] == y[held]
            low, high = binomtest(int(right.sum()), len(held)).proportion_ci(method="wilson")
            balanced = balanced_accuracy_score(y[held], said[held])
            figures = (right.mean(), low, high, balanced)
            columns = ("accuracy", "low", "high", "balanced_accuracy")
            for column, value in zip(columns, figures, strict=True):
                assert float(row[f"{way}_{column}"]) == pytest.approx(value, abs=1e-6), column
        alone, ours = found[client][held] == y[held], ran.predicted(held) == y[held]
        pairs = {"both": alone & ours, "only_local": alone & ~ours, "only_ours": ours & ~alone}
        for name, which in pairs.items():
            assert int(row[f"federated_{name}"]) == which.sum(), name
        f1 = f1_score(y[held], found[client][held], average="macro", labels=range(CLASSES))
        assert float(row["local_only_f1"]) == pytest.approx(f1, abs=1e-6)
    tested = np.flatnonzero(ran.data["test"])
    new = summary["on_new_data"]
    right = [(said[tested] == y[tested]).mean() for said in found]
    assert new["centralised"]["accuracy"] == pytest.approx(right[-1])
    assert new["local_only"]["accuracy"] == pytest.approx(np.mean(right[:-1]))


def test_the_written_head_is_the_last_one_with_what_standardises_its_features(ran: Ran) -> None:
    mean, scale = ran.standardisation[-1]
    expected = {**ran.heads[-1], "standardisation.mean": mean, "standardisation.scale": scale}
    written = ran.head()
    assert written.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(written[name], value)


def test_scores_of_clients_are_the_written_heads(ran: Ran) -> None:
    rows = ran.table("clients.csv")
    for (name, train, held_out), row in zip(ran.parts(), rows, strict=True):
        y, said = ran.data["y"][held_out], ran.predicted(held_out)
        assert (row["name"], int(row["examples"]), int(row["held_out"])) == (
            name,
            len(train),
            len(held_out),
        )
        assert float(row["federated_accuracy"]) == pytest.approx((y == said).mean(), abs=1e-6)
        expected = balanced_accuracy_score(y, said)
        assert float(row["federated_balanced_accuracy"]) == pytest.approx(expected, abs=1e-6)
        own = ran.data["y"][np.concatenate([train, held_out])]
        for label in range(CLASSES):
            assert int(row[f"label:{label}"]) == (own == label).sum()


def test_the_summary_is_of_all_held_out_rows_and_of_the_test_part(ran: Ran) -> None:
    summary = ran.summary()
    held_out = np.concatenate([held for _, _, held in ran.parts()])
    tested = np.flatnonzero(ran.data["test"])
    for told, rows in ((summary, held_out), (summary["on_new_data"], tested)):
        y, said = ran.data["y"][rows], ran.predicted(rows)
        federated = told["federated"]
        assert federated["correct"] == (y == said).sum()
        assert federated["examples"] == len(rows)
        assert federated["accuracy"] == pytest.approx((y == said).mean())
        assert federated["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, said))
        assert federated["accuracy_low"] < federated["accuracy"] < federated["accuracy_high"]
    clients = [(ran.data["y"][held] == ran.predicted(held)).mean() for _, _, held in ran.parts()]
    assert summary["federated"]["worst_client_accuracy"] == pytest.approx(min(clients))
    assert summary["federated"]["mean_client_accuracy"] == pytest.approx(np.mean(clients))


def test_held_out_and_test_features_are_learnt_by_nobody(
    ran: Ran, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run on other features where nobody may look, with the same labels."""
    held_out = np.concatenate([held for _, _, held in ran.parts()])
    hidden = np.concatenate([held_out, np.flatnonzero(ran.data["test"])])

    def spoilt(path: Any) -> dict[str, Any]:
        data = write_data(path)
        data["x"][hidden] = np.random.default_rng(1).normal(50, 9, data["x"][hidden].shape)
        np.savez(path, **data)
        return data

    monkeypatch.setattr("unequal_run.write_data", spoilt)
    other = run_of(tmp_path_factory.mktemp("spoilt"))
    assert other.summary()["head_sha256"] == ran.summary()["head_sha256"]
    one, two = ([row["train_loss"] for row in each.metrics()] for each in (ran, other))
    assert one == two
    methods = [
        [row["local_only_method"] for row in each.table("clients.csv")] for each in (ran, other)
    ]
    assert methods[0] == methods[1]
    assert other.summary()["centralised_method"] == ran.summary()["centralised_method"]
    assert other.summary()["federated"] != ran.summary()["federated"]


def test_the_centralised_head_is_of_all_training_rows_and_no_other() -> None:
    import torch

    rng = np.random.default_rng(0)
    parts = np.split(rng.permutation(60), [9, 20, 38, 45, 52])
    nobody = np.empty(0, np.int64)
    clients = [
        ClientData(
            partition_id=k,
            features=torch.from_numpy(rng.normal(size=(60, 3)).astype(np.float32)),
            labels=torch.from_numpy(rng.integers(0, 2, 60)),
            train=parts[k],
            held_out=parts[3 + k],
            test=nobody,
            unseen=nobody,
            classes=2,
        )
        for k in range(3)
    ]
    asked: list[ClientData] = []

    def noting(config: Any, pooled: Any, leave_out: bool) -> Any:
        asked.extend(pooled)
        raise StopIteration

    strategy = build(RunConfig(), LinearHead(3, 2))
    with pytest.raises((StopIteration, RuntimeError)):
        centralised_reference(strategy, clients, noting)
    (pooled,) = asked
    assert pooled.train.tolist() == sorted(np.concatenate(parts[:3]).tolist())
    assert len(pooled.held_out) == len(pooled.test) == len(pooled.unseen) == 0


def test_verdicts_on_rows_left_out_must_stand_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The head that is ahead must be surely better than the most frequent class."""
    ran = run_of(tmp_path_factory.mktemp("left-out"), "--strategy", "fed3r")
    assert ran.summary()["own_data_rows"] == "all"
    seen = set()
    for row in ran.table("clients.csv"):
        counts = np.array([int(row[f"label:{label}"]) for label in range(CLASSES)])
        pairs = int(row["federated_only_ours"]), int(row["federated_only_local"])
        assert sum(int(row[f"federated_{k}"]) for k in ("both", "neither")) + sum(pairs) == sum(
            counts
        )
        spans = {
            way: Interval(float(row[f"{way}_low"]), float(row[f"{way}_high"]))
            for way in ("federated", "local_only")
        }
        order = ("federated", "local_only") if pairs[0] > pairs[1] else ("local_only", "federated")
        p = binomtest(max(pairs), sum(pairs), alternative="greater").pvalue
        if p < 0.01:  # whatever Holm's correction for five
            said = "better" if pairs[0] > pairs[1] else "worse"
            stands = stands_up(said, *(spans[way] for way in order), counts)  # type: ignore[arg-type]
            assert row["federated_verdict"] == (said if stands else "no clear difference")
            seen.add(row["federated_verdict"])
        elif p > 0.05:
            assert row["federated_verdict"] == "no clear difference"
    assert "worse" in seen


# --- what is drawn from seeds ---------------------------------------------------------------------


def test_seed_and_client_reach_the_draw_of_what_is_held_out() -> None:
    labels = np.zeros(40, np.int64)
    dataset = Dataset(
        name="x",
        keys=[str(row) for row in range(40)],
        labels=labels,
        classes=("a", "b"),
        test=np.zeros(40, np.bool_),
        inputs=np.zeros((40, 1), np.float32),
        sites=None,
    )
    rows = np.arange(40)
    drawn = {
        (seed, client): tuple(hold_out(RunConfig(seed=seed), dataset, rows, client)[1].tolist())
        for seed in range(3)
        for client in range(3)
    }
    assert len(set(drawn.values())) == 9
    assert drawn[0, 1] == tuple(hold_out(RunConfig(seed=0), dataset, rows, 1)[1].tolist())


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_dirichlets_shares_have_the_variance_of_its_formula(alpha: float) -> None:
    """Var = (1/n)(1 - 1/n) / (nα + 1) for n clients."""
    clients, rows, draws = 5, 300, 120
    labels = np.arange(rows) % 2
    dataset = Dataset(
        name="x",
        keys=[str(row) for row in range(rows)],
        labels=labels,
        classes=("a", "b"),
        test=np.zeros(rows, np.bool_),
        inputs=np.zeros((rows, 1), np.float32),
        sites=None,
    )
    shares = []
    for seed in range(draws):
        # Fewer than any client may have, so that no draw is refused.
        options = (("alpha", alpha), ("min-examples", 0))
        config: Any = SimpleNamespace(
            partition="dirichlet", clients=clients, seed=seed, options=options
        )
        parts, _ = partition_rows(dataset, config)
        counts = np.array([np.bincount(labels[part], minlength=2) for part in parts])
        shares.append(counts / counts.sum(0))
    found = np.array(shares)
    expected = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert found.mean() == pytest.approx(1 / clients)
    assert found.var(axis=0).mean() == pytest.approx(expected, rel=0.15)
