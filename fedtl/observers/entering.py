"""An observer for runs within runs: it passes on their exceptions, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedtl.observers.observer import Observer

if TYPE_CHECKING:
    from fedtl.fault import Enter, Fault


class Entering(Observer):
    """Passes on exceptions that nobody foresaw.

    Args:
        enter: Receives each.
    """

    vital = True

    def __init__(self, enter: Enter) -> None:
        self._enter = enter

    def faulted(self, where: str, fault: Fault) -> None:
        """Pass it on; the receiver writes the sentence."""
        self._enter(where[:1].lower() + where[1:], fault)
