"""The files of a comparison: tables, page, and figures for a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.plan import point_label
from fedtl.comparison.rows import cell_rows, round_rows, summary_of
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Standings
from fedtl.errors import FedtlError
from fedtl.report import comparison_curves as curves
from fedtl.report import comparison_plots as plots
from fedtl.report.comparison_look import looks
from fedtl.report.comparison_page import comparison_page
from fedtl.report.comparison_table import (
    READING_NAMES,
    REFERENCE_NAMES,
    count_text,
    own_data_captions,
    ranking_captions,
    references,
    shown_readings,
    spread_text,
)
from fedtl.report.theme import Drawing
from fedtl.wording import MISSING, printable, span

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}

# What pdflatex prints without further packages.
_LAST_LATIN, _PUNCTUATION = 0x17F, "‘’“”–—…"


def write_comparison(folder: ComparisonFolder, compared: Compared) -> None:
    """Write a comparison's result into its folder: tables, summary, page and figures.

    Raises:
        FedtlError: Every run failed, or a file cannot be written.
    """
    if not compared.results:
        raise FedtlError(f"Every run failed; the first: {next(iter(compared.failed.values()))}.")
    folder.write_csv("comparison.csv", cell_rows(compared))
    folder.write_csv("rounds.csv", round_rows(compared))
    folder.write("summary.json", summary_of(compared))
    folder.write("comparison.html", comparison_page(compared))
    folder.write("comparison.tex", comparison_tex(compared))
    for name, content in figure_files(compared):
        folder.write(f"figures/{name}", content)


def comparison_tex(compared: Compared) -> str:
    """Return LaTeX that needs the package booktabs: two tables for every point."""
    parts = [r"% \usepackage{booktabs}"]
    for place, at in enumerate(compared.points):
        if at.rows:
            parts.append(_ranking(at, place))
        parts.append(_own_data(at, place))
    text = "\n\n".join(parts) + "\n"
    if any(ord(letter) > _LAST_LATIN and letter not in _PUNCTUATION for letter in text):
        text = f"% Holds letters that pdflatex does not know; lualatex and xelatex do.\n{text}"
    return text


def figure_files(compared: Compared) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of every chart as SVG and as PDF."""
    every = compared.points
    look = looks(every, compared.plan.strategies)
    for at in every:
        drawings: dict[str, Drawing] = {"gains": plots.gains(at)}
        if at.rows:
            drawings["accuracy"] = plots.intervals(at, look)
            drawings["bytes"] = curves.accuracy_by_bytes(at, look)
        if curves.takes_rounds(at):
            drawings["rounds"] = curves.accuracy_by_round(at, look)
        where = "".join(f"_{key}={value}" for key, value in at.point)
        for name, drawing in drawings.items():
            for kind, content in drawing.files().items():
                yield f"{name}{where}.{kind}", content


def _ranking(at: Standings, place: int) -> str:
    headings = ["Strategy", "Accuracy", r"95\,\% interval"]
    headings.append("Without attack" if at.attacked else "Pooled")
    rows = []
    for row in at.rows:
        cells = [
            escaped_tex(row.strategy) + ("$^{*}$" if row.behind else ""),
            spread_text(row.accuracy),
            MISSING if row.interval is None else span(*row.interval),
        ]
        cells.append(spread_text(row.pooled if row.clean is None else row.clean))
        rows.append([cells[0], *map(escaped_tex, cells[1:])])
    last = [[name, escaped_tex(spread_text(one))] for name, one in references(at).items()]
    where = "new data" if at.new_data else "all held-out rows"
    told = [line for line in ranking_captions(at) if not line.startswith("rounds")]
    return _table(headings, rows, last, [f"On {where}{_where(at)}", *told], f"tab:ranking-{place}")


def _own_data(at: Standings, place: int) -> str:
    shown = shown_readings(at)
    headings = ["Strategy"]
    for way in shown:
        headings += [READING_NAMES[way], "$+$/$-$"]
    rows = []
    for row in at.own.rows:
        cells = [escaped_tex(row.strategy)]
        for way in shown:
            one = row.readings.get(way)
            figures = (
                [MISSING, ""]
                if one is None
                else [
                    spread_text(one.accuracy),
                    f"{count_text(one.better)}/{count_text(one.worse)}",
                ]
            )
            cells += map(escaped_tex, figures)
        rows.append(cells)
    last = [
        [REFERENCE_NAMES[way], escaped_tex(spread_text(accuracy))]
        for way, (accuracy, _) in at.own.references.items()
    ]
    told = [f"On clients' own data{_where(at)}", *own_data_captions(at)]
    return _table(headings, rows, last, told, f"tab:own-data-{place}")


def _where(at: Standings) -> str:
    label = point_label(at.point)
    return f" at {label}" if label else ""


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    last: Sequence[Sequence[str]],
    caption: Sequence[str],
    label: str,
) -> str:
    """Return a table; everything in it but the caption is escaped already."""

    def line(cells: Sequence[str]) -> str:
        filled = [*cells, *[""] * (len(headings) - len(cells))]
        return "  " + " & ".join(filled) + r" \\"

    sentences = " ".join(f"{one[0].upper()}{one[1:]}." for one in caption)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped_tex(sentences)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
            r"\toprule",
            line(headings),
            r"\midrule",
            *map(line, rows),
            r"\midrule",
            *map(line, last),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def escaped_tex(text: str) -> str:
    """Return text escaped for LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in printable(text))
