"""The Python API: functions that are modules, results that are tables and modules of PyTorch."""

from __future__ import annotations

import csv
import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from in_process import finished
from PIL import Image

import fedtl
from fedtl import ComparisonResult, RunConfig, RunResult, compare, predict, simulate
from fedtl.errors import FedtlError, UsageError

SMALL = {"clients": 3, "hospitals_images": 150, "hospitals_test_images": 40, "engine": "inline"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    out = tmp_path_factory.mktemp("ran") / "run"
    return simulate(RunConfig(**SMALL, out=str(out)), rounds=3, progress=False)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("embedded")
    draws = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (np.eye(3)[y] * 2 + draws.normal(size=(120, 3))).astype(np.float32)
    np.savez(folder / "x.npz", x=x, y=y)
    data, out = f"features:{folder / 'x.npz'}", str(folder / "run")
    return simulate(
        data=data, out=out, clients=3, strategy="fed3r", engine="inline", progress=False
    )


def test_the_package_imports_nothing_that_takes_time() -> None:
    heavy = "{'torch', 'flwr', 'numpy', 'pandas', 'ray', 'typer', 'rich'}"
    code = f"import fedtl, sys; assert not {heavy} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("before", ["", "import fedtl.simulate; "])
def test_a_command_is_module_and_function_whatever_is_imported_first(before: str) -> None:
    code = f"{before}from fedtl import simulate; import fedtl.simulate as m; print(m is simulate)"
    code += "; print(simulate.main.__name__, callable(simulate))"
    end = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert end.stdout == "True\nmain True\n"


def test_functions_tell_their_arguments() -> None:
    assert list(inspect.signature(simulate).parameters)[:2] == ["config", "seeds"]
    assert set(fedtl.__all__) <= set(dir(fedtl))
    with pytest.raises(AttributeError, match="no attribute 'simulated'"):
        _ = fedtl.simulated  # type: ignore[attr-defined]


def test_tables_are_those_of_the_files(ran: RunResult) -> None:
    assert ran.path is not None
    summary = json.loads((ran.path / "summary.json").read_text())
    assert json.loads(json.dumps(ran.figures)) == summary
    assert ran.summary.loc["federated", "accuracy"] == summary["federated"]["accuracy"]
    assert ran.summary.loc["local_only", "low"] == summary["local_only"]["accuracy_low"]
    new = summary["on_new_data"]["centralised"]["accuracy"]
    assert ran.summary.loc["centralised", "new_data"] == new
    with (ran.path / "clients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(ran.clients["name"]) == [row["name"] for row in rows]
    for column in ("federated_accuracy", "federated_gain_low", "examples"):
        np.testing.assert_array_equal(ran.clients[column], [float(row[column]) for row in rows])
    assert ran.clients["harmed"].dtype == bool
    lines = [json.loads(line) for line in (ran.path / "metrics.jsonl").read_text().splitlines()]
    assert list(ran.rounds.index) == [1, 2, 3]
    np.testing.assert_array_equal(ran.rounds["accuracy"], [line["accuracy"] for line in lines])


def test_a_folder_gives_the_result_back(ran: RunResult, tmp_path: Path) -> None:
    assert ran.path is not None
    found = RunResult.load(ran.path)
    assert found.config == ran.config and found.path == ran.path and found.detail is None
    for name in ("summary", "clients", "rounds"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(ran, name))
    assert found._repr_html_() == ran._repr_html_()
    assert found.report(tmp_path / "mine.html").read_bytes() == (
        (ran.path / "report.html").read_bytes()
    )
    for one, other in zip(found.head.parameters(), ran.head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_result_of_no_round_has_an_empty_table(ran: RunResult) -> None:
    assert list(replace(ran, history=()).rounds.columns) == list(ran.rounds.columns)


def test_code_of_a_folder_runs_if_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x=np.eye(3, 4, dtype=np.float32)[y], y=y)
    source = "from strategies.fedavg import FedAvg\n\n\nclass Sent(FedAvg):\n    pass\n"
    (tmp_path / "sent.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    quick = {"clients": 3, "rounds": 1, "engine": "inline", "progress": False}
    simulate(data="features:x.npz", strategy="sent:Sent", out="run", **quick)
    # As in a process that has not imported it.
    monkeypatch.delitem(sys.modules, "sent")
    for refused in (RunResult.load, lambda run: predict(run, "features:x.npz")):
        with pytest.raises(UsageError, match="give trust=True"):
            refused("run")
    assert RunResult.load("run", trust=True).head.classes == ("0", "1", "2")


def test_what_is_no_finished_run_is_refused(ran: RunResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        RunResult.load(tmp_path)
    assert ran.path is not None
    (tmp_path / "config.toml").write_bytes((ran.path / "config.toml").read_bytes())
    with pytest.raises(UsageError, match="is not finished; finish it with"):
        RunResult.load(tmp_path)
    with pytest.raises(UsageError, match="is not the folder of a finished comparison"):
        ComparisonResult.load(tmp_path)


def test_a_notebook_shows_both_tables(ran: RunResult) -> None:
    html = ran._repr_html_()
    ways, clients = (table.partition("</table>")[0] for table in html.split("<table")[1:])
    assert _headings(ways)[-4:] == ["local-only", "federated", "corrected", "centralised"]
    accuracies = [f"<td>{value:.3f}</td>" for value in ran.summary["accuracy"]]
    assert [cell in ways for cell in accuracies] == [True] * 4
    assert re.findall("<td>([A-Z][a-z]+)</td>", clients) == list(ran.clients["name"])


def _headings(table: str) -> list[str]:
    return re.findall("<th>([^<]*)</th>", table)


def test_the_model_says_what_the_command_says(ran: RunResult, tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    pictures = [draws.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    for at, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{at}.png")
    model = ran.model()
    batch = torch.stack([model.preprocess(picture) for picture in pictures])
    with torch.inference_mode():
        found = model(batch).softmax(1).numpy()
        features = model.backbone(batch)
        np.testing.assert_allclose(ran.head(features).softmax(1).numpy(), found, atol=1e-6)
    told = predict(ran, tmp_path)
    assert list(told.columns) == ["predicted", *model.classes]
    np.testing.assert_allclose(told[list(model.classes)].to_numpy(), found, atol=1e-5)
    assert list(told["predicted"]) == [model.classes[at] for at in found.argmax(1)]
    end = finished(
        sys.modules["fedtl.predict"].main, ran.path, tmp_path, "--csv", tmp_path / "out.csv"
    )
    assert end.exit_code == 0
    written = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(written.iloc[:, 2:].to_numpy(), told.iloc[:, 1:].to_numpy(), 1e-6)


def test_a_head_of_a_closed_form_gives_its_scores(embedded: RunResult) -> None:
    x = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    told = predict(embedded, x)
    with torch.inference_mode():
        found = embedded.head(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(told.iloc[:, 1:].to_numpy(float), found, atol=1e-5)
    # What the statistics of all clients give, in float64: scores are the head's, not a softmax.
    assert embedded.trained is not None
    weight, bias = embedded.trained.arrays["weight"], embedded.trained.arrays["bias"]
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(UsageError, match="trained on precomputed features"):
        embedded.model()
    with pytest.raises(UsageError, match=r"inputs is float32 of shape \(7, 2\)"):
        predict(embedded, x[:, :2])
    x[3, 1] = np.nan
    with pytest.raises(UsageError, match="row 3 of inputs"):
        predict(embedded, x)


def test_heads_that_stay_with_clients_are_not_handed_out(tmp_path: Path) -> None:
    result = simulate(
        RunConfig(**SMALL), strategy="local", out=str(tmp_path / "run"), progress=False
    )
    with pytest.raises(UsageError, match="there is no global head"):
        _ = result.head
    assert result.trained is None


def test_a_comparison_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draws = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (np.eye(3)[y] * 2 + draws.normal(size=(120, 3))).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    config = RunConfig(data=f"features:{tmp_path / 'x.npz'}", clients=3, engine="inline", rounds=2)
    result = compare(["fedavg", "fed3r"], config, seeds=2, alpha=[0.3, 3], out=str(tmp_path / "c"))
    assert "runs 8/8" in capsys.readouterr().out
    assert len(result.runs) == 8
    table = result.summary
    assert list(table["alpha"]) == [0.3, 0.3, 3.0, 3.0]
    for _, row in table.iterrows():
        chosen = (result.runs["strategy"] == row["strategy"]) & (
            result.runs["alpha"] == row["alpha"]
        )
        accuracy = result.runs["federated_accuracy"][chosen].mean()
        assert row["accuracy"] == pytest.approx(accuracy)
    shown = re.findall("<td>(fed[a-z0-9]+)</td>", result._repr_html_())
    assert shown == list(table["strategy"])
    assert result.report(tmp_path / "page.html").exists()
    pd.testing.assert_frame_equal(ComparisonResult.load(tmp_path / "c").summary, table)


def test_mistakes_are_errors_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Unknown key 'learning-rat' in simulate\(\)"):
        simulate(learning_rat=0.1)
    with pytest.raises(FedtlError, match="there is no such folder or file"):
        simulate(data=str(tmp_path / "nowhere"), out=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()
