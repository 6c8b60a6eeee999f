"""The observers of a run besides its folder: progress, and the page."""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.observers.observer import Observer
from fedtl.observers.progress import RunProgress
from fedtl.observers.run_folder import RunFolder
from fedtl.report.report_page import ReportPage


def watchers(
    folder: RunFolder, progress: RunProgress, observers: Sequence[Observer]
) -> list[Observer]:
    """Return the observers of a run, for every way to run.

    Args:
        folder: The run's.
        progress: Shows progress.
        observers: Further observers.
    """
    return [progress, *observers, ReportPage(folder.path)]
