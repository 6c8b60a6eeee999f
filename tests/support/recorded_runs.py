"""Two federations for every strategy, and the ways to run them: the heads are those on record."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from flower_processes import PROJECT, flwr_run, stop_daemon, warm_flower
from in_process import finished

import strategies
from fedtl import simulate
from simulations.real_sites import federation as real_sites

Scalar = str | int | float | bool
Configuration = dict[str, Scalar]

# Rows of each of three classes at each site; the fewest hostile that bulyan tolerates is one of 7.
SITES = ((9, 14, 22), (31, 8, 8), (8, 8, 30), (12, 40, 9), (25, 25, 25), (8, 9, 10), (16, 8, 12))
WIDTH = 7
_FEATURES: Configuration = {"clients": len(SITES), "rounds": 3, "fraction": 0.7, "seed": 5}
_FEATURES |= {"partition": "natural", "test-fraction": 0.0, "min-examples-per-class": 5}
_HOSPITALS: Configuration = {"clients": 3, "rounds": 2, "dropout": 0.3, "seed": 2, "alpha": 1.0}
_HOSPITALS |= {"hospitals-images": 150, "hospitals-test-images": 20, "hospitals-size": 32}
# Of a site with data of its own.
_OF_A_SIMULATION = ("cache", "partition", "test-fraction")
# What some strategies need, or only then show what they have.
_OWN: dict[str, Configuration] = {
    "fedper": {"head": "mlp", "hidden-units": 6},
    "fedsoftmax": {"fraction": 1.0},
}
_ROBUST = ("bulyan", "fedmedian", "fedtrimmedavg", "geomedian", "krum", "multikrum")
# What goes wrong at clients is a simulation's alone.
_ADVERSE: dict[str, Configuration] = {
    "label-flip": {"strategy": "fedavg", "attack": "label-flip"},
    "sign-flip": {
        "strategy": "multikrum",
        "attack": "sign-flip",
        "fraction": 1.0,
        "byzantine": 0.2,
    },
    "noise": {"strategy": "scaffold", "attack": "noise", "straggle": 0.5},
    "scale": {"strategy": "ditto", "attack": "scale", "dropout": 0.2},
}


def runs() -> Iterator[tuple[str, str, Configuration]]:
    """Yield a federation's name, a run's, and its configuration without its data."""
    for name in strategies.available():
        if strategies.load(name).takes_texts:
            continue  # neither features nor the backbone of the hospitals read class names
        own = {"strategy": name, **_OWN.get(name, {})}
        one_hostile = {"fraction": 1.0, "byzantine": 0.15} if name in _ROBUST else {}
        yield "features", name, _FEATURES | one_hostile | own
        yield "hospitals", name, _HOSPITALS | own
    for name, adverse in _ADVERSE.items():
        yield "features", name, _FEATURES | {"attackers": 0.3} | adverse


def write_sites(folder: Path) -> None:
    """Write the sites' features, each site's own and all in one file."""
    draws = np.random.default_rng(1)
    centres = draws.normal(size=(3, WIDTH))
    found = []
    for site, held in enumerate(SITES):
        y = np.repeat(np.arange(3), held)
        x = 0.7 * centres[y] + draws.normal(size=(len(y), WIDTH)) * np.linspace(0.2, 3, WIDTH)
        found.append((x.astype(np.float32), y, np.full(len(y), f"site-{site}")))
        np.savez(folder / f"{site}.npz", x=found[-1][0], y=y)
    x, y, site_of = (np.concatenate(parts) for parts in zip(*found, strict=True))
    np.savez(folder / "all.npz", x=x, y=y, site=site_of)


class Ways:
    """The ways to run, each a method that returns the digest of the head.

    Args:
        folder: Where the sites' features are, and runs go.
        stack: Ends what was started.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._number = folder, stack, itertools.count()
        self._data = {"features": {"data": f"features:{folder / 'all.npz'}"}, "hospitals": {}}
        self._federations: dict[str, real_sites.Federation] = {}
        write_sites(folder)

    def run(self, way: str, federation: str, config: Configuration) -> str:
        """Run one way: inline, ray-1, ray-2, ray-3, flwr-run or sites."""
        out = self._folder / f"run{next(self._number)}"
        config = config | {"out": str(out), "cache": str(self._folder / "cache")}
        name, _, actors = way.partition("-")
        if name in ("flwr", "sites") and not (self._folder / "warm").exists():
            self._stack.enter_context(warm_flower(self._folder / "warm"))
        if name == "sites":
            self._at_sites(federation, config)
        else:
            config |= self._data[federation]
            if name == "flwr":
                self._by_flower(config)
            else:
                config |= {"engine": name, "client-cpus": 2 / int(actors or 1)}
                flags = [f"--{key}={value}" for key, value in config.items()]
                end = finished(simulate.main, "--quiet", *flags)
                assert end.exit_code == 0, end.stderr
        return str(json.loads((out / "summary.json").read_text())["head_sha256"])

    def _by_flower(self, config: Configuration) -> None:
        home = self._folder / "home"
        if not home.exists():
            self._stack.callback(stop_daemon, home)
        printed = flwr_run(config, home, self._folder)
        assert (Path(str(config["out"])) / "summary.json").exists(), printed

    def _at_sites(self, federation: str, config: Configuration) -> None:
        if federation not in self._federations:
            self._federations[federation] = self._started(federation, int(config["clients"]))
        config = {key: value for key, value in config.items() if key not in _OF_A_SIMULATION}
        ran = self._federations[federation].run(config, PROJECT)
        assert ran.status == "finished:completed", ran.printed

    def _started(self, federation: str, count: int) -> real_sites.Federation:
        """Start a server, and sites: with features of their own, or told which to render."""
        folder = self._folder / f"of-{federation}"
        folder.mkdir()
        own: dict[str, dict[str, Scalar]] = {}
        for site in range(count):
            data = {"data": f"features:{self._folder / f'{site}.npz'}"}
            own[f"site-{site}"] = {
                "partition-id": site,
                "num-partitions": count,
                "cache": str(folder / f"cache{site}"),
                **(data if federation == "features" else {"simulated": True}),
            }
        started = self._stack.enter_context(real_sites.server(folder, lambda command: None))
        self._stack.enter_context(real_sites.sites(started, own))
        return started
