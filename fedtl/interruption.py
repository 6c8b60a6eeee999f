"""How a command ends after Ctrl-C, SIGTERM or SIGHUP: within two seconds.

The signal raises ``KeyboardInterrupt`` where the command is; what it holds is freed on the way out.
Some of it cannot be interrupted (a batch in a thread, an equation in LAPACK, a read from a disk
that hangs), so a thread that the system wakes waits for a moment and then ends the process. Nothing
is lost: files are complete or absent, and what the process started ends with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from fedtl.errors import FedtlError

PATIENCE_SECONDS = 1.2
# SIGINT last: shells have what runs in the background ignore it.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

# What is in hand, innermost last: each lets go of it and says how to go on.
_in_hand: list[Callable[[], str]] = []


class Ending:
    """State of a command that is told to end.

    Attributes:
        signal_number: The signal; SIGINT if there was none.
        heard: The signal, once it has raised ``KeyboardInterrupt``.
        answered: The signals that end it; none outside a command.
        cause: Why it ends, if no user asked for it.
    """

    def __init__(self) -> None:
        self.signal_number = int(signal.SIGINT)
        self.answered: list[signal.Signals] = []
        self.cause = ""
        self._advice: list[str] = []
        self.heard: list[int] = []
        self._told = threading.Lock()

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect after a signal or a failure."""
        return FedtlError.exit_code if self.cause else 128 + self.signal_number

    def let_go(self, what: Callable[[], str]) -> None:
        """Free something, and keep the advice for :meth:`tell`."""
        with suppress(Exception):  # what cannot be removed now is no reason to stay
            self._advice.append(what())

    def tell(self) -> None:
        """Free what is still held and write one sentence, once."""
        if not self._told.acquire(blocking=False):
            return
        while _in_hand:
            self.let_go(_in_hand.pop())
        advice = next((text for text in self._advice if text), "")
        cause = self.cause or "interrupted"
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar had hidden it
        with suppress(OSError, ValueError):  # the terminal may be gone
            sys.stderr.write(f"{cursor}error: {cause}{f'; {advice}' if advice else ''}.\n")
            sys.stderr.flush()

    def leave(self) -> NoReturn:
        """End the process, after a signal without waiting for its threads."""
        if self.heard:
            sys.stdout.flush()
            os._exit(self.exit_code)
        sys.exit(self.exit_code)


_ending = Ending()


@contextmanager
def in_hand(let_go: Callable[[], str]) -> Iterator[None]:
    """Within this block, an interruption calls ``let_go`` and prints what it returns."""
    _in_hand.append(let_go)
    try:
        yield
    except KeyboardInterrupt:
        if let_go in _in_hand:
            _in_hand.remove(let_go)
            _ending.let_go(let_go)
        raise
    finally:
        if let_go in _in_hand:
            _in_hand.remove(let_go)


def end_for(cause: str) -> None:
    """End the command that this process runs, as a signal does; outside a command, do nothing.

    Args:
        cause: The sentence for the user, without a full stop.
    """
    if _ending.answered:
        _ending.cause = cause
        os.kill(os.getpid(), _ending.answered[0])


@contextmanager
def ended_by_signals() -> Iterator[Ending]:
    """Within this block, SIGINT, SIGTERM and SIGHUP interrupt the main thread, and then all."""
    global _ending
    ending = _ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if ending.heard:
            return  # it is ending
        ending.heard.append(number)
        ending.signal_number = number
        raise KeyboardInterrupt

    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    # nohup means that the command outlives its terminal.
    answered = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in answered}
    ending.answered = answered
    waker = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    over = threading.Event()
    numbers = {int(number) for number in answered}
    arguments = (ending, ears, numbers, over)
    threading.Thread(target=_end, args=arguments, name="ending", daemon=True).start()
    try:
        yield ending
    finally:
        ending.answered = []
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        if not ending.heard:
            over.set()
            os.close(mouth)


def _end(ending: Ending, ears: int, numbers: set[int], over: threading.Event) -> None:
    """Wait for a signal, and a moment more; then end the process if it is still running."""
    while told := os.read(ears, 1):
        if told[0] in numbers:
            ending.signal_number = told[0]
            if not over.wait(PATIENCE_SECONDS):
                ending.tell()
                os._exit(ending.exit_code)
    os.close(ears)
