"""The page of a run, written and read back by a parser that minds what is closed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from fedtl.report.html import write_report
from fedtl.results.detail import RunDetail


class Page(HTMLParser):
    """Checks that every element is closed in order, and keeps texts, links and element names."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images_without_alt = 0
        self.rows: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}
        ]
        if tag == "img" and not values.get("alt"):
            self.images_without_alt += 1
        if tag == "tr":
            self.rows.append((values.get("class") or "", ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes {self.open[-3:]}"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "tr" in self.open:
            style, text = self.rows[-1]
            self.rows[-1] = (style, text + data)


def page_of(result: RunDetail, folder: Path) -> tuple[Page, str]:
    path = folder / "report.html"
    write_report(path, result)
    markup = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(markup)
    page.close()
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)), "an id stands for two elements"
    return page, markup
