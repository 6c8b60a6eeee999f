"""Mounts of a process's own, as ``unshare -m`` gives them, which starts a process anew."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x20000


def keep_mounts_to_oneself() -> None:
    """From now on, what this process mounts is there for it and its children alone."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount_memory(folder: Path, options: str) -> None:
    """Mount a disk in memory at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
