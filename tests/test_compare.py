"""``fedtl.compare``: cells that simulate repeats, what is shared, resumed, failed and reported."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_process import Finished, complaint, finished

from fedtl import compare, simulate
from fedtl.comparison.axes import read_values
from fedtl.comparison.cell import MakeScene, RunCell, Scene
from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.frame import to_frame
from fedtl.comparison.marks import accuracy_of
from fedtl.comparison.plan import Plan
from fedtl.comparison.result import CellResult
from fedtl.config import RunConfig, rules
from fedtl.data.partition_process import PartitionProcess
from fedtl.errors import UsageError
from fedtl.federation import alone
from fedtl.federation.preparation import (
    open_data,
    prepare_inputs,
    simulated_sites,
    split_into_clients,
)
from fedtl.federation.simulated_sites import SimulatedSites
from strategies.base import Arrays, Reply
from strategies.fedavg import FedAvg

pytestmark = pytest.mark.usefixtures("undrawn")

STRATEGIES = ("fedavg", "fedprox", "scaffold", "fed3r", "fedncm")
QUICK = ("--clients", 4, "--rounds", 3, "--partition", "dirichlet", "--engine", "inline")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return features of four classes that overlap, with a test split."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 4, 600)
    x = rng.normal(0, 1, (600, 12)) + rng.normal(0, 0.6, (4, 12))[y]
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, x=x.astype(np.float32), y=y, test=np.arange(600) >= 400)
    return path


def _compared(data: Path, out: Path, *flags: object) -> Finished:
    end = finished(compare.main, "--data", f"features:{data}", "--out", out, *QUICK, *flags)
    assert end.exit_code == 0, end.stderr
    return end


def _rows(folder: Path, name: str = "comparison.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(
    data: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: Callable[..., None]
) -> Path:
    """Return the folder of a small comparison, with its charts."""
    out = tmp_path_factory.mktemp("comparison") / "small"
    flags = ("--strategies", ",".join(STRATEGIES), "--seeds", 2, "--alpha", "0.2,5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", undrawn)
        _compared(data, out, *flags)
    return out


def test_every_strategy_runs_with_every_seed_at_every_value(folder: Path) -> None:
    rows = _rows(folder)
    met = {(row["strategy"], row["alpha"], row["seed"]) for row in rows}
    assert met == {(s, a, k) for s in STRATEGIES for a in ("0.2", "5.0") for k in ("0", "1")}
    assert len(rows) == len(met)


def _figures(summary: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return the figures that a comparison has of a run's: all but the metrics of the field."""
    return [(name, value) for name, value in summary.items() if name != "metrics"]


@pytest.mark.parametrize("strategy", ["fedprox", "scaffold", "fed3r"])
def test_simulate_gives_a_cells_head_and_scores(
    folder: Path, tmp_path: Path, strategy: str
) -> None:
    """Also the local-only and centralised ones, which a cell shares with others of its scene."""
    cell = folder / "cells" / f"alpha=0.2_seed=1_{strategy}.toml"
    end = finished(simulate.main, "--config", cell, "--out", tmp_path / "run", "--json")
    assert end.exit_code == 0, end.stderr
    simulated = json.loads(end.stdout)
    row = next(
        row
        for row in _rows(folder)
        if (row["strategy"], row["alpha"], row["seed"]) == (strategy, "0.2", "1")
    )
    assert row["head_sha256"] == simulated["head_sha256"]
    assert int(row["bytes_up"]) == simulated["bytes_up"]
    assert int(row["bytes_down"]) == simulated["bytes_down"]
    assert int(row["harmed_clients"]) == len(simulated["harmed_clients"])
    for prefix, ways in (("", simulated), ("new_data_", simulated["on_new_data"])):
        for way in ("federated", "local_only", "centralised"):
            for score, value in _figures(ways[way]):
                told = row[f"{prefix}{way}_{score}"]
                assert told == "" if value is None else float(told) == value, (way, score)
    for score, value in _figures(simulated["corrected"]):
        assert float(row[f"corrected_{score}"]) == value
    for way, told_of in simulated["gains"].items():
        for verdict in ("better", "worse"):
            assert int(row[f"{way}_{verdict}"]) == told_of[verdict]
    by_round = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    ledger = _rows(tmp_path / "run", "egress.csv")
    points = [
        point
        for point in _rows(folder, "rounds.csv")
        if (point["strategy"], point["alpha"], point["seed"]) == (strategy, "0.2", "1")
    ]
    accuracies = [float(point["accuracy"]) for point in points]
    assert accuracies == [told["test_accuracy"] for told in by_round]
    for point in points:
        until = [int(sent["bytes"]) for sent in ledger if int(sent["round"]) <= int(point["round"])]
        assert int(point["bytes"]) == sum(until)


def test_target_rounds_and_bytes_are_the_first_to_reach_it(folder: Path) -> None:
    for row in _rows(folder):
        key = (row["strategy"], row["alpha"], row["seed"])
        reached = [
            point
            for point in _rows(folder, "rounds.csv")
            if (point["strategy"], point["alpha"], point["seed"]) == key
            and float(point["accuracy"]) >= float(row["target"])
        ]
        assert row["rounds_to_target"] == (reached[0]["round"] if reached else "")
        assert row["bytes_to_target"] == (reached[0]["bytes"] if reached else "")
    best = {
        alpha: max(
            np.mean(
                [
                    float(row["new_data_federated_accuracy"])
                    for row in _rows(folder)
                    if row["strategy"] == s and row["alpha"] == alpha
                ]
            )
            for s in STRATEGIES
        )
        for alpha in ("0.2", "5.0")
    }
    for row in _rows(folder):
        assert float(row["target"]) == pytest.approx(0.95 * best[row["alpha"]])


def test_ray_gives_what_one_process_gives(folder: Path, tmp_path: Path) -> None:
    """And what was finished when a comparison was cut off is not run again."""
    cut = tmp_path / "cut"
    (cut / "cells").mkdir(parents=True)
    plan = json.loads((folder / "comparison.json").read_text())
    plan["config"]["engine"] = "ray"
    (cut / "comparison.json").write_text(json.dumps(plan))
    kept = ("alpha=0.2_seed=0_fedavg", "alpha=5.0_seed=1_fed3r")
    for name in kept:
        content = json.loads((folder / "cells" / f"{name}.json").read_text())
        content["config"]["engine"] = "ray"
        content["seconds"] = 1234.0
        (cut / "cells" / f"{name}.json").write_text(json.dumps(content))
    end = finished(compare.main, "--resume", cut)
    assert end.exit_code == 0, end.stderr

    before, after = ({_key(row): row for row in _rows(where)} for where in (folder, cut))
    assert before.keys() == after.keys()
    again = [key for key, row in after.items() if row.pop("seconds") != "1234.0"]
    for row in before.values():
        row.pop("seconds")
    assert before == after
    assert len(again) == len(after) - len(kept)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return row["strategy"], row["alpha"], row["seed"]


def test_a_cell_that_was_configured_otherwise_is_run_again(folder: Path) -> None:
    taken = ComparisonFolder.reopen(folder)
    try:
        cell = next(taken.plan.cells())
        assert taken.result_of(cell) is not None
        other = Plan(taken.plan.base.replace(momentum=0.5), taken.plan.strategies, 2)
        assert taken.result_of(next(other.cells())) is None
    finally:
        taken.close()


def test_reference_heads_are_found_once_for_all_strategies(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    original = alone.lone_heads

    def counted(config: RunConfig, clients: Any, leave_out: bool) -> Any:
        found.append(len(clients))
        return original(config, clients, leave_out)

    monkeypatch.setattr(alone, "lone_heads", counted)
    _compared(data, tmp_path / "out", "--strategies", "fedavg,fed3r,fedncm", "--seeds", 1)
    # The four clients once, and once all data in one place.
    assert sorted(found) == [1, 4]


def test_marks_are_what_the_accuracy_is_of(folder: Path) -> None:
    for row in _rows(folder):
        name = f"alpha={row['alpha']}_seed={row['seed']}_{row['strategy']}.json"
        result = CellResult.from_json((folder / "cells" / name).read_text())
        assert result.marks is not None
        assert result.marks.right.mean() == float(row["new_data_federated_accuracy"])
        assert len(np.unique(result.marks.units)) == 200


@pytest.mark.usefixtures("drawn")
def test_without_a_test_part_global_heads_are_ranked_on_held_out_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 300)
    x = rng.normal(0, 1, (300, 8)) + rng.normal(0, 0.8, (3, 8))[y]
    np.savez(tmp_path / "features.npz", x=x.astype(np.float32), y=y)
    out = tmp_path / "out"
    none = ("--test-fraction", 0) if "test-fraction" in rules() else ()
    flags = ("--strategies", "fed3r,fedncm", "--seeds", 3, *none)
    _compared(tmp_path / "features.npz", out, *flags)
    (at,) = json.loads((out / "summary.json").read_text())["points"]
    assert at["ranking"]["measured_on"] == "all clients' held-out examples"
    for told in at["ranking"]["strategies"]:
        mean = np.mean(
            [
                float(row["federated_accuracy"])
                for row in _rows(out)
                if row["strategy"] == told["strategy"]
            ]
        )
        assert told["accuracy"]["mean"] == pytest.approx(mean)
        assert told["interval"]["low"] < mean < told["interval"]["high"]


@pytest.mark.usefixtures("drawn")
def test_runs_under_attack_are_shown_beside_clean_ones(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--attack", "sign-flip", "--attackers", 0.25, "--byzantine", 0.25)
    end = _compared(data, out, "--strategies", "fedavg,fedmedian", "--seeds", 1, *flags)
    rows = {(row["strategy"], row["attack"]): row for row in _rows(out)}
    assert len(rows) == 4
    assert rows["fedavg", "sign-flip"]["head_sha256"] != rows["fedavg", "none"]["head_sha256"]
    clean = finished(
        simulate.main,
        *("--config", out / "cells" / "attack=none_seed=0_fedavg.toml"),
        *("--out", tmp_path / "run", "--json"),
    )
    assert json.loads(clean.stdout)["head_sha256"] == rows["fedavg", "none"]["head_sha256"]
    shown = f"{100 * float(rows['fedavg', 'none']['new_data_federated_accuracy']):.1f}"
    (line,) = re.findall(r"^fedavg .*[\d.]+ to [\d.]+ +([\d.]+)", end.stdout, re.MULTILINE)
    assert line == shown
    assert max(map(len, end.stdout.splitlines()[:-1])) <= 80
    assert "Hollow: the same without the attack" in (out / "comparison.html").read_text()


def test_quiet_and_json_name_the_folder(folder: Path) -> None:
    quiet = finished(compare.main, "--resume", folder, "--quiet")
    assert (quiet.stdout, quiet.stderr) == (f"{folder}\n", "")
    told = json.loads(finished(compare.main, "--resume", folder, "--json").stdout)
    assert told.pop("run_folder") == str(folder)
    assert told == json.loads((folder / "summary.json").read_text())


@pytest.mark.usefixtures("drawn")
def test_the_table_fits_80_columns_and_names_every_strategy(data: Path, folder: Path) -> None:
    end = finished(compare.main, "--resume", folder)
    assert end.exit_code == 0
    lines = end.stdout.splitlines()
    assert lines[-1].startswith("report: ")
    assert max(map(len, lines[:-1])) <= 80
    for strategy in STRATEGIES:
        assert sum(line.startswith(strategy) for line in lines) == 2 * 2
    means: dict[tuple[str, str], list[float]] = {}
    for row in _rows(folder):
        accuracy = float(row["new_data_federated_accuracy"])
        means.setdefault((row["alpha"], row["strategy"]), []).append(accuracy)
    found = re.findall(r"^(\w+)(?: \*)? +([\d.]+)±([\d.]+) +[\d.]+ to", end.stdout, re.MULTILINE)
    shown = [row for row in found if row[0] in STRATEGIES]
    expected = [
        (name, f"{100 * np.mean(scores):.1f}", f"{100 * np.std(scores, ddof=1):.1f}")
        for (_, name), scores in means.items()
    ]
    assert sorted(shown) == sorted(expected)


def test_the_page_asks_for_nothing_and_shows_every_strategy(folder: Path) -> None:
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    for strategy in STRATEGIES:
        assert f'<th scope="row">{strategy}' in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    # Dots of two points and accuracy by value; at each point by round, by bytes and gains; each
    # for a desk and for a telephone.
    assert page.count("<svg") == 2 * (2 + 1 + 2 * 3)


def test_figures_and_tables_for_a_paper(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        f"{name}_alpha={alpha}.{kind}"
        for name in ("accuracy", "rounds", "bytes", "gains")
        for alpha in ("0.2", "5.0")
        for kind in ("svg", "pdf")
    }
    for path in (folder / "figures").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"%PDF" if path.suffix == ".pdf" else b"<?xml")
        assert b"#0a0b" not in content, "a placeholder's colour"
        assert b"var(--" not in content
    tex = (folder / "comparison.tex").read_text()
    for strategy in STRATEGIES:
        assert tex.count(f"\n  {strategy}") == 2 * 2
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == 4
    for line in tex.splitlines():
        if line.endswith(r" \\"):
            assert "%" not in line.replace(r"\%", "")


def test_the_data_frame_is_the_csv_with_types(folder: Path) -> None:
    frame, rows = to_frame(folder), _rows(folder)
    assert len(frame) == len(rows)
    assert list(frame.columns) == list(rows[0])
    for column in frame.columns:
        for value, text in zip(frame[column], (row[column] for row in rows), strict=True):
            if text == "":
                assert pd.isna(value), column
            elif isinstance(value, bool | np.bool_ | str):
                assert str(value) == text
            else:
                assert value == float(text), column
    means = frame.groupby(["alpha", "strategy"])["new_data_federated_accuracy"].mean()
    assert means[0.2, "fed3r"] == pytest.approx(
        np.mean(
            [
                float(row["new_data_federated_accuracy"])
                for row in rows
                if (row["alpha"], row["strategy"]) == ("0.2", "fed3r")
            ]
        )
    )
    assert frame["rounds_to_target"].dtype == "Int64"
    with pytest.raises(UsageError, match="no finished comparison"):
        to_frame(folder / "cells")


class Failing(FedAvg):
    """Raises where it aggregates."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        raise ZeroDivisionError("no such luck")


def test_a_run_that_fails_costs_itself_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    end = _compared(data, out, "--strategies", "fed3r,test_compare:Failing", "--seeds", 1)
    assert "ZeroDivisionError: no such luck" in end.stdout
    assert [row["strategy"] for row in _rows(out)] == ["fed3r"]
    assert "no such luck" in (out / "comparison.html").read_text(encoding="utf-8")
    failed = json.loads((out / "summary.json").read_text())["failed"]
    assert [entry["strategy"] for entry in failed] == ["test_compare:Failing"]
    assert not list((out / "cells").glob("*Failing*"))


@pytest.mark.usefixtures("drawn")
def test_own_heads_count_where_a_strategy_has_them(data: Path, tmp_path: Path) -> None:
    """Ditto's global head is FedAvg's; who goes alone gains nothing and loses nothing."""
    out = tmp_path / "out"
    flags = ("--strategies", "fedavg,ditto,local,fed3r", "--seeds", 1, "--alpha", 0.2)
    _compared(data, out, *flags, "--init", "fed3r", "--personalise", 1)
    rows = {row["strategy"]: row for row in _rows(out)}
    shared = "new_data_federated_accuracy"
    assert rows["ditto"][shared] == rows["fedavg"][shared]
    cell = out / "cells" / "seed=0_ditto.toml"
    end = finished(simulate.main, "--config", cell, "--out", tmp_path / "run", "--json")
    simulated = json.loads(end.stdout)
    for score, value in _figures(simulated["personal"]):
        assert value is None or float(rows["ditto"][f"personal_{score}"]) == value
    assert int(rows["ditto"]["harmed_clients"]) == len(simulated["harmed_clients"])
    assert rows["local"]["global_head"] == "False"
    assert rows["local"]["rounds_to_target"] == ""
    last = {row["strategy"]: row["accuracy"] for row in _rows(out, "rounds.csv")}
    assert last == {name: row[shared] if name != "local" else "" for name, row in rows.items()}
    (at,) = json.loads((out / "summary.json").read_text())["points"]
    assert {row["strategy"] for row in at["ranking"]["strategies"]} == {"fedavg", "ditto", "fed3r"}
    own = {row["strategy"]: row for row in at["own_data"]["strategies"]}
    assert set(own["local"]) == {"strategy", "personal"}
    for name, readings in own.items():
        for way in set(readings) - {"strategy"}:
            column = "federated" if name == "local" else way
            told = float(rows[name][f"{column}_accuracy"])
            assert readings[way]["accuracy"]["mean"] == told
            assert readings[way]["worse"]["mean"] == int(rows[name][f"{column}_worse"])
    for name, init, personalise in (
        ("fedavg", "fed3r", 1),
        ("ditto", "fed3r", 0),
        ("fed3r", "none", 1),
    ):
        config = json.loads((out / "cells" / f"seed=0_{name}.json").read_text())["config"]
        assert (config["init"], config["personalise"]) == (init, personalise)


def test_a_scenario_says_what_is_compared_and_flags_override_it(data: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(
        f'data = "features:{data}"\nclients = 3\nrounds = 2\nengine = "inline"\n'
        '[compare]\nstrategies = "fedavg,fed3r"\nseeds = 4\nvary = "alpha=0.5,5 fraction=0.5,1"\n'
    )
    out = tmp_path / "out"
    end = finished(compare.main, scenario, "--seeds", 1, "--fraction", 1, "--out", out)
    assert end.exit_code == 0, end.stderr
    assert [(row["strategy"], row["alpha"], row["seed"]) for row in _rows(out)] == [
        (strategy, alpha, "0") for alpha in ("0.5", "5.0") for strategy in ("fedavg", "fed3r")
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "needs strategies"),
        (["--strategies", "fedavg,fedavh"], "did you mean 'fedavg'"),
        (["--strategies", "fedavg,fedavg"], "strategies has 'fedavg' more than once"),
        (["--strategies", "fedavg", "--alpha", "1,one"], "alpha = 'one' must be of type float"),
        (["--strategies", "fedavg", "--alpha", "1,-1"], "alpha = -1.0 is too small"),
        (["--strategies", "fedavg", "--rounds", "3,3"], "rounds has 3 more than once"),
        (["--strategies", "fedavg", "--seeds", "0"], "seeds = 0 is not from 1"),
        (["--strategies", "fed3r", "--head", "linear,mlp"], "fed3r"),
        (["--strategy", "fedavg"], "--strategy"),
        (["--resume", "none"], "none holds no comparison to resume"),
        (["--resume", "none", "--seeds", "2"], "give nothing else"),
    ],
)
def test_every_mistake_is_one_sentence(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in complaint(compare.main, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_mistake_that_the_data_shows_leaves_nothing_behind(
    engine: str, data: Path, tmp_path: Path
) -> None:
    flags = ("--strategies", "fedavg", "--engine", engine, "--out", tmp_path / "deep" / "out")
    missing = complaint(compare.main, "--data", tmp_path / "nowhere", *flags)
    assert "nowhere" in missing
    crowd = ("--data", f"features:{data}", "--clients", 100_000)
    assert "100000" in complaint(compare.main, *crowd, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def sites(data: Path) -> Iterator[SimulatedSites]:
    """Yield three clients of the data, whose features live as long."""
    config = RunConfig(data=f"features:{data}", clients=3, rounds=2, partition="iid")
    inputs = prepare_inputs(config, open_data(config), None)
    process = PartitionProcess("iid")
    try:
        yield simulated_sites(inputs, split_into_clients(config, inputs.dataset, process))
    finally:
        process.close()


def test_marks_are_counted_by_whole_groups(sites: SimulatedSites) -> None:
    groups = np.arange(600) // 8
    result = RunCell(RunConfig(strategy="fed3r"))(MakeScene(replace(sites, groups=groups))())
    assert result.marks is not None
    assert (result.marks.units == groups[sites.test]).all()
    estimate = accuracy_of({0: result.marks})
    assert estimate is not None
    assert (
        estimate.units
        == len(np.unique(groups[sites.test]))
        == result.new_data["federated"]["groups"]
    )
    assert estimate.mean == pytest.approx(result.new_data["federated"]["accuracy"])


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("seed=1,2", "seed cannot vary: seeds says how many there are"),
        ("strategy=fedavg", "strategy cannot vary: strategies lists them"),
        ("data=a,b", "data cannot vary: it is the same for a whole comparison"),
        ("hospitals-shift=1,2", "hospitals-shift cannot vary"),
        ("client-cpus=1,2", "client-cpus cannot vary"),
        ("alpah=1,2", "did you mean 'alpha'"),
        ("alpha", "must be of the form"),
        ("alpha=", "alpha has no value"),
    ],
)
def test_what_cannot_vary_is_told(vary: str, said: str, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(f'[compare]\nstrategies = "fedavg"\nvary = "{vary}"\n')
    assert said in complaint(compare.main, scenario, "--out", tmp_path / "out")


def test_a_cell_leaves_its_scene_as_it_was(sites: SimulatedSites) -> None:
    """One cell's scores do not depend on which ran before it over the same clients."""
    config = RunConfig(clients=3, rounds=2)
    shared: Scene = MakeScene(sites)()
    for strategy in ("scaffold", "fedncm", "fedavg", "feddyn"):
        work = RunCell(config.replace(strategy=strategy))
        lone, among = work(MakeScene(sites)()), work(shared)
        assert lone.head_sha256 == among.head_sha256
        assert lone.own_data == among.own_data
        assert lone.marks == among.marks
        assert lone.clients == among.clients


def test_truth_values_are_read_as_written() -> None:
    assert read_values("prior-correction", "false, true") == (False, True)
    with pytest.raises(UsageError, match="prior-correction = 'maybe' must be of type bool"):
        read_values("prior-correction", "maybe")
