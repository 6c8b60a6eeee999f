"""What a comparison under attack says, held against numpy: terminal, page, tables and charts."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from five_seeds import half_width, signed, spread
from in_process import finished
from numpy.typing import NDArray
from numpy_learning import generator
from safetensors.numpy import load_file
from small_comparison import compared, overlapping, rows_of
from unequal_run import recorded, tables_of, titles_of

from fedtl import simulate
from fedtl.report import theme

PLOTTED = True

SEEDS, CLIENTS, HOSTILE = 2, 4, 1
STRATEGIES = ("fedavg", "fedmedian")
FLAGS = ("--strategies", ",".join(STRATEGIES), "--seeds", SEEDS, "--attack", "sign-flip")
FLAGS += ("--attackers", HOSTILE / CLIENTS, "--byzantine", HOSTILE / CLIENTS)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attacked:
    """A comparison under attack: its data and folder, what it printed and drew."""

    data: Path
    folder: Path
    said: str
    drawn: list[tuple[str, tuple[Any, ...], dict[str, Any]]]

    @property
    def page(self) -> str:
        return (self.folder / "comparison.html").read_text(encoding="utf-8")

    def cell(self, strategy: str, seed: int, attack: str = "") -> dict[str, Any]:
        path = self.folder / "cells" / f"{attack}seed={seed}_{strategy}.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def right(self, strategy: str, attack: str = "") -> Floats:
        """Return which test rows each seed's head gets right, shape (seeds, rows)."""
        marks = [self.cell(strategy, seed, attack)["marks"] for seed in range(SEEDS)]
        bits = [np.frombuffer(base64.b64decode(one["bits"]), np.uint8) for one in marks]
        return np.array([np.unpackbits(one)[:200] for one in bits], np.float64)

    def accuracy(self, strategy: str, attack: str = "") -> Floats:
        return self.right(strategy, attack).mean(1)

    def pooled(self, strategy: str) -> Floats:
        cells = [self.cell(strategy, seed) for seed in range(SEEDS)]
        return np.array([new for cell in cells for _, new in cell["trained"]])

    def interval(self, strategy: str) -> str:
        """Return the accuracy's interval, symmetrical in log-odds, as people read it."""
        right = self.right(strategy)
        mean = right.mean()
        width = half_width(right) / (mean * (1 - mean))
        ends = [1 / (1 + np.exp(-np.log(mean / (1 - mean)) - side * width)) for side in (-1, 1)]
        return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


CLEAN = "attack=none_"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    root = tmp_path_factory.mktemp("attack")
    data = overlapping(root)
    with recorded("plot") as drawn:
        end = compared(data, root / "out", *FLAGS)
    return Attacked(data, root / "out", end.stdout, drawn)


@pytest.fixture(scope="module")
def order(made: Attacked) -> list[str]:
    """The strategies, the most accurate under attack first."""
    return sorted(STRATEGIES, key=lambda name: -made.accuracy(name).mean())


def test_clean_runs_are_the_same_without_the_attack(made: Attacked, tmp_path: Path) -> None:
    rows = {(row["strategy"], int(row["seed"]), row["attack"]): row for row in rows_of(made.folder)}
    assert len(rows) == 2 * 2 * SEEDS
    assert (made.accuracy("fedavg") < made.accuracy("fedavg", CLEAN)).all(), "it does harm"
    for (strategy, seed, attack), row in rows.items():
        cell = made.cell(strategy, seed, CLEAN if attack == "none" else "")
        assert cell["config"]["attack"] == attack
        assert float(row["new_data_federated_accuracy"]) == pytest.approx(
            made.accuracy(strategy, CLEAN if attack == "none" else "")[seed]
        )
    scenario = made.folder / "cells" / f"{CLEAN}seed=1_fedavg.toml"
    end = finished(simulate.main, "--config", scenario, "--out", tmp_path / "run", "--quiet")
    assert end.exit_code == 0, end.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["head_sha256"] == rows["fedavg", 1, "none"]["head_sha256"]
    head = load_file(tmp_path / "run" / "head.safetensors")
    with np.load(made.data) as data:
        x, y = data["x"][data["test"]], data["y"][data["test"]]
    z = (x - head["standardisation.mean"]) * head["standardisation.scale"]
    right = (z @ head["weight"].T + head["bias"]).argmax(1) == y
    np.testing.assert_array_equal(made.right("fedavg", CLEAN)[1], right)


def test_only_the_honest_are_judged(made: Attacked) -> None:
    for seed in range(SEEDS):
        drawn = generator(seed, "attackers").choice(CLIENTS, HOSTILE, replace=False)
        for strategy in STRATEGIES:
            for attack in ("", CLEAN):
                clients = made.cell(strategy, seed, attack)["clients"]
                judged = [bool(client["verdicts"]) for client in clients]
                assert judged == [attack != "" or at not in drawn for at in range(CLIENTS)]
    assert f"worse off than local-only, of {CLIENTS - HOSTILE}," in made.said


def test_the_ranking_is_of_the_attacked_with_the_clean_beside(
    made: Attacked, order: list[str]
) -> None:
    (point,) = json.loads((made.folder / "summary.json").read_text())["points"]
    told = point["ranking"]["strategies"]
    assert [row["strategy"] for row in told] == order
    (table, *_) = tables_of(made.page, "point-0")
    assert table[0][1:7] == [
        *("Strategy", "Accuracy", "95% interval", "Balanced", "No attack", "Pooled")
    ]
    lines = made.said.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    heading = re.split("  +", lines[0].strip())
    assert heading[:4] == ["On new data", "Accuracy", "95% interval", "No attack"]
    assert "no attack: the same without hostile clients" in lines
    tex = (made.folder / "comparison.tex").read_text()
    assert "Strategy & Accuracy & 95\\,\\% interval & Without attack" in tex
    for row, cells, name in zip(told, table[1:], order, strict=False):
        ours, clean = made.accuracy(name), made.accuracy(name, CLEAN)
        for key, values in (
            ("accuracy", ours),
            ("without_attack", clean),
            ("pooled_training", made.pooled(name)),
        ):
            assert row[key]["mean"] == pytest.approx(values.mean())
            assert row[key]["sd"] == pytest.approx(values.std(ddof=1))
        assert cells[2:4] == [spread(ours), made.interval(name)]
        assert cells[5:7] == [spread(clean), spread(made.pooled(name))]
        (line,) = [line for line in lines if line.startswith(name) and " to " in line]
        assert re.split("  +", line)[1:4] == [spread(ours), made.interval(name), spread(clean)]
        in_tex = [spread(ours), made.interval(name), spread(clean)]
        assert f"{name} & {' & '.join(in_tex)} \\\\".replace("±", r"$\pm$") in tex


def test_charts_show_and_say_both(made: Attacked, order: list[str]) -> None:
    assert "Hollow: the same without the attack" in made.page
    hollow, full = (
        [args[:2] for _, args, named in made.drawn if look.items() <= named.items()]
        for look in (
            {"markerfacecolor": theme.SURFACE},
            {"markeredgecolor": theme.SURFACE, "markersize": 9},
        )
    )
    for place, name in enumerate(order[::-1]):
        for dots, values in ((hollow, made.accuracy(name, CLEAN)), (full, made.accuracy(name))):
            assert any(np.allclose(dot, (values.mean(), place)) for dot in dots), name
    dots, _, rounds, _, _, _, gains, _ = titles_of(made.page, "point-0")
    assert dots == [
        f"{name}: {100 * made.accuracy(name).mean():.1f}%, mean of 2 seeds; 95 % interval "
        f"{made.interval(name)}; the same training on pooled data "
        f"{spread(made.pooled(name)).replace('±', '% ± ')}; without the attack "
        f"{100 * made.accuracy(name, CLEAN).mean():.1f}%"
        for name in order[::-1]
    ]
    last = ", ".join(f"{name} {spread(made.accuracy(name)).replace('±', '% ± ')}" for name in order)
    assert rounds[-1] == f"round 3: {last}"
    expected = []
    for name in STRATEGIES:
        clients = [client for seed in range(SEEDS) for client in made.cell(name, seed)["clients"]]
        honest = [client for client in clients if client["verdicts"]]
        found = [
            client["accuracies"]["federated"] - client["accuracies"]["local_only"]
            for client in honest
        ]
        first, median, third = map(signed, np.quantile(found, (0.25, 0.5, 0.75)))
        verdicts = [client["verdicts"]["federated"] for client in honest]
        expected.append(
            f"{name}: median {median} points, the middle half from {first} to {third}; "
            f"{verdicts.count('better')} better off, {verdicts.count('worse')} worse, of "
            f"{SEEDS * (CLIENTS - HOSTILE)} honest clients over all seeds"
        )
    assert sorted(gains) == sorted(expected)
    assert "Hostile clients are left out." in made.page
