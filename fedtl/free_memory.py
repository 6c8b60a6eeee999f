"""How much memory, and how much of it to share, this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return bytes that are free or can be freed, of the machine and of its control group.

    ``None`` where the system does not tell.
    """
    told = [left for left in (_of_machine(), _of_control_group()) if left is not None]
    return min(told, default=None)


def free_shared_memory() -> int:
    """Return bytes that a file in ``/dev/shm`` may take; 0 where nobody may write there."""
    return free_in(SHARED_MEMORY)


def free_in(folder: Path) -> int:
    """Return bytes that are free in a folder; 0 where this process may not write there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_frsize * found.f_bavail if os.access(folder, os.W_OK) else 0


def _of_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else None


def _of_control_group() -> int | None:
    """Return what this process's control group leaves of its limit (cgroups 2, then 1)."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = int((_CONTROL_GROUPS / limit).read_text())
            taken = int((_CONTROL_GROUPS / used).read_text())
            statistics = (_CONTROL_GROUPS / limit).with_name("memory.stat").read_text()
        except (OSError, ValueError):  # none, or "max"
            continue
        # Pages of files that nobody reads now are taken back where memory is needed.
        lines = [line.split() for line in statistics.splitlines()]
        cached = sum(int(count) for name, count in lines if name == "inactive_file")
        return max(0, most - taken + cached)
    return None
