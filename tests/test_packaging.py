"""What is installed: every file that the pages are made of, not only the modules."""

from __future__ import annotations

import tomllib
from pathlib import Path

import fedtl


def test_all_that_the_pages_are_made_of_is_packaged() -> None:
    package = Path(fedtl.__file__).parent
    project = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["fedtl"]
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    found = {
        path
        for path in (package / "report").rglob("*.*")
        if path.suffix in {".html", ".css", ".js"}
    }
    assert len(found) > 15
    assert found <= packaged
