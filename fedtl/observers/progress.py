"""A run's progress: live bars in a terminal, a few lines in a pipe, only warnings if quiet."""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fedtl.observers.observer import Observer
from fedtl.wording import count_of, duration, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress, TaskID

    from fedtl.federation.round_row import Round

_ROUND_LINES = 10
# A pipe that shows nothing for longer looks like a run that hangs.
_LINE_SECONDS = 60.0
# Sooner, what is left cannot be told from what was done.
_LEFT_SECONDS = 5.0


def _accuracy(accuracy: float | None) -> str:
    """Return ``" accuracy .874"``, or nothing where there is no score yet."""
    if accuracy is None or math.isnan(accuracy):
        return ""
    return f" accuracy {f'{accuracy:.3f}'.removeprefix('0')}"


class RunProgress(Observer):
    """Shows where a run is; a context manager, its methods callable from any thread.

    In a terminal the bars live below the notes and stay when the run ends. On any other console
    there are no control characters: each phase prints its start and its end, the rounds print a
    line for about every tenth, and each phase prints a line per minute, even while nothing is
    reported. Both show the time left.

    Args:
        console: Where to show it, as a rule standard error.
        quiet: Show nothing but warnings.
        live: Whether it may redraw and show the time. Otherwise it only prints lines, so that a
            debugger has the terminal to itself.
    """

    def __init__(self, console: Console, *, quiet: bool = False, live: bool = True) -> None:
        self._console = console
        self._quiet, self._may_draw = quiet, live
        self._live: Live | None = None
        self._bars: Progress | None = None
        self._spinner: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._features_began: tuple[float, int] | None = None
        self._features_done = False
        self._rounds_done = 0
        self._printed = time.perf_counter()
        self._began: dict[str, tuple[float, int]] = {}
        self._doing = "starting", time.perf_counter()
        self._ended = threading.Event()
        self._reminder: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._quiet or not self._may_draw:
            return self
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            self._reminder = threading.Thread(target=self._remind, daemon=True)
            self._reminder.start()
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
        self._ended.set()
        if self._reminder is not None:
            self._reminder.join()
        if self._live is not None:
            self._end_status()
            self._live.stop()

    def features(self, done: int, total: int) -> None:
        """Report how many of the inputs have their features.

        Args:
            done: Inputs ready; at the first call, those that the cache already held.
            total: All inputs.
        """
        if self._quiet:
            return
        now = time.perf_counter()
        self._doing = f"features {done:,}/{total:,}", now
        first = self._features_began is None
        if self._features_began is None:
            self._features_began = (now, done)
        began, found = self._features_began
        if done > found:
            rate = f"{(done - found) / max(now - began, 1e-9):,.0f} inputs/s"
        else:
            rate = "cached" if done >= total else ""
        left = self._left("features", done, total)
        if self._bars is not None:
            detail = f"{rate}, {left}" if left else rate
            self._show("features", f"features {done:,}/{total:,}", detail, done, total)
        elif done >= total and not self._features_done:
            self._print(f"features {done:,}/{total:,} inputs, {rate}")
        elif first:
            self._print(f"features of {count_of(total, 'input')}, {found:,} cached")
        elif self._is_due():
            self._print(f"features {done:,}/{total:,} inputs, {rate}, {left}".rstrip(", "))
        self._features_done = done >= total

    def round(self, finished: Round, rounds: int) -> None:
        """Report a finished round, with the head's accuracy if that is known."""
        if self._quiet:
            return
        done, total, accuracy = finished.round, rounds, finished.shown_accuracy
        self._doing = f"after round {done:,}/{total:,}", time.perf_counter()
        left = self._left("rounds", done, total)
        if self._bars is not None:
            detail = ", ".join(filter(None, (_accuracy(accuracy).strip(), left)))
            self._show("rounds", f"round {done:,}/{total:,}", detail, done, total)
        elif (
            done * _ROUND_LINES // total > self._rounds_done * _ROUND_LINES // total
            or self._is_due()
        ):
            self._print(
                f"round {done:,}/{total:,}{_accuracy(accuracy)}" + (f", {left}" if left else "")
            )
        self._rounds_done = done

    def step(self, what: str, done: int, total: int, detail: str) -> None:
        """Report how many of several things are done, such as ``"runs"``; ``detail`` names the
        last.

        On a console that is not a terminal each prints a line.
        """
        if self._quiet:
            return
        self._doing = f"after {what} {done:,}/{total:,}", time.perf_counter()
        left = self._left(what, done, total)
        detail = f"{detail}, {left}" if left else detail
        if self._bars is not None:
            self._show(what, f"{what} {done:,}/{total:,}", detail, done, total)
        else:
            self._print(f"{what} {done:,}/{total:,}: {detail}")

    def phase(self, text: str) -> None:
        """Show what is being done outside bars; it stays until the next status or bar."""
        if self._quiet:
            return
        self._doing = text, time.perf_counter()
        if self._spinner is None:
            self._print(text)
            return
        self._end_status()
        self._spinner.add_task(printable(text), total=None)

    def noted(self, text: str) -> None:
        """Write a line that stays, above the bars."""
        if not self._quiet:
            self._print(text)

    def warned(self, text: str) -> None:
        """Write a warning above the bars, also in a quiet run."""
        self._print(f"warning: {text}")

    def _remind(self) -> None:
        """Print what is being done if nothing was printed for a minute."""
        wait = _LINE_SECONDS
        while not self._ended.wait(wait):
            now = time.perf_counter()
            if now - self._printed >= _LINE_SECONDS:
                doing, since = self._doing
                self._print(f"{doing}: {duration(now - since)} so far")
            wait = max(0.01, _LINE_SECONDS - (time.perf_counter() - self._printed))

    def _is_due(self) -> bool:
        """Return whether the last line is a minute old."""
        return time.perf_counter() - self._printed >= _LINE_SECONDS

    def _left(self, what: str, done: int, total: int) -> str:
        """Return how long the rest will take at the pace so far; empty while it is unknown."""
        now = time.perf_counter()
        began, first = self._began.setdefault(what, (now, done))
        if done >= total or done <= first or now - began < _LEFT_SECONDS:
            return ""
        return f"{duration((now - began) * (total - done) / (done - first))} left"

    def _print(self, text: str) -> None:
        self._printed = time.perf_counter()
        # A log keeps a sentence in a line; a person reads whole words.
        whole = not self._console.is_terminal
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=whole)

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
