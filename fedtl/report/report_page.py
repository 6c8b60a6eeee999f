"""The observer that writes a run's page."""

from __future__ import annotations

from pathlib import Path

from fedtl.observers.observer import Observer
from fedtl.report.html import write_report
from fedtl.results.result import RunResult


class ReportPage(Observer):
    """Writes ``report.html`` once a run has come to its end.

    Args:
        folder: Where to.
    """

    vital = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "report.html"

    def ended(self, result: RunResult) -> None:
        """Write the page."""
        assert result.detail is not None
        write_report(self._path, result.detail)
