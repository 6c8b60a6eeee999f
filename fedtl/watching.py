"""Who watches a run besides its folder: what shows it, and its page."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.observers.observer import Observer
from fedtl.observers.progress import RunProgress
from fedtl.observers.run_folder import RunFolder
from fedtl.report.report_page import ReportPage


def watchers(
    folder: RunFolder, progress: RunProgress, observers: Sequence[Observer]
) -> list[Observer]:
    """Return who watches a run, whichever way it runs.

    Args:
        folder: The run's.
        progress: Shows where it is.
        observers: Who else watches it.
    """
    return [progress, *observers, ReportPage(folder.path)]
