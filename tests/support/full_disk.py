"""Runs on a disk that is full sooner or later: a process of its own, with mounts of its own.

``python -m full_disk FOLDER DATA`` mounts a disk of each of some sizes at FOLDER, runs there until
it is full, makes room, and resumes; a JSON list says how each ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from in_process import finished
from own_mounts import keep_mounts_to_oneself, mount_memory

from fedtl import simulate
from fedtl.report import theme

SIZES_KB = (4, 16, 24, 32, 48)
_RESUMED_WITH = "64m"


def _blank(figure: object, file: IO[Any], *options: object) -> None:
    """Draw nothing, which takes no time."""
    file.write('<svg version="1.1" width="1pt" height="1pt"></svg>')


def _head(out: Path) -> str:
    return str(json.loads((out / "summary.json").read_text())["head_sha256"])


def main() -> None:
    """See above."""
    keep_mounts_to_oneself()
    folder, data = Path(sys.argv[1]), sys.argv[2]
    flags = [f"--data=features:{data}", "--clients=3", "--rounds=4", "--engine=inline", "--quiet"]
    flags += ["--test-fraction=0", "--strategy=scaffold"]
    ends = []
    theme.write_figure = _blank
    for size in (*SIZES_KB, 10**5):
        mount_memory(folder, f"size={size}k")
        out = folder / "run"
        first = finished(simulate.main, *flags, f"--out={out}")
        kept, half = out.is_dir(), sorted(path.name for path in out.rglob("*.tmp"))
        larger = f"remount,size={_RESUMED_WITH}"
        subprocess.run(["mount", "-o", larger, str(folder)], check=True)
        if out.is_dir():
            second = finished(simulate.main, "--resume", out, "--quiet", flags[0])
        else:
            second = finished(simulate.main, *flags, f"--out={out}")
        ends.append(
            {
                "size": size,
                "first": [first.exit_code, first.stderr],
                "half-written": half,
                "kept": kept,
                "second": [second.exit_code, second.stderr],
                "head": _head(out) if second.exit_code == 0 else "",
            }
        )
        subprocess.run(["umount", "-l", str(folder)], check=True)
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
