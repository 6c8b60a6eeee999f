"""MkDocs hook: the pages of the project's top level are pages of the site as well.

README is the first page. Links between the top level and ``docs/`` are rewritten, so that each page
is written once and its links work on a code host and on the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_TOP = Path(__file__).resolve().parents[1]
# Not pages: they are copied as they are.
_OTHERS = ("LICENSE", "CITATION.cff")


def _place(name: str) -> str:
    """Return where the site has a file of the top level."""
    if name == "README.md":
        return "index.md"
    return name.lower() if name.endswith(".md") else name


def _rewritten(text: str) -> str:
    """Return a page with its links to the top level and to ``docs/`` as the site has them."""
    for name in map(_name, _top_files()):
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}(?=[)#])", f"]({_place(name)}", text)
    return re.sub(r"\]\(docs/", "](", text)


def _top_files() -> list[Path]:
    notebooks = sorted((_TOP / "examples").glob("*.ipynb"))
    return [*sorted(_TOP.glob("*.md")), *notebooks, *(_TOP / name for name in _OTHERS)]


def _name(path: Path) -> str:
    return path.relative_to(_TOP).as_posix()


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the files of the top level."""
    for path in _top_files():
        content = path.read_text(encoding="utf-8")
        files.append(File.generated(config, _place(_name(path)), content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite the links of every page."""
    return _rewritten(markdown)
