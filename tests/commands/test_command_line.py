"""Flags made from the configuration, and mistakes told in one line."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Finished, complaint, finished
from ray.exceptions import RaySystemError

import fedtl
from fedtl import simulate
from fedtl.command_line import with_config
from fedtl.config import RunConfig
from fedtl.config_keys.every import rules
from fedtl.errors import FedtlError, UsageError


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m fedtl.simulate`` as a user with a terminal of 80 columns would."""
    forcing_colour = {"FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH"}
    environment = {key: value for key, value in os.environ.items() if key not in forcing_colour}
    return subprocess.run(
        [sys.executable, "-m", "fedtl.simulate", *arguments],
        env={**environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _help_of_each_flag(page: str) -> dict[str, str]:
    """Return what a help page says of each flag, without boxes, breaks and blanks."""
    rows = [line.strip("│ ") for line in page.splitlines() if line.startswith("│")]
    text = "".join(f"\n{row}" if row.startswith("--") else f" {row}" for row in rows)
    return {
        line.split()[0]: "".join(line.split()) for line in text.splitlines() if line.startswith("-")
    }


def _metavar_of(key: str, page: str) -> str:
    """Return what stands beside a flag, with a blank where it goes on in the next line."""
    flag = re.search(rf"^│ --{key} +", page, re.MULTILINE)
    assert flag
    rows = [line[flag.end() - flag.start() :] for line in page[flag.start() :].splitlines()]
    more = itertools.takewhile(lambda row: row[0] != " ", rows)
    return " ".join(row.partition("  ")[0] for row in more)


def test_help_lists_every_key_with_its_default_in_80_columns() -> None:
    end = _python("--help", "all")
    assert end.returncode == 0
    assert end.stderr == ""
    assert "\x1b" not in end.stdout
    assert max(map(len, end.stdout.splitlines())) <= 80
    said = _help_of_each_flag(end.stdout)
    options = end.stdout.partition("Options of parts")[2]
    for key, value in RunConfig().to_mapping().items():
        if key not in rules():
            shown = re.split(rf"--{key}\s", options)[1].partition("\n  --")[0]
            assert f"[{value}]" in shown, key
            continue
        default = re.search(r"\[default:\(?(.*?)\)?\]", said[f"--{key}"])
        assert (default[1] if default else "") == str(value), key
    assert {"--config", "--resume", "--quiet", "--json"} <= said.keys()
    for key, rule in rules().items():
        if rule.choices:
            assert _metavar_of(key, end.stdout) == " | ".join(rule.choices)


def test_a_usage_error_is_one_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    end = _python("--clients", "0", "--out", str(tmp_path / "run"))
    assert end.returncode == 2
    assert end.stdout == ""
    assert end.stderr == "error: clients = 0 is too small: it must be at least 1.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clients", "ten"], ["--clients", "'ten'", "integer"]),
        (["--alpha", "-1"], ["alpha = -1.0 is too small"]),
        (["--alpha", "nan"], ["alpha = nan is not a finite number"]),
        (["--cleints", "3"], ["--cleints", "--clients"]),
        (["--clients"], ["--clients", "argument"]),
        (["stray"], ["stray"]),
        (["--strategy", "fedavh", "--engine", "inline"], ["did you mean 'fedavg'"]),
        (["--config", "none.toml"], ["none.toml cannot be read: No such file"]),
        (["--resume", "none"], ["none holds no run to resume"]),
        (["--resume", "none", "--config", "x"], ["--resume", "--config cannot be given"]),
    ],
)
def test_every_mistake_is_one_sentence(
    arguments: Sequence[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = complaint(simulate.main, *arguments)
    assert [words for words in said if words not in sentence] == []


def test_an_output_folder_that_cannot_be_made_is_no_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = complaint(simulate.main, "--out", tmp_path / "file" / "run", exit_code=1)
    assert sentence.startswith(f"{tmp_path / 'file' / 'run'} cannot be written: Not a directory")


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("Wrong\n  here"), 2, "error: Wrong here.\n"),
        (FedtlError("Disk full."), 1, "error: Disk full.\n"),
        (KeyboardInterrupt(), 130, "error: interrupted.\n"),
    ],
)
def test_errors_of_a_command_become_a_line_and_an_exit_code(
    error: BaseException, exit_code: int, line: str
) -> None:
    def command() -> None:
        raise error

    end = finished(command)
    assert (end.exit_code, end.stderr, end.stdout) == (exit_code, line, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero; this is a defect of fedtl"),
        (OSError(errno.ENOSPC, "No space", "/full/x"), "/full/x: the disk is full; free space"),
        (PermissionError(errno.EACCES, "Denied", "/x"), "/x: Denied; correct the permissions"),
        (MemoryError(), "there is too little memory; free some"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), "there is too little mem"),
        (RaySystemError("it broke"), "RaySystemError: System error: it broke; --engine inline"),
        (ModuleNotFoundError("No module named 'x'"), "No module named 'x'; the installation is"),
    ],
)
def test_what_nobody_foresaw_is_a_sentence_and_its_traceback_a_file(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told: dict[str, Any] = {"error": error}
    exec(compile("def command() -> None: raise error", fedtl.__file__, "exec"), told)
    command = told["command"]
    end = finished(command)
    assert (end.exit_code, end.stdout, len(end.stderr.split("\n"))) == (1, "", 2)
    assert said in end.stderr
    [log] = tmp_path.iterdir()
    assert f"(the traceback is in {log})" in end.stderr
    assert f'File "{fedtl.__file__}", line 1, in command' in log.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert "could not be written" in finished(command).stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero ("),
        (FileNotFoundError(errno.ENOENT, "Not there", "/x"), "/x: Not there ("),
        (ModuleNotFoundError("No module named 'x'"), "No module named 'x' ("),
    ],
)
def test_an_error_in_the_users_own_code_names_its_place(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def command() -> None:
        raise error

    line = command.__code__.co_firstlineno + 1
    assert f"{said}{__file__}, line {line}); that is your own code" in finished(command).stderr
    [log] = tmp_path.iterdir()
    assert "raise error" in log.read_text()


def test_only_given_flags_arrive() -> None:
    seen: list[dict[str, Any]] = []

    @with_config
    def command(*, flags: dict[str, Any]) -> None:
        """Note the flags."""
        seen.append(flags)

    for arguments in ([], ["--no-cache"], ["--cache-on", "--fraction", "1", "--clients", "3"]):
        assert finished(command, *arguments).exit_code == 0
    assert seen == [{}, {"no-cache": True}, {"no-cache": False, "fraction": 1.0, "clients": 3}]


@pytest.fixture(scope="module")
def json_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A folder with a scenario, and how a run of it with some flags and ``--json`` ended."""
    folder = tmp_path_factory.mktemp("scenario")
    random = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=random.normal(size=(40, 3)), y=np.arange(40) % 2)
    (folder / "parts.json").write_text(json.dumps([list(range(20)), list(range(20, 40))]))
    (folder / "scenario.toml").write_text(
        f"""
        data = "features:{folder / "data.npz"}"
        strategy = "fed3r"
        partition = "file:{folder / "parts.json"}"
        engine = "inline"
        ridge-penalty = 0.5
        seed = 4
        no-cache = true
        test-fraction = 0.0
        """
    )
    flags = ["--seed", 5, "--cache-on", "--out", folder / "run"]
    scenario = ["--config", folder / "scenario.toml"]
    return folder, finished(simulate.main, *scenario, *flags, "--json")


def test_a_flag_goes_before_the_file_and_the_file_before_the_default(
    json_run: tuple[Path, Finished],
) -> None:
    folder, end = json_run
    assert end.exit_code == 0, end.stderr
    flags = {"seed": 5, "no-cache": False, "out": str(folder / "run")}
    in_file = tomllib.loads((folder / "scenario.toml").read_text())
    written = tomllib.loads((folder / "run" / "config.toml").read_text())
    chosen = {key: in_file[key] for key in ("strategy", "partition", "data")}
    # What init = auto, local-epochs = 0 and rounds = 0 come to where no blocks are trained.
    settled = {"init": "none", "local-epochs": 1, "rounds": 50}
    assert written == RunConfig(**chosen).to_mapping() | settled | in_file | flags


def test_json_is_the_folder_and_its_summary(json_run: tuple[Path, Finished]) -> None:
    folder, end = json_run
    told, run = json.loads(end.stdout), folder / "run"
    assert told.pop("run_folder") == str(run)
    assert told == json.loads((run / "summary.json").read_text())
    assert told["clients"] == 2
    assert end.stderr == ""
