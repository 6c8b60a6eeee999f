"""Where commands print their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def standard_output() -> Console:
    """Return standard output for tables; 80 columns where it is no terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=80)
