"""How much memory and shared memory this process may still use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_PAGES = Path("/proc/self/statm")
_OWN_GROUPS = Path("/proc/self/cgroup")
_FILES_OF_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def free_memory() -> int | None:
    """Return bytes that are free or can be freed, of the machine and of its control group.

    ``None`` if the system does not report it.
    """
    told = [left for left in (_of_machine(), _of_control_group()) if left is not None]
    return min(told, default=None)


def own_memory() -> int:
    """Return bytes that this process holds; 0 if the system does not report it."""
    try:
        pages = int(_OWN_PAGES.read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_shared_memory() -> int:
    """Return bytes that a file in ``/dev/shm`` may take; 0 if nobody may write there."""
    return free_in(SHARED_MEMORY)


def free_in(folder: Path) -> int:
    """Return bytes that are free in a folder; 0 if this process may not write there."""
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
    """Return what the limits of this process's control group and of those above it leave."""
    left = [
        room
        for folder, limit, used in _control_groups()
        if (room := _room(folder, limit, used)) is not None
    ]
    return min(left, default=None)


def _control_groups() -> Iterator[tuple[Path, str, str]]:
    """Yield folders that may hold a limit, with the names of its files (cgroups 2 and 1)."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = _CONTROL_GROUPS, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, files = _CONTROL_GROUPS / "memory", _FILES_OF_1
        else:
            continue
        # In a container the path may be the host's, and then only the root is there.
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield folder, *files


def _room(folder: Path, limit: str, used: str) -> int | None:
    try:
        most = int((folder / limit).read_text())
        taken = int((folder / used).read_text())
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):  # none, or "max"
        return None
    # Pages of files are taken back where memory is needed. What cgroups 1 call total_ includes the
    # groups below, as cgroups 2 do by themselves.
    counted = {name: int(count) for name, count in lines}
    cached = counted.get("total_inactive_file", counted.get("inactive_file", 0))
    return max(0, most - taken + cached)
