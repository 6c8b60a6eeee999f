"""The unseen site: it takes part in nothing, and its scores are what anyone would compute."""

from __future__ import annotations

import csv
import functools
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from in_process import complaint, finished
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import binomtest
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from fedtl import simulate
from fedtl.client.policy import configuration_here
from fedtl.client.site_store import kept_site
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.observers.run_folder import RunFolder
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.runs.dealt_site import prepare_dealt

CHOSEN = True

SITES = ("east", "north", "south", "west")
UNSEEN = "south"
CLASSES, WIDTH, ROWS, ROUNDS = 3, 6, 240, 3
Arrays = dict[str, NDArray[Any]]


def _arrays() -> Arrays:
    """Features of three classes at four sites, each with its own shift; a fifth is test split."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, ROWS)
    site = rng.integers(0, len(SITES), ROWS)
    centres, shift = rng.normal(size=(CLASSES, WIDTH)), rng.normal(size=(len(SITES), WIDTH))
    x = 1.5 * centres[y] + 0.7 * shift[site] + rng.normal(size=(ROWS, WIDTH))
    return {
        "x": x.astype(np.float32),
        "y": y,
        "site": np.array(SITES)[site],
        "test": rng.random(ROWS) < 0.2,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, the same with another unseen site, and the same without that site."""
    root = tmp_path_factory.mktemp("data")
    arrays = _arrays()
    np.savez(root / "data.npz", **arrays)
    away = arrays["site"] == UNSEEN
    rng = np.random.default_rng(1)
    x, y, test = arrays["x"].copy(), arrays["y"].copy(), arrays["test"].copy()
    x[away] = 40 * rng.normal(size=x[away].shape)
    y[away] = rng.integers(0, CLASSES, away.sum())
    test[away] = ~test[away]
    np.savez(root / "other.npz", x=x, y=y, site=arrays["site"], test=test)
    np.savez(root / "without.npz", **{name: value[~away] for name, value in arrays.items()})
    return root


def _run(out: Path, data: Path, *flags: object) -> Path:
    common = ("--engine", "inline", "--partition", "natural", "--rounds", ROUNDS, "--quiet")
    end = finished(simulate.main, "--data", f"features:{data}", "--out", out, *common, *flags)
    assert end.exit_code == 0, end.stderr
    return out


def _federation(strategy: str, partition: str) -> tuple[object, ...]:
    return ("--strategy", strategy, "--partition", partition, "--clients", 3)


PLAIN = _federation("fedavg", "natural")
AWAY = ("--holdout-site", UNSEEN)


@pytest.fixture(scope="module")
def ran(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a run on one of the files with some flags; what was run before is not run again."""

    @functools.cache
    def run(name: str, *flags: object) -> Path:
        return _run(tmp_path_factory.mktemp("ran") / name, folder / f"{name}.npz", *flags)

    return run


def _summary(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


def _rows(run: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((run / name).read_text())))


def _learnt(run: Path) -> dict[str, Any]:
    """Return what a run says of the sites that took part, but for times, memory and bytes."""
    summary = _summary(run)
    apart = ("unseen_site", "seconds", "peak_rss_mb", "bytes_up", "bytes_down", "scored_on", "data")
    for key in apart:
        summary.pop(key, None)
    summary["on_new_data"].pop("scored_on")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clients = [
        {key: value for key, value in row.items() if "unseen" not in key}
        for row in _rows(run, "clients.csv")
    ]
    return {
        "summary": summary,
        "metrics": [{k: v for k, v in row.items() if k != "seconds"} for row in metrics],
        "clients": clients,
        "head": (run / "head.safetensors").read_bytes(),
    }


def test_a_list_of_rows_may_not_name_the_unseen(folder: Path, tmp_path: Path) -> None:
    away = int(np.flatnonzero((_arrays()["site"] == UNSEEN) & ~_arrays()["test"])[0])
    (tmp_path / "parts.json").write_text(json.dumps([[away]]))
    flags = ["--data", f"features:{folder / 'data.npz'}", "--holdout-site", UNSEEN]
    flags += ["--partition", f"file:{tmp_path / 'parts.json'}", "--engine", "inline", "--quiet"]
    end = finished(simulate.main, *flags, "--out", tmp_path / "run")
    assert end.exit_code == 2
    assert f"holds row {away}, which belongs to the holdout-site" in end.stderr


# --- it influences nothing ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["fedavg", "fed3r"])
@pytest.mark.parametrize("partition", ["natural", "dirichlet"])
def test_whatever_the_unseen_site_holds_the_others_learn_the_same(
    strategy: str, partition: str, ran: Callable[..., Path]
) -> None:
    flags = _federation(strategy, partition)
    one, two = (ran(name, *flags, *AWAY) for name in ("data", "other"))
    without = ran("without", *flags)
    assert _learnt(one) == _learnt(two)
    assert _summary(one)["bytes_up"] == _summary(two)["bytes_up"]
    assert _summary(one)["unseen_site"] != _summary(two)["unseen_site"]
    # Nor does it matter that the site is there at all.
    assert _learnt(one)["head"] == _learnt(without)["head"]
    for key in ("clients", "summary"):
        assert _learnt(one)[key] == _learnt(without)[key]
    rounds = [
        [{k: v for k, v in row.items() if k != "bytes_up"} for row in _learnt(run)["metrics"]]
        for run in (one, without)
    ]
    assert rounds[0] == rounds[1]


def test_no_head_goes_anywhere_it_did_not_go_before(ran: Callable[..., Path]) -> None:
    with_site, without = ran("data", *PLAIN, *AWAY), ran("without", *PLAIN)
    scores = {
        f"{head}unseen-{key}"
        for head in ("", "local-only-")
        for key in ("num-examples", "loss", "accuracy", "correct", "examples", "clusters")
    }
    for ours, theirs in zip(
        _rows(with_site, "egress.csv"), _rows(without, "egress.csv"), strict=True
    ):
        if ours["record"] == "metrics" and int(ours["round"]) == ROUNDS + 1:
            assert set(ours["shape"].split()) - set(theirs["shape"].split()) == scores
        else:
            assert ours == theirs


# --- the scores are right -------------------------------------------------------------------------


def test_the_scores_are_those_of_the_heads(folder: Path, tmp_path: Path) -> None:
    """The shared head from its file; the pooled and the own ones by scikit-learn's ridge."""
    penalty = 0.5
    flags = ("--strategy", "fed3r", "--ridge-penalty", penalty, *AWAY)
    run = _run(tmp_path / "run", folder / "data.npz", *flags)
    site, data = _summary(run)["unseen_site"], _arrays()
    away = data["site"] == UNSEEN
    x, y = data["x"].astype(np.float64), data["y"]

    def scores(predicted: NDArray[Any]) -> dict[str, float]:
        right = binomtest(int((y[away] == predicted).sum()), int(away.sum()))
        low, high = right.proportion_ci(method="wilson")
        return {
            "accuracy": float(accuracy_score(y[away], predicted)),
            "balanced_accuracy": float(balanced_accuracy_score(y[away], predicted)),
            "accuracy_low": low,
            "accuracy_high": high,
        }

    def ridge(rows: list[int]) -> dict[str, float]:
        scaler = StandardScaler().fit(x[rows])
        model = Ridge(alpha=penalty * WIDTH).fit(
            scaler.transform(x[rows]), np.eye(CLASSES)[y[rows]]
        )
        return scores(model.predict(scaler.transform(x[away])).argmax(1))

    head = load_file(run / "head.safetensors")
    predicted = (x[away] @ head["weight"].T + head["bias"]).argmax(1)
    assert site["federated"] == pytest.approx(scores(predicted), abs=1e-9)
    clients = json.loads((run / "partition.json").read_text())["clients"]
    pooled = ridge([row for one in clients for row in one["train"]])
    assert site["centralised"] == pytest.approx(pooled, abs=1e-9)
    rows, own, solved = _rows(run, "clients.csv"), [], 0
    for row, client in zip(rows, clients, strict=True):
        told = {m: float(row[f"local_only_unseen_{m}"]) for m in ("accuracy", "balanced_accuracy")}
        if row["local_only_method"] == "ridge":
            solved += 1
            alone = ridge(client["train"])
            assert told == pytest.approx({m: alone[m] for m in told}, abs=1e-6)
        own.append(told)
    assert solved
    best = max(range(len(own)), key=lambda client: own[client]["accuracy"])
    told_best = {key: site["local_only_best"][key] for key in ("client", *own[best])}
    assert told_best == pytest.approx({"client": best, **own[best]}, abs=1e-6)
    for measure in ("accuracy", "balanced_accuracy"):
        mean = np.mean([scores[measure] for scores in own])
        assert site["local_only_mean"][measure] == pytest.approx(mean, abs=1e-6)
    assert site["own_heads"] == len(own) == len(SITES) - 1
    assert site["own_heads_beaten"] == sum(
        site["federated"]["accuracy"] > scores["accuracy"] for scores in own
    )
    assert (site["name"], site["examples"]) == (UNSEEN, away.sum())
    tested = int((data["test"] & ~away).sum())
    told = _summary(run)["on_new_data"]["scored_on"]
    assert told == f"a test split that belongs to no client without {UNSEEN} ({tested} examples)"


# --- the same however it is run -------------------------------------------------------------------


def _said(run: Path) -> tuple[dict[str, Any], Any, bytes]:
    return _learnt(run), _summary(run)["unseen_site"], (run / "clients.csv").read_bytes()


@pytest.mark.usefixtures("shared_ray")
def test_actors_change_nothing(ran: Callable[..., Path]) -> None:
    inline, ray = (ran("data", *PLAIN, *AWAY, *engine) for engine in ((), ("--engine", "ray")))
    assert _said(ray) == _said(inline)


def test_a_resumed_run_says_the_same(
    folder: Path, ran: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ran("data", *PLAIN, *AWAY)
    keep = RunFolder.checkpoint

    def cut_off(run: RunFolder, checkpoint: Any) -> None:
        keep(run, checkpoint)
        if checkpoint.server_round == 2:
            raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "checkpoint", cut_off)
        with pytest.raises(AssertionError, match="the power went"):
            _run(tmp_path / "cut", folder / "data.npz", *PLAIN, *AWAY)
    assert not (tmp_path / "cut" / "summary.json").exists()
    assert finished(simulate.main, "--resume", tmp_path / "cut", "--quiet").exit_code == 0
    assert _said(tmp_path / "cut") == _said(whole)


def _context(config: RunConfig, partition_id: int, **own: str) -> Context:
    return Context(
        run_id=1,
        node_id=2 + partition_id,
        node_config={"partition-id": partition_id, "num-partitions": 3, **own},
        state=RecordDict(),
        run_config=config.to_mapping(),
    )


def test_flowers_runtimes_find_the_same_rows_at_every_message(folder: Path, tmp_path: Path) -> None:
    data = f"features:{folder / 'data.npz'}"
    config = RunConfig(
        data=data, partition="natural", clients=3, holdout_site=UNSEEN, cache=str(tmp_path)
    )
    context = _context(config, 1)
    first = kept_site(config.settled(), prepare_dealt, context)
    again = kept_site(config.settled(), prepare_dealt, context)  # from what the first left
    away = np.flatnonzero(_arrays()["site"] == UNSEEN)
    for site in (first, again):
        assert site.data.unseen.tolist() == away.tolist()
        assert np.intersect1d(away, np.concatenate([site.data.train, site.data.test])).size == 0


def test_a_site_that_brings_its_own_data_says_what_to_do_instead(
    folder: Path, tmp_path: Path
) -> None:
    config, own = RunConfig(holdout_site=UNSEEN), f"features:{folder / 'data.npz'}"
    with pytest.raises(UsageError, match="brings its own data; leave the hospital unconnected"):
        configuration_here(_context(config, 0, data=own, cache=str(tmp_path)))


def test_the_backbone_sees_the_pictures_of_the_unseen_site_once(tmp_path: Path) -> None:
    small = {"hospitals_images": 160, "hospitals_test_images": 40, "hospitals_size": 32}
    config = RunConfig(cache=str(tmp_path), partition="natural", **small)  # type: ignore[arg-type]
    assert prepare_inputs(config, open_data(config), None).computed == 200
    for site in ("Alder", "Dogwood"):
        held = config.replace(holdout_site=site)
        assert prepare_inputs(held, open_data(held), None).computed == 0


# --- what is said ---------------------------------------------------------------------------------


def test_classes_that_nobody_could_learn_are_named(folder: Path, tmp_path: Path) -> None:
    arrays = _arrays()
    away = np.flatnonzero(arrays["site"] == UNSEEN)
    arrays["y"][away[:5]] = CLASSES
    np.savez(tmp_path / "more.npz", **arrays)
    run = _run(tmp_path / "run", tmp_path / "more.npz", *AWAY)
    assert _summary(run)["unseen_site"]["unlearnt_classes"] == ["3"]
    page = html.unescape((run / "report.html").read_text())
    assert "No client has south's 3: no head can know" in page


def test_each_site_in_turn_is_a_run_of_its_own(folder: Path, tmp_path: Path) -> None:
    flags = ("--strategy", "fed3r")
    run = _run(tmp_path / "all", folder / "data.npz", *flags, "--holdout-site", "each")
    told = {site["name"]: site for site in _summary(run)["unseen_sites"]}
    assert list(told) == sorted(SITES)
    assert "unseen_site" not in _summary(run)
    matrix = {row["head"]: row for row in _rows(run, "unseen_sites.csv")}
    for site in SITES[:2]:
        alone = _run(tmp_path / site, folder / "data.npz", *flags, "--holdout-site", site)
        assert told[site] == _summary(alone)["unseen_site"]
        for client in _rows(alone, "clients.csv"):
            own = matrix[client["name"]][site]
            assert own == client["local_only_unseen_accuracy"]
        assert matrix[site][site] == matrix[site][f"{site}_low"] == ""
    page = (run / "report.html").read_text()
    (section,) = re.findall(r'<section id="unseen-sites">(.*?)</section>', page, re.DOTALL)
    shown = dict(re.findall(r'title="(\S+(?: local-only)? on \S+): ([^"]*)"', section))
    assert len(shown) == (1 + len(SITES)) * len(SITES), "two shared heads and every other site's"
    for site, one in told.items():
        ours = one["federated"]
        interval = f"{100 * ours['accuracy_low']:.1f} to {100 * ours['accuracy_high']:.1f}"
        accuracy = f"{100 * ours['accuracy']:.1f}% (95 % interval {interval})"
        row = matrix["federated"]
        assert [row[site], row[f"{site}_low"], row[f"{site}_high"]] == [
            f"{ours[key]:.6f}" for key in ("accuracy", "accuracy_low", "accuracy_high")
        ]
        assert shown[f"federated on {site}"].startswith(accuracy)
        assert f"{site} local-only on {site}" not in shown
    lone = tmp_path / "lone.npz"
    arrays = _arrays()
    del arrays["site"]
    np.savez(lone, **arrays)
    said = complaint(
        simulate.main, "--data", f"features:{lone}", "--holdout-site", "each", "--engine", "inline"
    )
    assert "holdout-site = each needs the site of each input" in said
