"""Runs on a machine of little shared memory: ``python -m small_memory SIZE FLAGS ...``."""

from __future__ import annotations

import sys
from pathlib import Path

from own_mounts import keep_mounts_to_oneself, mount_memory

from fedtl import simulate
from fedtl.command_line import run_command


def main() -> None:
    """Run with no more shared memory than was said."""
    keep_mounts_to_oneself()
    mount_memory(Path("/dev/shm"), f"size={sys.argv.pop(1)}")
    run_command(simulate.main)


if __name__ == "__main__":
    main()
