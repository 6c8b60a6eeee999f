"""The tests mirror the rooms, and share what they share by modules of its own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"
# What belongs to no room: the whole program, the project's own files, and what tests are made of.
OTHERS = {"system", "project", "support", "reference", "mutants"}


def _rooms() -> set[str]:
    page = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.partition("\n## The order\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_every_folder_of_tests_is_a_room() -> None:
    folders = {path.name for path in TESTS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= _rooms() | OTHERS
    assert [path.name for path in TESTS.glob("*.py")] == ["conftest.py"]


def test_no_test_imports_another() -> None:
    for path in TESTS.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.startswith("test_")], path
