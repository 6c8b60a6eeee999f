"""A run's progress: live bars in a terminal, a few lines in a pipe, only warnings when quiet."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fedtl.report.wording import count_of, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress, TaskID

_ROUND_LINES = 10


def _accuracy(accuracy: float | None) -> str:
    """Return ``" accuracy .874"``, or nothing where there is no score yet."""
    if accuracy is None or math.isnan(accuracy):
        return ""
    return f" accuracy {f'{accuracy:.3f}'.removeprefix('0')}"


class RunProgress:
    """Shows where a run is; a context manager, its methods callable from any thread.

    In a terminal the bars live below the notes and stay when the run ends. On any other console
    there are no control characters: each phase prints its start and its end, and the rounds a
    line for about every tenth of them.

    Args:
        console: Where to show it, as a rule standard error.
        quiet: Show nothing but warnings.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._bars: Progress | None = None
        self._spinner: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._features_began: tuple[float, int] | None = None
        self._features_done = False
        self._rounds_done = 0

    def __enter__(self) -> Self:
        if self._quiet or not self._console.is_terminal or self._console.is_dumb_terminal:
            return self
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._spinner = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), console=self._console
        )
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[detail]}", markup=False, justify="right"),
            console=self._console,
            expand=True,
        )
        # Standard output belongs to the run's result (``--json``), not to its progress.
        self._live = Live(
            Group(self._bars, self._spinner),
            console=self._console,
            refresh_per_second=8,
            redirect_stdout=False,
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._end_status()
            self._live.stop()

    def features(self, done: int, total: int) -> None:
        """Report how many of the images have their features.

        Args:
            done: Images ready; at the first call, those that the cache already held.
            total: All images.
        """
        if self._quiet:
            return
        now = time.perf_counter()
        first = self._features_began is None
        if self._features_began is None:
            self._features_began = (now, done)
        began, found = self._features_began
        if done > found:
            rate = f"{(done - found) / max(now - began, 1e-9):,.0f} images/s"
        else:
            rate = "cached" if done >= total else ""
        if self._bars is not None:
            self._show("features", f"features {done:,}/{total:,}", rate, done, total)
        elif done >= total and not self._features_done:
            self._print(f"features {done:,}/{total:,} images, {rate}")
        elif first:
            self._print(f"features of {count_of(total, 'image')}, {found:,} cached")
        self._features_done = done >= total

    def round(self, done: int, total: int, accuracy: float | None) -> None:
        """Report a finished round.

        Args:
            done: Rounds finished, those before a resume included.
            total: All rounds.
            accuracy: The global head's latest accuracy, a fraction; ``None`` where unknown.
        """
        if self._quiet:
            return
        if self._bars is not None:
            self._show(
                "rounds", f"round {done:,}/{total:,}", _accuracy(accuracy).strip(), done, total
            )
        elif done * _ROUND_LINES // total > self._rounds_done * _ROUND_LINES // total:
            self._print(f"round {done:,}/{total:,}{_accuracy(accuracy)}")
        self._rounds_done = done

    def step(self, what: str, done: int, total: int, detail: str) -> None:
        """Report how many of several things are done, such as ``"runs"``; ``detail`` is the last.

        On a console that is no terminal each prints a line.
        """
        if self._quiet:
            return
        if self._bars is not None:
            self._show(what, f"{what} {done:,}/{total:,}", detail, done, total)
        else:
            self._print(f"{what} {done:,}/{total:,}: {detail}")

    def status(self, text: str) -> None:
        """Say what is being done where no bar tells; it stays until the next status or new bar."""
        if self._quiet:
            return
        if self._spinner is None:
            self._print(text)
            return
        self._end_status()
        self._spinner.add_task(printable(text), total=None)

    def note(self, text: str) -> None:
        """Write a line that stays, above the bars."""
        if not self._quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """Write a warning above the bars; a quiet run does not keep it to itself."""
        self._print(f"warning: {text}")

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _show(self, bar: str, description: str, detail: str, done: int, total: int) -> None:
        assert self._bars is not None
        if bar not in self._tasks:
            self._end_status()
            self._tasks[bar] = self._bars.add_task(description, total=total, detail=detail)
        self._bars.update(
            self._tasks[bar], description=description, detail=detail, completed=done, total=total
        )

    def _end_status(self) -> None:
        assert self._spinner is not None
        for task in self._spinner.task_ids:
            self._spinner.remove_task(task)
