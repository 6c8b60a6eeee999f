"""Stopping what Flower leaves running, and where the project lies that Flower runs."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def stop_daemon(home: Path) -> None:
    """Stop the SuperLink that ``flwr run`` started for itself and left running."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            env = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"FLWR_HOME={home}".encode() in env and b"flower-superlink" in command:
            os.kill(int(entry.name), 15)
