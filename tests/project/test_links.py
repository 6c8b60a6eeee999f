"""Links within the project lead somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# What a code span calls a file of the project; a star or a brace is a pattern, not a name.
_FILE = re.compile(r"`((?:fedtl|strategies|simulations|tests|docs|\.ci|\.github)/[\w./-]+)`")


def _name(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Return the fragments that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _targets(page: Path) -> list[tuple[Path, str]]:
    """Return file and fragment of every link of a page that stays in the project."""
    links = [link.partition("#") for link in _LINK.findall(_prose(page)) if ":" not in link]
    return [((page.parent / name).resolve() if name else page, part) for name, _, part in links]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target, fragment in _targets(page):
        assert target.is_file(), f"{_name(page)} links to {target}, which is not there"
        if fragment:
            assert fragment in _anchors(target), (
                f"{_name(page)}: {_name(target)} has no #{fragment}"
            )


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in _FILE.findall(_prose(page)):
        assert (PROJECT / name).exists(), f"{_name(page)} names {name}"


def test_every_page_is_linked_from_the_page_of_a_new_user() -> None:
    linked = {target for target, _ in _targets(PROJECT / "README.md")}
    assert {_name(page) for page in {*PAGES} - linked} == {"README.md"}


def test_every_page_is_in_the_navigation_once() -> None:
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"([\w-]+\.md)\s*$", text.partition("\nnav:\n")[2], re.MULTILINE)
    # The site shows README as its first page, and other pages of the top level by their names.
    names = {"README.md": "index.md"}
    assert sorted(listed) == sorted(names.get(page.name, page.name.lower()) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_lines_are_short(page: Path) -> None:
    long = [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 100]
    assert not [line for line in long if not line.startswith("|")]
