"""Options beside what uses them: keys, types, ranges; a user's own strategy has them, too."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from in_process import complaint, finished
from installed import installed

import strategies
from fedtl import compare, console, known_options, registry, simulate
from fedtl.command_line import _further
from fedtl.config import RunConfig
from fedtl.config_file import from_flower, from_mapping, from_toml
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.flower_keys import flower_keys
from fedtl.known_options import options_of, shipped_options
from fedtl.options import Choice, Integer, Number, Options, Range, Switch, Text, declared
from strategies.base.search import ranges_of

MINE = '''
from strategies.base import Integer, Number, Options, Range, Switch
from strategies.fedavg import FedAvg


class Mine(FedAvg):
    """FedAvg that goes a part of the way."""

    options = Options(
        beta=Number(1.0, "Share of the way.", low=0.0, high=1.0, tune=Range(0.1, 1.0)),
        after=Integer(0, "Rounds before it does.", low=0, high=9),
        whole=Switch(False, "Go all the way."),
    )

    def aggregate(self, server_round, head, replies):
        mean = super().aggregate(server_round, head, replies)
        way = self.options.beta
        if mean is None or self.options.whole or server_round <= self.options.after or way == 1:
            return mean
        return {n: (head[n] + way * (mean[n] - head[n])).astype("float32") for n in mean}
'''

# The same, of FedProx, whose option has another default here.
PULLED = MINE.replace("import FedAvg", "import FedProx").replace("FedAvg):", "FedProx):")
PULLED = PULLED.replace("strategies.fedavg", "strategies.fedprox").replace(
    "Options(\n", 'Options("fedprox", mu=Number(0.7, "Pull.")) | Options(\n', 1
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that holds a strategy of the user's own, and data."""
    draws = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (np.eye(3, 5)[y] + draws.normal(size=(120, 5))).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


FLAGS = ("--data", "features:x.npz", "--clients", 3, "--rounds", 2, "--engine", "inline")


def run(*flags: object) -> dict[str, Any]:
    end = finished(simulate.main, "--json", *FLAGS, *flags)
    assert end.exit_code == 0, end.stderr
    told: dict[str, Any] = json.loads(end.stdout)
    return told


@pytest.mark.parametrize(
    "flags",
    [
        ("--set", "beta=0.25"),
        ("--set", "beta=0.25 after=0"),
        ("--beta", "0.25"),
        ("--beta=0.25", "--whole", "false"),
    ],
)
def test_an_option_of_a_users_own_strategy_is_given_in_many_ways(
    folder: Path, flags: tuple[str, ...]
) -> None:
    plain, own = run("--out", "plain"), run("--strategy", "mine:Mine", *flags, "--out", "own")
    assert own["head_sha256"] != plain["head_sha256"]
    assert "beta = 0.25\nafter = 0\nwhole = false\n" in Path("own/config.toml").read_text()
    table = {"strategy": "mine:Mine", "beta": 0.25}
    Path("scenario.toml").write_text(tomli_w.dumps(table))
    in_file = run("--config", "scenario.toml", "--out", "in-file")
    assert in_file["head_sha256"] == own["head_sha256"]
    again = run("--config", "own/config.toml", "--out", "again")
    assert again["head_sha256"] == own["head_sha256"]
    # As Flower takes it, whose -c knows no key of a user's own.
    config = from_mapping({"strategy": "mine:Mine", "set": "beta=0.25"}, where="a test")
    assert config == from_toml(Path("scenario.toml"))
    assert run("--strategy", "mine:Mine", "--out", "one")["head_sha256"] == plain["head_sha256"]


def test_a_comparison_takes_several_values_and_tunes(folder: Path) -> None:
    flags = (*FLAGS, "--strategies", "fedavg,mine:Mine", "--seeds", 1, "--out", "compared")
    end = finished(compare.main, *flags, "--beta", "0.25,1", "--quiet")
    assert end.exit_code == 0, end.stderr
    heads = {}
    for path in Path("compared/cells").glob("*.json"):
        heads[path.stem] = json.loads(path.read_text())["head_sha256"]
    assert len(heads) == 4
    assert heads["beta=0.25_seed=0_mine.Mine"] != heads["beta=0.25_seed=0_fedavg"]
    assert heads["beta=1.0_seed=0_mine.Mine"] == heads["beta=1.0_seed=0_fedavg"]
    assert finished(compare.main, "--resume", "compared", "--trust", "--quiet").exit_code == 0
    flags = (*FLAGS, "--strategies", "mine:Mine", "--seeds", 1, "--tune", 2, "--out", "tuned")
    end = finished(compare.main, *flags, "--quiet")
    assert end.exit_code == 0, end.stderr
    (found,) = Path("tuned/tuned").glob("*.json")
    assert {"learning-rate", "beta"} == json.loads(found.read_text())["chosen"].keys()


def test_a_switch_needs_no_value() -> None:
    for flags, found, alone in (
        (["--download"], "true", []),
        (["--download", "--max-length", "9"], "true", []),
        (["--download", "false"], "false", []),
        (["--download=false", "x"], "false", ["x"]),
        (["--download", "x"], "true", ["x"]),
    ):
        options, others = _further(flags, [])
        assert (options["download"], others) == (found, alone)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--beta", "2", "--strategy", "mine:Mine"), "beta = 2.0 is too large"),
        (("--beta", "much", "--strategy", "mine:Mine"), "beta = 'much' must be of type float"),
        (("--after", "1.5", "--strategy", "mine:Mine"), "after = '1.5' must be of type int"),
        (("--whole", "yes", "--strategy", "mine:Mine"), "whole = 'yes' must be of type bool"),
        (("--bta", "1", "--strategy", "mine:Mine"), "'--bta'; did you mean '--beta'?"),
        (("--set", "bta=1", "--strategy", "mine:Mine"), "did you mean '--beta'?"),
        (("--set", "beta", "--strategy", "mine:Mine"), "must be of the form 'key=value"),
        (("--strategy", "mine:Mine", "--beta"), "'--beta' is not known, or has no value"),
        (("--beta", "1"), "Unknown flag '--beta'"),
        (("stray",), "Unexpected argument 'stray'; settings are flags."),
        ((__file__,), f"settings are flags, such as --data {__file__!r}."),
        (
            ("--fedprox-mu", "1", "--strategy", "mine:Mine"),
            "fedprox-mu is an option of fedprox, and the run has strategy = mine:Mine",
        ),
        (("--byzantine", "0.2"), "an option of bulyan, fedmedian, fedtrimmedavg, geomedian, krum"),
    ],
)
def test_what_is_no_option_of_the_run_is_told_in_a_sentence(
    folder: Path, flags: tuple[str, ...], said: str
) -> None:
    assert said in complaint(simulate.main, *flags, *FLAGS)


def test_a_folders_own_strategy_is_not_asked_for_its_options_unless_trusted(folder: Path) -> None:
    run("--strategy", "mine:Mine", "--beta", "0.25", "--out", "own")
    sys.modules.pop("mine")
    assert "somebody may have sent" in complaint(simulate.main, "--resume", "own")
    assert "mine" not in sys.modules
    assert finished(simulate.main, "--resume", "own", "--trust", "--quiet").exit_code == 0


class Base:
    options = Options("base", size=Number(0.5, "Size.", low=0.0), kind=Choice("a", "Kind.", ("a",)))

    def __init__(self, config: RunConfig) -> None:
        self.config = config


class Derived(Base):
    options = Options("base", size=Number(2.0, "Size.", tune=Range(1.0, 3.0))) | Options(
        lambda_=Integer(3, "Number."), told=Text("", "Text."), on=Switch(True, "Whether.")
    )


def test_a_class_has_its_bases_options_and_may_declare_one_anew() -> None:
    assert list(declared(Base)) == ["base-size", "base-kind"]
    assert list(declared(Derived)) == ["base-size", "base-kind", "lambda", "told", "on"]
    assert declared(Derived)["base-size"].default == 2.0
    assert dict(ranges_of(Derived)) == {"base-size": Range(1.0, 3.0)}
    found = Derived(RunConfig(options=(("lambda", 7),))).options
    assert (found.size, found.kind, found.lambda_, found.told, found.on) == (2.0, "a", 7, "", True)
    assert Base(RunConfig()).options.size == 0.5


def test_an_option_that_is_as_by_default_makes_no_difference() -> None:
    config = RunConfig(strategy="fedprox")
    assert RunConfig(strategy="fedprox", fedprox_mu=0.1) == config
    assert RunConfig(strategy="fedprox", fedprox_mu=0.3) != config
    assert RunConfig(strategy="fedprox", fedprox_mu=0.3).replace(fedprox_mu=0.1) == config


def test_a_value_that_is_the_default_of_one_strategy_alone_is_kept(folder: Path) -> None:
    Path("mine.py").write_text(PULLED)
    for order in (("fedprox", "mine:Mine"), ("mine:Mine", "fedprox")):
        both = [("strategy", name) for name in order]
        base = from_mapping({"fedprox-mu": 0.1}, where="a test", others=both)
        for name in order:
            assert base.replace(strategy=name).option("fedprox-mu") == 0.1


def test_a_run_is_not_taken_up_with_an_option_that_it_does_not_read(folder: Path) -> None:
    run("--out", "plain")
    for value in ("0.1", "0.3"):
        said = complaint(simulate.main, "--resume", "plain", "--fedprox-mu", value)
        assert said.startswith("fedprox-mu is an option of fedprox, and the run has strategy = ")
    assert "Unknown flag '--fedprx-mu'" in complaint(
        simulate.main, "--resume", "plain", "--fedprx-mu", "1"
    )
    run("--strategy", "fedprox", "--out", "pulled")
    said = complaint(simulate.main, "--resume", "pulled", "--fedprox-mu", "0.3")
    assert said.startswith("--resume goes on with the run as it was configured, with fedprox-mu")
    assert finished(simulate.main, "--resume", "pulled", "--fedprox-mu", "0.1").exit_code == 0


def test_two_options_of_one_name_are_a_mistake() -> None:
    class Twice(Base):
        options = Options("other", size=Number(1.0, "Size."))

    with pytest.raises(TypeError, match="two options size: base-size and other-size"):
        declared(Twice)


def test_an_option_may_not_hide_a_key_of_every_run(folder: Path) -> None:
    Path("mine.py").write_text(MINE.replace("beta=", "clients="))
    with pytest.raises(UsageError, match="'mine:Mine' declares the option clients, which every"):
        options_of(("strategy", "mine:Mine"))


def test_every_shipped_option_has_a_sentence_limits_and_a_key_of_its_own() -> None:
    for key, known in shipped_options().items():
        assert key not in rules()
        assert known.option.help.endswith(".")
        assert known.owners
        if isinstance(known.option.default, float | int) and known.option.kind is not bool:
            assert known.option.high is not None, key


def test_the_first_page_of_help_fits_a_screen_and_needs_no_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for main in (simulate.main, compare.main):
        for flag in ("--help", "-h"):
            page = finished(main, flag).stdout.splitlines()
            assert len(page) <= 40
            assert max(map(len, page)) <= 80
            assert all(name in " ".join(page) for name in strategies.available())
            assert [line[:8] for line in page].count("  fedtl ") == 3


def test_help_of_a_strategy_shows_its_options(folder: Path) -> None:
    said = finished(simulate.main, "--help", "feddyn").stdout
    assert all(f"--{key} " in said for key in options_of(("strategy", "feddyn")))
    assert "at most 100000" in said and "[60]" in said and "One of examples, clients." in said
    assert "--beta " in finished(simulate.main, "-h", "mine:Mine").stdout
    assert "no options of its own" in finished(simulate.main, "-h", "fedavg").stdout
    assert "did you mean 'fedprox'?" in complaint(simulate.main, "--help", "fedprx")
    assert "--hospitals-focus" in finished(simulate.main, "--help", "all").stdout


def _console(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["fedtl", *words])
    console.main()


def test_the_command_fedtl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _console(monkeypatch, "--version")
    assert capsys.readouterr().out == "fedtl 0.2.0\n"
    _console(monkeypatch)
    told = capsys.readouterr().out
    assert all(name in told for name in console.COMMANDS)
    _console(monkeypatch, "simulate", "--help")
    assert capsys.readouterr().out.startswith("Usage: fedtl simulate")
    with pytest.raises(SystemExit):
        _console(monkeypatch, "simulte")
    assert "There is no command 'simulte'; did you mean 'simulate'?" in capsys.readouterr().err


def forget() -> None:
    """Look anew for what is installed, and for the options of that."""
    registry.forget()
    known_options._shipped.cache_clear()
    shipped_options.cache_clear()


def test_an_installed_distribution_brings_strategies_with_options(folder: Path) -> None:
    points = "[fedtl.strategies]\nlittle = tiny:Mine\nfedavg = tiny:Mine\n"
    with installed(folder / "site", "tiny", MINE.replace("beta=", "tiny_beta="), points):
        forget()
        assert "little" in strategies.available()
        assert "tiny-beta" in options_of(("strategy", "little"))
        assert "tiny-beta" not in shipped_options()
        assert strategies.load("fedavg").__module__ == "strategies.fedavg"
        assert "Share of the way." in finished(simulate.main, "--help", "little").stdout


def test_an_option_that_flower_fills_in_is_one_that_nobody_set(folder: Path) -> None:
    Path("mine.py").write_text(PULLED)
    filled = {**flower_keys(), "strategy": "mine:Mine"}
    del filled["compare"]
    assert from_flower(filled).option("fedprox-mu") == 0.7
    assert from_flower({**filled, "fedprox-mu": 0.3}).option("fedprox-mu") == 0.3
    assert "mine" in sys.modules
    assert from_flower({**filled, "strategy": "gone:Away"}).strategy == "gone:Away"
