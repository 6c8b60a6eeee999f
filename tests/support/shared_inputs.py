"""Inputs as people bring them, written by a program beside the project; and how they are run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not resolved, so that a working tree elsewhere may be linked beside the inputs.
MAKE = Path(__file__).parents[3] / "shared" / "inputs" / "make.py"

Made = Callable[[str], Path]


def cases() -> dict[str, Callable[[Path], Any]]:
    """Return what writes each of the inputs into a folder."""
    spec = importlib.util.spec_from_file_location("make", MAKE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Callable[[Path], Any]] = module.CASES
    return found


def flags(data: object, out: Path) -> list[object]:
    """Return a small run's flags."""
    common = ["--strategy", "fed3r", "--clients", 3, "--engine", "inline", "--no-cache"]
    return ["--data", data, *common, "--out", out]
