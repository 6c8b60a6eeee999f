"""One app, three ways to run, the same bytes: our engine, ``flwr run``, and real sites over TLS."""

from __future__ import annotations

import csv
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower_processes import PROJECT, flwr_run, stop_daemon, warm_flower
from in_process import finished
from PIL import Image
from witness import BAIT, write_witness

from fedtl import simulate
from simulations.real_sites import federation as real_sites
from simulations.real_sites.keys import make_key
from simulations.real_sites.processes import environment, process

CHOSEN = True

SITES = ("east", "north", "west")
# What could come out differently: clients remember their control variates, the start is a closed
# form's head and, where clients are simulated, one is missing from the first round and another, by
# this seed, from the second.
COMMON: dict[str, str | int | float | bool] = {
    "clients": 3,
    "rounds": 2,
    "seed": 2,
    "strategy": "scaffold",
    "init": "fed3r",
}
DROPOUT = {"dropout": 0.3}
# What a hostile server asks of the sites, each beside something that is there to be taken.
HOSTILE = {
    "data": "BAIT/pictures",
    "weights": "BAIT/weights.pth",
    "cache": "BAIT/cache",
    "labels": "BAIT/labels.csv",
    "partition": "file:BAIT/parts.json",
    "attack": "sign-flip",
    "strategy": f"{BAIT}:Strategy",
    "init": f"{BAIT}:Strategy",
}


@pytest.fixture(scope="module")
def site_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites of class/file: stripes that run down or across, under each site's own tint."""
    root = tmp_path_factory.mktemp("sites")
    rng = np.random.default_rng(0)
    for site, name in enumerate(SITES):
        for label in ("across", "down"):
            folder = root / name / label
            folder.mkdir(parents=True)
            for index in range(12 + 4 * site):
                wave = np.sin(np.arange(32) * rng.uniform(0.5, 1.5) + rng.uniform(0, 6))
                grey = np.broadcast_to(wave if label == "down" else wave[:, None], (32, 32))
                tint = np.array([90, 100, 110 + 20 * site])
                noisy = 128 + grey[..., None] * tint + rng.normal(0, 40, (32, 32, 3))
                pixels = noisy.clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def simulated(
    site_folders: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The summary of our own engine's run for each of the others, each site a client."""
    folder, found = tmp_path_factory.mktemp("simulated"), {}
    for way, further in {"flwr run": DROPOUT, "real sites": {}}.items():
        flags = [f"--{key}={value}" for key, value in (COMMON | further).items()]
        flags += [f"--data={site_folders}", f"--out={folder / way}", f"--cache={folder / 'cache'}"]
        end = finished(simulate.main, "--quiet", "--engine=inline", "--partition=natural", *flags)
        assert end.exit_code == 0, end.stderr
        found[way] = _summary(folder / way)
    return found


def _summary(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return content


def _flwr_run(sites: Path, folder: Path) -> Path:
    """Run Flower's own simulation; return the run folder."""
    home, out = folder / "home", folder / "run"
    config = COMMON | {
        **DROPOUT,
        "data": str(sites),
        "partition": "natural",
        "out": str(out),
        "cache": str(folder / "cache"),
    }
    try:
        scenario = {**config, "compare": {"strategies": "scaffold"}}
        printed = flwr_run(scenario, home, folder, actors=1)
        (folder / "printed.txt").write_text(printed)
    finally:
        stop_daemon(home)
    return out


def _real_sites(sites: Path, folder: Path) -> Path:
    """Run three sites over TLS, each with its own folder and key; return the run folder.

    Three more that must not take part knock meanwhile, and a hostile run is submitted beside ours.
    """
    bait, out = folder / BAIT, folder / "run"
    own: dict[str, dict[str, str | int | float | bool]] = {
        name: {
            "partition-id": place,
            "num-partitions": len(SITES),
            "data": str(sites / name),
            "cache": str(folder / f"cache{place}"),
        }
        for place, name in enumerate(SITES)
    }
    env = {"PYTHONPATH": _path(folder / "watched"), "WITNESS": str(folder / "witness.txt")}
    # The hostile server has the class that it asks of the sites.
    (folder / "servers").mkdir()
    shutil.copy(folder / "watched" / f"{BAIT}.py", folder / "servers")
    servers = {"PYTHONPATH": _path(folder / "servers")}
    with (
        real_sites.server(folder, lambda command: None, servers) as federation,
        real_sites.sites(federation, own, env),
        ExitStack() as stack,
    ):
        key = make_key(folder, "stranger", lambda command: None)
        trusts = ("--root-certificates", str(federation.authority))
        strangers = {
            "without a key": trusts,
            "unregistered": (*trusts, "--auth-supernode-private-key", str(key)),
            "plain": ("--insecure", "--max-retries", "1"),
        }
        knocking = {}
        for name, flags in strangers.items():
            command = federation.supernode({**own["east"], "cache": str(bait / "no")}, *flags)
            command += ["--isolation", "process"]  # starts nothing that would wait for messages
            place = folder / name.replace(" ", "-")
            knocking[name] = stack.enter_context(process(command, environment(place), place))
        hostile = {key: value.replace("BAIT", str(bait)) for key, value in HOSTILE.items()}
        hostile |= {"clients": 3, "out": str(folder / "never")}
        scenario = {**COMMON, "out": str(out), "compare": {"strategies": "scaffold"}}
        with ThreadPoolExecutor(2) as pool:
            ours, theirs = pool.map(lambda run: federation.run(run, PROJECT), [scenario, hostile])
        (folder / "printed.txt").write_text(ours.printed)
        (folder / "hostile.txt").write_text(f"{theirs.status}\n{theirs.printed}")
        (folder / "online.txt").write_text(str(federation.online()))
        for name, started in knocking.items():
            ended = started.child.poll()
            (folder / f"{name}.txt").write_text(f"{ended}\n{started.log.read_text()}")
    return out


@pytest.fixture(scope="module")
def runs(site_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run folders of Flower's two runtimes, which mostly wait and so run side by side."""
    ways = {"flwr run": _flwr_run, "real sites": _real_sites}
    folders = {name: tmp_path_factory.mktemp(name.replace(" ", "-")) for name in ways}
    path = _path(write_witness(folders["real sites"]))
    with (
        warm_flower(tmp_path_factory.mktemp("flower") / "warm", {"PYTHONPATH": path}),
        ThreadPoolExecutor(len(ways)) as pool,
    ):
        started = {
            name: pool.submit(way, site_folders, folders[name]) for name, way in ways.items()
        }
        return {name: future.result() for name, future in started.items()}


def _path(folder: Path) -> str:
    """Return a ``PYTHONPATH`` that begins with a folder."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def _without_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    by_class = ("metrics", "balanced_accuracy")
    scored = {
        way: {name: value for name, value in summary[way].items() if name not in by_class}
        for way in ("federated", "local_only")
    }
    return {**summary, **scored}


@pytest.mark.parametrize("way", ["flwr run", "real sites"])
def test_the_same_bytes_come_out(
    way: str, simulated: dict[str, dict[str, Any]], runs: dict[str, Path]
) -> None:
    # flwr run exits with 0 whatever became of the run: only what it wrote tells.
    printed = (runs[way].parent / "printed.txt").read_text()
    assert (runs[way] / "summary.json").exists(), printed
    theirs = _summary(runs[way])
    ours = simulated[way]
    if way == "real sites":
        # Sites with data of their own tell no count below five of a class.
        ours, theirs = _without_metrics(ours), _without_metrics(theirs)
    for key in ("head_sha256", "federated", "local_only", "backbone_fingerprint", "failures"):
        assert theirs[key] == ours[key], key
    missing = [(failure["round"], failure["client"]) for failure in theirs["failures"]]
    assert missing == ([(1, 1), (2, 0)] if way == "flwr run" else [])


def test_each_sites_own_ledger_is_the_servers(runs: dict[str, Path]) -> None:
    folder, columns = runs["real sites"].parent, ("round", "direction", "record", "shape", "bytes")
    servers = _table(runs["real sites"] / "egress.csv")
    for place in range(len(SITES)):
        theirs = [
            [line[key] for key in columns] for line in servers if line["client"] == f"{place}"
        ]
        own = _table(folder / f"cache{place}" / "ledger" / "ledger.csv")
        refused = [line["run"] for line in own if line["error"].startswith("7002: ")]
        ours = [[line[key] for key in columns] for line in own if line["run"] not in refused]
        assert ours == theirs
        assert len(ours) > 12
        assert len(refused) == 1
        assert {len(line["sha256"]) for line in own} == {64}


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_nobody_takes_part_without_a_registered_key_or_without_tls(runs: dict[str, Path]) -> None:
    folder = runs["real sites"].parent
    assert (folder / "online.txt").read_text() == "3"
    assert "SuperNode authentication is enabled" in _knocked(folder / "without a key.txt")
    assert "Failed to activate SuperNode" in _knocked(folder / "unregistered.txt")
    _knocked(folder / "plain.txt")


def _knocked(told: Path) -> str:
    """Return what a SuperNode said that must have given up."""
    code, _, log = told.read_text().partition("\n")
    assert code not in ("None", "0"), log
    return log


def test_a_hostile_servers_keys_are_refused_at_every_site(runs: dict[str, Path]) -> None:
    folder = runs["real sites"].parent
    status, _, told = (folder / "hostile.txt").read_text().partition("\n")
    assert status == "finished:failed"
    assert told.count(
        "This site refuses attack, cache, data, init = module:Class, labels, partition, "
        "strategy = module:Class, weights (its node config may allow it: "
    ) == len(SITES)
    # The witness saw the sites read their own pictures, and nothing that the server named.
    seen = (folder / "witness.txt").read_text()
    assert all(f"{name}/down" in seen for name in SITES)
    assert BAIT not in seen
    assert not (folder / "never").exists() or not (folder / "never" / "summary.json").exists()
    assert sorted(path.name for path in (folder / BAIT).iterdir()) == [
        "labels.csv",
        "parts.json",
        "pictures",
        "weights.pth",
    ]
