"""The report of a run: one self-contained page that opens offline and can be sent to every site."""

from __future__ import annotations

from pathlib import Path

from fedtl.report import heat_maps, plots
from fedtl.report.clients_section import clients_section
from fedtl.report.confusion_section import confusion_section
from fedtl.report.headline import headline, subject
from fedtl.report.metrics_section import metrics_section
from fedtl.report.new_data import new_data_section
from fedtl.report.page import Section, page_of
from fedtl.report.run_sections import (
    configuration_section,
    egress_section,
    failures_section,
    time_section,
)
from fedtl.report.samples import samples_section
from fedtl.report.seeds_section import seeds_section
from fedtl.report.theme import NARROW
from fedtl.report.understood_section import understood_section
from fedtl.report.unseen_section import unseen_section
from fedtl.report.unseen_sites_section import unseen_sites_section
from fedtl.results.detail import RunDetail
from fedtl.whole_file import write_atomically
from fedtl.wording import own_data


def write_report(path: Path, result: RunDetail) -> None:
    """Write the page, which makes no request: pictures and plots are inside.

    Args:
        path: The file to write, UTF-8; an existing file is replaced.
        result: The finished run.

    Raises:
        OSError: The file cannot be written.
    """
    sections = [
        understood_section(result),
        clients_section(result),
        seeds_section(result),
        new_data_section(result),
        unseen_section(result),
        unseen_sites_section(result),
        _accuracy(result),
        _data(result),
        samples_section(result),
        metrics_section(result),
        confusion_section(result),
        egress_section(result),
        failures_section(result),
        time_section(result),
        configuration_section(result),
    ]
    title = f"fedtl report: {subject(result)}"
    page = page_of("report.html", title, sections, **headline(result))
    write_atomically(path, page.encode())


def _data(result: RunDetail) -> Section:
    view = {
        "heading": "Who holds what",
        "told": "Examples per client and class, held-out ones included; the stronger a cell's "
        "colour, the larger the class's share of that client's examples.",
        "plot": heat_maps.label_map(result),
        "narrow": None,
    }
    return Section("Data", "data", "plot.html", view)


def _accuracy(result: RunDetail) -> Section:
    if len(result.rounds) > 1:
        heading, draw = "Accuracy by round", plots.accuracy_by_round
        told = (
            f"The global head on {result.summary['scored_on']}, and on those of the client with "
            "the lowest accuracy."
            if result.summary["global_head"]
            else f"Clients' own heads on {own_data(result.summary)}, the mean client and the "
            "worst; the other lines are the mean client's, too."
        )
    else:
        heading, draw = "Accuracy, in one round", plots.score_ladder
        told = (
            "There is one round, so there is no curve: the four scores of the ways of learning, "
            "side by side."
        )
    view = {
        "heading": heading,
        "told": told,
        "plot": draw(result),
        "narrow": draw(result, width=NARROW),
    }
    return Section("Accuracy", "accuracy", "plot.html", view)
