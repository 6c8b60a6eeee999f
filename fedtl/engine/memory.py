"""The memory of a run: all its processes together, shared pages counted once."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")


class MemoryWatch:
    """Remembers the largest of the samples taken at the ends of phases."""

    def __init__(self) -> None:
        self.peak_mb = 0.0

    def sample(self) -> None:
        """Measure now: the proportional set size of this process and all it started.

        If the system does not report it (not Linux), this process's peak resident size is used.
        """
        if (_PROC / "self/smaps_rollup").exists():
            total = sum(map(_pss_kb, _family())) / 1024
        else:
            import resource

            total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.peak_mb = max(self.peak_mb, total)


def _pss_kb(pid: int) -> int:
    try:
        with (_PROC / str(pid) / "smaps_rollup").open() as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        return 0  # it ended while we looked
    return 0


def _family() -> list[int]:
    """Return this process and its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The command, in parentheses, may itself contain spaces and parentheses.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children[int(fields[1])].append(int(entry.name))
    family, unseen = [], [os.getpid()]
    while unseen:
        pid = unseen.pop()
        family.append(pid)
        unseen += children[pid]
    return family
