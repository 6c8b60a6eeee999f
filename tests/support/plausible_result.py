"""A run's result as a skewed federation would have it, without the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedtl.determinism import generator
from fedtl.federation.round_row import FailedClient, Round
from fedtl.results.detail import ClientRow, ClientSamples, EgressTotal, Gain, OwnScore, RunDetail
from fedtl.statistics.intervals import Clusters, Interval, Pairs
from fedtl.statistics.verdicts import verdicts


def plausible_result(
    *,
    clients: int = 10,
    classes: Sequence[str] = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"),
    client_names: Sequence[str] = (),
    rounds: int = 30,
    with_centralised: bool = True,
    with_samples: bool = True,
    with_failures: bool = False,
    test_split: bool = True,
    with_personal: bool = False,
    global_head: bool = True,
) -> RunDetail:
    """Return a result as a skewed federation would have it: most gain, a few are harmed."""
    random = generator(0, "report test", clients, len(classes))
    count = len(classes)
    names = tuple(client_names) or tuple(f"hospital_{index:02d}" for index in range(clients))
    mix = random.dirichlet(np.full(count, 0.3), size=clients)
    sizes = random.integers(40, 400, size=clients)
    labels = np.stack([random.multinomial(size, row) for size, row in zip(sizes, mix, strict=True)])
    held_out = sizes - sizes * 4 // 5
    shares = {"federated": np.clip(random.normal(0.87, 0.05, clients), 0, 1)}
    shares["local_only"] = np.clip(shares["federated"] - random.normal(0.2, 0.3, clients), 0, 1)
    shares["corrected"] = np.clip(shares["federated"] + 0.02, 0, 1)
    if with_centralised:
        shares["centralised"] = np.clip(shares["federated"] + 0.01, 0, 1)
    if with_personal:
        shares["personal"] = shares["federated"]
    if not global_head:
        del shares["corrected"]
    right = {
        way: [random.random(count) < share for count, share in zip(held_out, of, strict=True)]
        for way, of in shares.items()
    }
    ours = [way for way in ("federated", "corrected", "personal") if way in right]
    pairs = {
        way: {
            index: Pairs.of(right["local_only"][index], right[way][index], None)
            for index in range(clients)
        }
        for way in ours
    }
    judged = {way: verdicts(told) for way, told in pairs.items()}
    rows = [
        ClientRow(
            client=index,
            name=names[index],
            examples=int(sizes[index] * 4 // 5),
            held_out=int(held_out[index]),
            label_counts=labels[index],
            scores={way: _own_score(each[index]) for way, each in right.items()},
            gains={
                way: Gain(
                    told[index].gain,
                    told[index].interval or Interval(0, 0),
                    judged[way][index],
                    told[index],
                )
                for way, told in pairs.items()
            },
            method="lda",
        )
        for index in range(clients)
    ]
    curve = 0.87 - 0.6 * np.exp(-np.arange(rounds) / 5) + random.normal(0, 0.004, rounds)
    if rounds == 1:
        curve[:] = 0.87
    failures = {
        4: [(1, "timed out after 30 s")],
        7: [(1, "timed out after 30 s"), (0, "not finite")],
    }
    metrics = [
        Round(
            round=index + 1,
            loss=float(2.2 - 2 * curve[index]),
            accuracy=float(curve[index]) - 0.01,
            mean_client_accuracy=float(curve[index]) - 0.02,
            worst_client_accuracy=float(curve[index]) * 0.8,
            train_loss=float(2.0 - 2 * curve[index]) if rounds > 1 else math.nan,
            test_accuracy=float(curve[index]) if test_split else None,
            clients=clients,
            failed=tuple(
                FailedClient(client, reason)
                for client, reason in failures.get(index + 1, [])
                if with_failures
            ),
            bytes_up=20_520 * clients,
            bytes_down=20_520 * clients,
            seconds=0.04,
        )
        for index in range(rounds)
    ]
    confusion = random.poisson(400 / count**2, size=(count, count))
    confusion += np.diag(random.integers(60, 200, size=count))
    samples = [
        ClientSamples(
            name=names[index],
            items=[_cell_picture(index, shot) for shot in range(9)],
            labels=[classes[shot % count] for shot in range(9)],
        )
        for index in range(min(clients, 3) if with_samples else 0)
    ]

    def scores(accuracy: float) -> dict[str, float]:
        return {
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.021,
            "accuracy_high": accuracy + 0.019,
            "balanced_accuracy": accuracy - 0.012,
            "mean_client_accuracy": accuracy - 0.02,
            "worst_client_accuracy": accuracy - 0.12,
            "correct": round(1000 * accuracy),
            "examples": 1000,
            "groups": 1000,
        }

    used = "personal" if with_personal else "federated"
    harmed = [row.client for row in rows if row.verdict(used) == "worse"]

    return RunDetail(
        config={
            "clients": clients,
            "rounds": rounds,
            "data": "hospitals",
            "backbone": "fedtl-tiny",
            "strategy": "fedavg" if rounds > 1 else "fed3r",
            "partition": "dirichlet",
            "alpha": 0.3,
            "learning-rate": 0.1,
            "batch-size": 32,
            "local-epochs": 1,
            "seed": 0,
            "cache": True,
            "held-out-fraction": 0.2,
            "client-cpus": 1.0,
            "client-gpus": 0.0,
            "precision": "float32",
        },
        classes=tuple(classes),
        client_names=names,
        label_counts=labels,
        rounds=metrics,
        clients=rows,
        confusion=confusion,
        egress=[
            EgressTotal(
                "up",
                "arrays",
                f"weight {count}\N{MULTIPLICATION SIGN}512, bias {count}",
                300,
                6_156_000,
            ),
            EgressTotal("up", "metrics", "loss, accuracy, num-examples", 310, 37_200),
            EgressTotal(
                "down",
                "arrays",
                f"weight {count}\N{MULTIPLICATION SIGN}512, bias {count}",
                310,
                6_361_200,
            ),
            EgressTotal("down", "config", "server-round, learning-rate", 310, 24_800),
        ],
        samples=samples,
        summary={
            "head_sha256": "3f1b" * 16,
            "rounds": rounds,
            "clients": clients,
            "strategy": "fedavg" if rounds > 1 else "fed3r",
            "backbone_fingerprint": "a90c" * 16,
            "global_head": global_head,
            "federated": scores(0.874),
            "personal": scores(0.851) if with_personal else None,
            "local_only": scores(0.64),
            "centralised": scores(0.882) if with_centralised else None,
            "corrected": scores(0.893) if global_head else None,
            "scored_on": "all clients' held-out rows (1,234)",
            "on_new_data": {
                "scored_on": "a test split that belongs to no client (1,000 examples)",
                "examples": 1000,
                "federated": scores(0.861),
                "personal": None,
                "local_only": scores(0.512),
                "centralised": scores(0.883) if with_centralised else None,
            }
            if test_split
            else None,
            "gains": {
                way: {
                    "accuracy": 0.234,
                    "low": 0.101,
                    "high": 0.367,
                    "better": 3,
                    "no_clear_difference": clients - 3 - len(harmed),
                    "worse": len(harmed),
                }
                for way in ours
            },
            "harmed_clients": harmed,
            "bytes_up": 6_193_200,
            "bytes_down": 6_386_000,
            "seconds": {
                "total": 18.2,
                "start_up": 5.1,
                "features": 8.4,
                "rounds": 1.3,
                "per_round_median": 0.0412,
            },
            "peak_rss_mb": 812.4,
            "versions": {"fedtl": "0.1.0", "flwr": "1.41.0", "torch": "2.14.1", "python": "3.11.2"},
        },
        warnings=["2 images could not be read and are left out (unreadable.csv names them)."]
        if with_failures
        else [],
    )


def _own_score(right: np.ndarray[Any, np.dtype[np.bool_]]) -> OwnScore:
    scored = Clusters.of(right, None)
    share = scored.correct / scored.examples
    assert scored.interval is not None
    return OwnScore(share, 0.9 * share, scored.correct, scored.examples, scored.interval)


def _cell_picture(client: int, shot: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a stained disc on a pale ground, 48×48, its tint the client's."""
    random = generator(0, "cell picture", client, shot)
    y, x = np.mgrid[:48, :48]
    centre, radius = random.uniform(18, 30, 2), random.uniform(9, 17)
    disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
    ground = np.array([236, 214 - 12 * client, 222])
    stain = np.array([120 + 20 * client, 70, 150])
    noise = random.normal(0, 6, (48, 48, 3))
    return np.clip(np.where(disc, stain, ground) + noise, 0, 255).astype(np.uint8)


HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "</style><img src=http://example.org/x>",
    "$\\frac{",
    "a\x1b[31mb\nc\udcff",
)
