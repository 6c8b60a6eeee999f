"""``fedtl.compare``: cells that simulate repeats, what is resumed, and all files that are left."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import Finished, finished
from small_comparison import compared, figures_of, overlapping, rows_of

from fedtl import compare, simulate
from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.frame import to_frame
from fedtl.comparison.plan import Plan
from fedtl.comparison.result import CellResult
from fedtl.errors import UsageError

CHOSEN = True

STRATEGIES = ("fedavg", "fedprox", "scaffold", "fed3r", "fedncm")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlapping(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison") / "small"


@pytest.fixture(scope="module")
def end(data: Path, out: Path, undrawn: Callable[[], AbstractContextManager[None]]) -> Finished:
    """How a small comparison ended, with its charts."""
    flags = ("--strategies", ",".join(STRATEGIES), "--seeds", 2, "--alpha", "0.2,5")
    with undrawn():
        return compared(data, out, *flags)


@pytest.fixture(scope="module")
def folder(end: Finished, out: Path) -> Path:
    """The folder of that comparison."""
    return out


def test_every_strategy_runs_with_every_seed_at_every_value(folder: Path) -> None:
    rows = rows_of(folder)
    met = {(row["strategy"], row["alpha"], row["seed"]) for row in rows}
    assert met == {(s, a, k) for s in STRATEGIES for a in ("0.2", "5.0") for k in ("0", "1")}
    assert len(rows) == len(met)


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
        for row in rows_of(folder)
        if (row["strategy"], row["alpha"], row["seed"]) == (strategy, "0.2", "1")
    )
    assert row["head_sha256"] == simulated["head_sha256"]
    assert int(row["bytes_up"]) == simulated["bytes_up"]
    assert int(row["bytes_down"]) == simulated["bytes_down"]
    assert int(row["harmed_clients"]) == len(simulated["harmed_clients"])
    for prefix, ways in (("", simulated), ("new_data_", simulated["on_new_data"])):
        for way in ("federated", "local_only", "centralised"):
            for score, value in figures_of(ways[way]):
                told = row[f"{prefix}{way}_{score}"]
                assert told == "" if value is None else float(told) == value, (way, score)
    for score, value in figures_of(simulated["corrected"]):
        assert float(row[f"corrected_{score}"]) == value
    for way, told_of in simulated["gains"].items():
        for verdict in ("better", "worse"):
            assert int(row[f"{way}_{verdict}"]) == told_of[verdict]
    by_round = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    ledger = rows_of(tmp_path / "run", "egress.csv")
    points = [
        point
        for point in rows_of(folder, "rounds.csv")
        if (point["strategy"], point["alpha"], point["seed"]) == (strategy, "0.2", "1")
    ]
    accuracies = [float(point["accuracy"]) for point in points]
    assert accuracies == [told["test_accuracy"] for told in by_round]
    for point in points:
        until = [int(sent["bytes"]) for sent in ledger if int(sent["round"]) <= int(point["round"])]
        assert int(point["bytes"]) == sum(until)


def test_target_rounds_and_bytes_are_the_first_to_reach_it(folder: Path) -> None:
    for row in rows_of(folder):
        key = (row["strategy"], row["alpha"], row["seed"])
        reached = [
            point
            for point in rows_of(folder, "rounds.csv")
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
                    for row in rows_of(folder)
                    if row["strategy"] == s and row["alpha"] == alpha
                ]
            )
            for s in STRATEGIES
        )
        for alpha in ("0.2", "5.0")
    }
    for row in rows_of(folder):
        assert float(row["target"]) == pytest.approx(0.95 * best[row["alpha"]])


@pytest.mark.usefixtures("shared_ray")
def test_ray_gives_what_one_process_gives(folder: Path, tmp_path: Path) -> None:
    """And what was finished when a comparison was cut off is not run again."""
    cut = tmp_path / "cut"
    (cut / "cells").mkdir(parents=True)
    plan = json.loads((folder / "comparison.json").read_text())
    plan["config"]["engine"] = "ray"
    (cut / "comparison.json").write_text(json.dumps(plan))
    cells = sorted((folder / "cells").glob("*.json"))
    # Of one scene no cell is finished, and of another only one is missing.
    kept = [path for path in cells if not path.stem.startswith("alpha=0.2_seed=0")]
    kept.remove(folder / "cells" / "alpha=5.0_seed=1_fed3r.json")
    assert len(kept) == len(cells) - len(STRATEGIES) - 1
    for path in kept:
        content = json.loads(path.read_text())
        content["config"]["engine"] = "ray"
        content["seconds"] = 1234.0
        (cut / "cells" / path.name).write_text(json.dumps(content))
    end = finished(compare.main, "--resume", cut)
    assert end.exit_code == 0, end.stderr

    before, after = ({_key(row): row for row in rows_of(where)} for where in (folder, cut))
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


def test_marks_are_what_the_accuracy_is_of(folder: Path) -> None:
    for row in rows_of(folder):
        name = f"alpha={row['alpha']}_seed={row['seed']}_{row['strategy']}.json"
        result = CellResult.from_json((folder / "cells" / name).read_text())
        assert result.marks is not None
        assert result.marks.right.mean() == float(row["new_data_federated_accuracy"])
        assert len(np.unique(result.marks.units)) == 200


def test_quiet_and_json_name_the_folder(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "copy")
    quiet = finished(compare.main, "--resume", folder, "--quiet")
    assert quiet.stdout == f"{folder}\n"
    [warning] = quiet.stderr.splitlines()
    assert warning.startswith("warning: The run uses ") and f"lies outside {folder};" in warning
    told = json.loads(finished(compare.main, "--resume", folder, "--json").stdout)
    assert told.pop("run_folder") == str(folder)
    assert told == json.loads((folder / "summary.json").read_text())


def test_the_table_fits_80_columns_and_names_every_strategy(end: Finished, folder: Path) -> None:
    lines = end.stdout.splitlines()
    assert lines[-1].startswith("report: ")
    assert max(map(len, lines[:-1])) <= 80
    for strategy in STRATEGIES:
        assert sum(line.startswith(strategy) for line in lines) == 2 * 2
    means: dict[tuple[str, str], list[float]] = {}
    for row in rows_of(folder):
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
    frame, rows = to_frame(folder), rows_of(folder)
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
