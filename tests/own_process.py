"""Runs ``python -m fedtl.simulate`` in a process of its own, as a user does."""

from __future__ import annotations

import subprocess
import sys


def run_simulate(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Return how it ended, and what it wrote."""
    return subprocess.run(
        [sys.executable, "-m", "fedtl.simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
