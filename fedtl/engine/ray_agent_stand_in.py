"""What a raylet has in place of its agents: it tells which ports they have, and waits.

The raylet starts both and waits until each has told its ports; if one ends, so does the raylet. Run
as a script with Ray's folder of the session, the node's id, and ``name=port``s; it imports little,
so that it starts in 15 ms.
"""

from __future__ import annotations

import os
import sys
import time

_LOOKS_EVERY = 0.5


def main() -> None:
    """Write each port to the file where the raylet looks for it; end soon after the raylet."""
    raylet = os.getppid()
    if not is_raylet(raylet):
        return  # it ended while this process started, whose parent is now another
    folder, node, *ports = sys.argv[1:]
    for told in ports:
        name, _, port = told.partition("=")
        path = os.path.join(folder, f"{name}_{node}")  # noqa: PTH118 - pathlib is not imported
        with open(f"{path}.tmp", "w") as file:  # noqa: PTH123
            file.write(port)
        os.rename(f"{path}.tmp", path)  # noqa: PTH104 - the raylet must not see half of it
    while os.getppid() == raylet:
        time.sleep(_LOOKS_EVERY)


def is_raylet(process: int) -> bool:
    """Return whether a process is a raylet, by the name that Linux has for it."""
    try:
        with open(f"/proc/{process}/comm") as file:  # noqa: PTH123
            return file.read().strip() == "raylet"
    except OSError:
        return False


if __name__ == "__main__":
    main()
