"""Which strategies there are, and what a user hears who names one that there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import strategies
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.heads import LinearHead
from strategies.base import HeadStrategy

_MINE = """
from strategies.base import HeadStrategy
from strategies.fedavg import FedAvg

class Halved(FedAvg):
    def aggregate(self, server_round, head, replies):
        mean = super().aggregate(server_round, head, replies)
        return mean and {name: value / 2 for name, value in mean.items()}

class Unfinished(HeadStrategy):
    pass

def a_function():
    pass

not_a_strategy = dict
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a user's module with strategies, importable."""
    (tmp_path / "my_strategies.py").write_text(_MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "my_strategies"


def test_every_file_of_the_folder_is_a_strategy() -> None:
    files = {path.stem for path in Path(strategies.__path__[0]).glob("[!_]*.py")} - {"base"}
    assert set(strategies.available()) == files >= {"fedavg", "fed3r"}
    for name in strategies.available():
        found = strategies.load(name)
        assert issubclass(found, HeadStrategy)
        assert found.__module__ == f"strategies.{name}"


def test_the_default_strategy_is_available() -> None:
    assert RunConfig().strategy in strategies.available()


@pytest.mark.parametrize(("typed", "meant"), [("fedavgg", "fedavg"), ("fed3", "fed3r")])
def test_an_unknown_name_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"{typed!r} is not known.*did you mean {meant!r}"):
        strategies.load(typed)


@pytest.mark.parametrize("name", ["zzz", "", "base", "__init__", "fedavg:"])
def test_a_name_that_is_no_strategy_lists_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"afl, apfl, .*, textncm, or module:Class") as refusal:
        strategies.load(name)
    assert repr(name) in str(refusal.value)


def test_a_users_own_class_is_loaded_and_built(own_module: str) -> None:
    config = RunConfig(strategy=f"{own_module}:Halved")
    strategy = strategies.build(config, LinearHead(3, 2))
    assert type(strategy).__name__ == "Halved"
    assert strategy.config is config
    assert strategy.uplink == {"weight": (2, 3), "bias": (2,)}


@pytest.mark.parametrize("name", ["not_a_strategy", "a_function"])
def test_what_is_not_a_head_strategy_is_refused(own_module: str, name: str) -> None:
    with pytest.raises(UsageError, match="not a subclass of"):
        strategies.load(f"{own_module}:{name}")


def test_a_strategy_that_leaves_methods_unwritten_is_refused_by_their_names(
    own_module: str,
) -> None:
    with pytest.raises(UsageError, match="aggregate, client_train, train_alone, uplink"):
        strategies.load(f"{own_module}:Unfinished")


@pytest.mark.parametrize(
    "name",
    ["no_such_module:Mine", "my_strategies:Absent", ":Mine", ".relative:Mine", "a..b:Mine"],
)
def test_a_class_that_cannot_be_imported_is_told_in_a_sentence(own_module: str, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be loaded") as refusal:
        strategies.load(name)
    assert repr(name) in str(refusal.value)


@pytest.mark.parametrize("source", ["class Mine(", "raise KeyError('gone')", "undefined_name"])
def test_a_module_that_fails_while_imported_is_told_in_a_sentence(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken_strategy.py"
    path.write_text(f"import math\n\n{source}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    said = r"'broken_strategy:Mine' cannot be loaded: \w+Error: "
    with pytest.raises(UsageError, match=said) as refusal:
        strategies.load("broken_strategy:Mine")
    assert str(refusal.value).endswith(f" ({path}, line 3).")
