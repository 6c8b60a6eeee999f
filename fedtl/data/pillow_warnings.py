"""What Pillow warns of while it decodes: counted, and not printed with lines of its source."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_heard: Counter[str] = Counter()
_decoding = threading.local()
# That a picture is large is judged by fedtl's own limit.
_OF_SIZE = "DecompressionBombWarning"


@contextmanager
def heard() -> Iterator[None]:
    """Count what is warned of in this thread within this block."""
    _listen()
    _decoding.now = True
    try:
        yield
    finally:
        _decoding.now = False


def doubt(text: str) -> None:
    """Count a doubt of ours."""
    with _lock:
        _heard[text] += 1


def doubts() -> str:
    """Return, and forget, what was warned of since the last call, counted; empty if nothing was."""
    from fedtl.data.unreadable import by_kind

    with _lock:
        told = by_kind(_heard.elements())
        _heard.clear()
    return told and f"pictures are decoded with doubts: {told}"


def _listen() -> None:
    """Stand before the function that shows warnings, unless that is done already."""
    shown = warnings.showwarning
    if getattr(shown, "counts_pillow", False):
        return

    def counting(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not getattr(_decoding, "now", False):
            shown(message, category, *rest, **more)
        elif category.__name__ != _OF_SIZE:
            with _lock:
                _heard[" ".join(str(message).split())] += 1

    counting.counts_pillow = True  # type: ignore[attr-defined]
    with _lock:
        if not getattr(warnings.showwarning, "counts_pillow", False):
            warnings.showwarning = counting
            # Otherwise each place in Pillow's source would warn once.
            warnings.filterwarnings("always", module=r"(PIL|pydicom)\.")
