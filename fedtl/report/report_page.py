"""The observer that writes a run's page."""

from __future__ import annotations

import threading
from pathlib import Path

from fedtl.observers.observer import Observer
from fedtl.report.html import write_report
from fedtl.results.result import RunResult


class ReportPage(Observer):
    """Writes ``report.html`` when a run is finished.

    Args:
        folder: Where to.
    """

    vital = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "report.html"
        self._importing = False

    def features(self, done: int, total: int) -> None:
        """Import the chart library during the run: that takes as long as many rounds."""
        if not self._importing:
            self._importing = True
            threading.Thread(target=_import_charts, name="charts", daemon=True).start()

    def ended(self, result: RunResult) -> None:
        """Write the page."""
        assert result.detail is not None
        write_report(self._path, result.detail)


def _import_charts() -> None:
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
