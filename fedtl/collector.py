"""When Python looks for cyclic garbage: seldom, and not while many messages are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the search for cyclic garbage in this block.

    Reading a thousand messages makes tens of thousands of objects, none of them garbage; looking
    for it among them takes as long as reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_seldom() -> None:
    """Look seldom for cyclic garbage, in a process that is ours from start to end.

    Importing PyTorch, Flower and Ray makes half a million objects, none of them garbage. Python
    looks through all of them again and again, which takes a sixth of the time of the imports.
    """
    gc.set_threshold(50_000, 20, 50)
