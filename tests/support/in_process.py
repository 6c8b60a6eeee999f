"""Runs one of fedtl's commands in this process, as ``python -m`` would."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from fedtl.command_line import run_command


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


def finished(command: Callable[..., None], *arguments: object) -> Finished:
    """Run a command with command-line arguments; any exception but an exit is a failure."""
    stdout, stderr = io.StringIO(), io.StringIO()
    exit_code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["fedtl", *map(str, arguments)])
        try:
            run_command(command)
        except SystemExit as end:
            exit_code = int(end.code or 0)
    return Finished(exit_code, stdout.getvalue(), stderr.getvalue())


def complaint(command: Callable[..., None], *arguments: object, exit_code: int = 2) -> str:
    """Return the one sentence that a command that must fail says, without ``error:``."""
    end = finished(command, *arguments)
    assert end.exit_code == exit_code, end
    assert end.stdout == ""
    lines = end.stderr.splitlines()
    assert lines[-1].startswith("error: "), end.stderr
    # A run may have said what it understood of its data, and warned.
    expected = re.compile(r"warning: |[\d,]+ (images?|rows?|texts?), ")
    assert all(expected.match(line) for line in lines[:-1]), end.stderr
    return lines[-1].removeprefix("error: ")
