"""What a comparison is told to do, and what it refuses in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import complaint, finished
from small_comparison import overlapping, rows_of

from fedtl import compare
from fedtl.comparison.axes import read_values
from fedtl.errors import UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlapping(tmp_path_factory.mktemp("data"))


def test_a_scenario_says_what_is_compared_and_flags_override_it(data: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(
        f'data = "features:{data}"\nclients = 3\nrounds = 2\nengine = "inline"\n'
        '[compare]\nstrategies = "fedavg,fed3r"\nseeds = 4\nvary = "alpha=0.5,5 fraction=0.5,1"\n'
    )
    out = tmp_path / "out"
    end = finished(compare.main, scenario, "--seeds", 1, "--fraction", 1, "--out", out)
    assert end.exit_code == 0, end.stderr
    assert [(row["strategy"], row["alpha"], row["seed"]) for row in rows_of(out)] == [
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
        (["--resume", "none", "--seeds", "2"], "give no other option"),
    ],
)
def test_every_mistake_is_one_sentence(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in complaint(compare.main, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("shared_ray")
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


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("seed=1,2", "seed cannot vary: seeds sets their number"),
        ("strategy=fedavg", "strategy cannot vary: strategies lists them"),
        ("data=a,b", "data cannot vary: it has one value for the whole comparison"),
        ("hospitals-shift=1,2", "hospitals-shift cannot vary"),
        ("trainable-blocks=0,2", "trainable-blocks cannot vary"),
        ("train-from=input,features.9", "train-from cannot vary"),
        ("views=0,4", "views cannot vary"),
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


def test_truth_values_are_read_as_written() -> None:
    assert read_values("prior-correction", "false, true", ()) == (False, True)
    with pytest.raises(UsageError, match="prior-correction = 'maybe' must be of type bool"):
        read_values("prior-correction", "maybe", ())
