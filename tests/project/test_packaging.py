"""What is installed: every file that the pages are made of, not only the modules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import fedtl

REPOSITORY = Path(__file__).parents[2]


def test_all_that_the_pages_are_made_of_is_packaged() -> None:
    source, installed = REPOSITORY / "fedtl", Path(fedtl.__file__).parent
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["fedtl"]
    packaged = {path for pattern in patterns for path in source.glob(pattern)}
    found = {
        path for path in (source / "report").rglob("*.*") if path.suffix in {".html", ".css", ".js"}
    }
    assert len(found) > 15
    assert found <= packaged
    for path in found:
        assert (installed / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_the_version_is_said_alike_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert fedtl.__version__ == version
    assert f"\nversion: {version}\n" in citation
    headings = re.findall(r"^## (\S+)", changes, re.MULTILINE)
    assert headings[:2] == ["Unreleased", version]
