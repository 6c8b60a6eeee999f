"""What README and docs say: their commands parse, flags and files exist, the strategy runs."""

from __future__ import annotations

import importlib
import io
import json
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from in_process import finished
from own_process import run_module

import strategies
from fedtl import agree, compare, describe, export, predict, pretrain, simulate
from fedtl.command_line import _further
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml
from fedtl.config_keys.data import AUTO
from fedtl.config_keys.every import rules
from fedtl.kinds import KINDS
from fedtl.known_options import shipped_options
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.torchvision_models import weights_entry
from simulations.real_sites import __main__ as real_sites
from strategies.base import Reply

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
TEXT = {page.relative_to(PROJECT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
_MAINS: dict[str, Callable[..., None]] = {
    "fedtl.simulate": simulate.main,
    "fedtl.compare": compare.main,
    "fedtl.describe": describe.main,
    "fedtl.predict": predict.main,
    "fedtl.export": export.main,
    "fedtl.agree": agree.main,
    "fedtl.pretrain": pretrain.main,
    "simulations.real_sites": real_sites.main,
}
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def _blocks(language: str, *pages: str) -> list[str]:
    """Return the fenced blocks of a language in the pages named, or in all."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [block for page in pages or TEXT for block in fence.findall(TEXT[page])]


def _section(page: str, heading: str) -> str:
    """Return a page's text from a second-level heading to the next."""
    found = TEXT[page].partition(f"\n## {heading}\n")[2]
    assert found, f"{page} has no {heading!r}"
    return found.partition("\n## ")[0]


def _commands() -> list[list[str]]:
    """Return the words of every command in the bash blocks."""
    blocks = [block.replace("\\\n", " ") for block in _blocks("bash")]
    lines = [line for block in blocks for line in block.splitlines()]
    commands = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while "&&" in words:
            end = words.index("&&")
            commands.append(words[:end])
            words = words[end + 1 :]
        commands.append(words)
    return commands


def _modules() -> list[list[str]]:
    """Return module and arguments of every ``python -m`` command of ours."""
    return [words[2:] for words in _commands() if words[:2] == ["python", "-m"]]


def _parsed(module: str, arguments: list[str]) -> dict[str, Any]:
    """Return the parameters that the module's command makes of its arguments."""
    app = typer.Typer()
    extra = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=extra)(_MAINS[module])
    context = typer.main.get_command(app).make_context(module, list(arguments))
    return {**context.params, "further": context.args}


@cache
def _help(*command: str) -> frozenset[str]:
    """Return the flags in another program's help, in this process if it is written in Python."""
    programs = entry_points(group="console_scripts", name=command[0])
    if not programs:
        path = Path(sys.executable).parent / command[0]
        shown = subprocess.check_output([path, *command[1:], "--help"], text=True)
        return frozenset(_FLAG.findall(shown))
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        patch.setattr(sys, "argv", [*command, "--help"])
        with pytest.raises(SystemExit) as end:
            next(iter(programs)).load()()
    assert not end.value.code
    return frozenset(_FLAG.findall(told.getvalue()))


# Of the parts that are shipped.
_OPTIONS = frozenset(f"--{key}" for key in shipped_options())


# Of the classes that the pages show.
_OWN = {"--beta", "--spots-count", "--shrink-part", "--giant-share"}


def _own_flags() -> frozenset[str]:
    """Return the flags of all commands of ours."""
    flags = set()
    for main in _MAINS.values():
        app = typer.Typer()
        app.command()(main)
        flags |= {name for option in typer.main.get_command(app).params for name in option.opts}
    return frozenset(flags) | _OPTIONS | _OWN | {"--help", "--version"}


def test_the_one_liners_come_first() -> None:
    first = _blocks("bash", "README.md")[0].splitlines()
    assert first[0].startswith("pip install . && python -m fedtl.simulate --clients 10")
    assert first[1].startswith("pip install '.[test]' && pytest")


def test_the_page_of_a_new_user_stays_short() -> None:
    assert len(TEXT["README.md"].splitlines()) <= 150


@pytest.fixture
def own_classes(tmp_path: Path) -> Iterator[Path]:
    """The classes that the pages show, as they say that they are saved."""
    pages = "\n".join(TEXT.values())
    for code in re.findall(r"```python\n(.*?)```", pages, re.DOTALL):
        for name in re.findall(r"^class (\w+)", code, re.MULTILINE):
            if f"`{name.lower()}.py`" in pages:
                (tmp_path / f"{name.lower()}.py").write_text(code)
    yield tmp_path
    for path in tmp_path.iterdir():
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("words", _modules(), ids=" ".join)
def test_commands_of_ours_parse(
    words: list[str], own_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.syspath_prepend(str(own_classes))
    if "--help" in words:
        assert "--strategy" in finished(_MAINS[words[0]], *words[1:]).stdout
        return
    parameters = _parsed(words[0], words[1:])
    if words[0] != "fedtl.simulate":
        return
    given = {key: parameters[key.replace("-", "_")] for key in rules()}
    given = {key: value for key, value in given.items() if value is not None}
    base = from_toml(Path(parameters["config"])) if parameters["config"] else None
    further = _further(parameters["further"], [])[0]
    config = from_mapping({**given, **further}, where="docs", base=base)
    if ":" not in config.strategy:
        strategies.load(config.strategy)
    kind = KINDS["backbone"]
    named = config.weights != "random" and not Path(config.weights).suffix
    if config.backbone != AUTO and kind.found(config.backbone)[0] == kind.otherwise and named:
        weights_entry(config.backbone, config.weights)


def test_commands_of_flower_have_the_flags_they_are_given() -> None:
    checked = set()
    for words in _commands():
        if not words[0].startswith(("flwr", "flower-")):
            continue
        length = {"supernode": 3, "run": 2}[words[1]] if words[0] == "flwr" else 1
        program = tuple(words[:length])
        checked.add(program)
        given = {word for word in words if word.startswith("--")}
        assert given <= _help(*program), words
    register = ("flwr", "supernode", "register")
    assert checked == {("flwr", "run"), register, ("flower-superlink",), ("flower-supernode",)}


def _assignments(text: str) -> dict[str, Any]:
    """Return the values of a run or node config as Flower's command line takes it."""
    return tomllib.loads("\n".join(re.findall(r"[\w-]+=(?:'[^']*'|\S+)", text)))


def test_run_configs_of_flower_hold_known_keys_for_as_many_clients_as_nodes() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    settable = project["tool"]["flwr"]["app"]["config"]
    runs = [words for words in _commands() if words[:2] == ["flwr", "run"]]
    supernodes = [words for words in _commands() if words[0] == "flower-supernode"]
    sites = [_assignments(words[words.index("--node-config") + 1]) for words in supernodes]
    assert [site["partition-id"] for site in sites] == list(range(len(sites)))
    assert {site["num-partitions"] for site in sites} == {len(sites)}
    assert len(runs) == 2
    for words in runs:
        values = _assignments(words[words.index("-c") + 1])
        assert values.keys() <= settable.keys()
        config = from_mapping(values, where="docs")
        if "--federation-config" in words:
            nodes = _assignments(words[words.index("--federation-config") + 1])["num-supernodes"]
        else:
            nodes = len(sites)
        assert config.clients == nodes


def test_every_flag_that_is_mentioned_exists() -> None:
    tools = [("ruff", "format"), ("mypy",), ("flower-superlink",), ("flower-supernode",)]
    known = _own_flags().union(*(_help(*tool) for tool in [*tools, ("flwr", "run")]))
    text = "\n".join(TEXT.values())
    benchmarks = set(re.findall(r"python (simulations/\w+/\w+\.py)", text))
    for benchmark in benchmarks:
        known |= set(re.findall(r'"(--[\w-]+)"', (PROJECT / benchmark).read_text(encoding="utf-8")))
    known |= {"--logdir"}  # of TensorBoard, which an extra installs
    mentioned = set(_FLAG.findall(text))
    assert len(mentioned) > 60
    assert mentioned <= known


def _first_column(table: str) -> set[str]:
    """Return the names in code marks in the first cell of every row."""
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    return set(re.findall(r"`([\w.-]+)(?:/|:[^`]*)?`", " ".join(rows)))


def test_every_partition_and_strategy_is_listed() -> None:
    partitions = _first_column(_section("docs/clients.md", "How data becomes clients"))
    assert partitions == {"--partition", *KINDS["partition"].shipped()}
    names = sorted(strategies.available())
    listed = _section("docs/strategies.md", f"All {len(names)}")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", listed, re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == names


def test_strategies_that_are_recommended_exist() -> None:
    section = _section("docs/strategies.md", "Which for what")
    advice = re.findall(r"^\| [^|]+ \| ([^|]*`[^|]*) \|", section, re.MULTILINE)
    flagged = re.sub(r"`--[^`]*`", "", " ".join(advice))
    recommended = set(re.findall(r"`(\w+)`", flagged))
    assert len(recommended) > 8
    assert recommended <= set(strategies.available())


def test_the_output_blocks_fit_80_columns() -> None:
    assert _blocks("text", "README.md")[0].splitlines()[-1].startswith("report: ")
    blocks = _blocks("text")
    assert len(blocks) >= 6
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80


@pytest.fixture(scope="module")
def own_strategy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a user saved the page's strategy and ran the page's command."""
    folder = tmp_path_factory.mktemp("user")
    code = _blocks("python", "docs/strategies.md")[0]
    (folder / "median.py").write_text(code, encoding="utf-8")
    command = next(words for words in _modules() if "median:Median" in words)
    flags = ("--engine", "inline", "--rounds", 2, "--quiet", "--no-cache", "--out", folder / "run")
    hospitals = ("--hospitals-images", 200, "--hospitals-test-images", 40, "--hospitals-size", 32)
    end = run_module(*command, *flags, *hospitals, folder=folder)
    assert end.returncode == 0, end.stderr
    return folder


def test_the_example_of_a_strategy_runs(own_strategy: Path) -> None:
    assert len(_blocks("python", "docs/strategies.md")[0].splitlines()) <= 40
    summary = json.loads((own_strategy / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["strategy"] == "median:Median"
    assert summary["rounds"] == 2
    assert not summary["failures"]


def test_the_example_of_a_strategy_does_what_it_says(
    own_strategy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own_strategy)
    median = importlib.import_module("median").Median(RunConfig(), LinearHead(2, 2))
    weights = [[[1.0, -4.0], [0.5, 9.0]], [[3.0, 2.0], [0.25, 8.0]], [[-7.0, 5.0], [4.0, 1.0]]]
    replies: Iterator[Reply] = (
        Reply(examples, {"weight": np.array(weight, np.float32), "bias": np.zeros(2, np.float32)})
        for examples, weight in zip((1, 50, 3), weights, strict=True)
    )
    head = median.aggregate(1, LinearHead(2, 2).initial("zero", 0), replies)
    expected = [
        [statistics.median(weight[row][column] for weight in weights) for column in range(2)]
        for row in range(2)
    ]
    assert head["weight"].tolist() == expected
    assert head["weight"].dtype == np.float32
    assert median.aggregate(2, {}, iter(())) is None


def test_the_files_of_a_run_are_those_in_the_table(own_strategy: Path) -> None:
    told = _first_column(_section("docs/files.md", "The run folder"))
    written = {path.name for path in (own_strategy / "run").glob("[!.]*")}
    assert told == written
