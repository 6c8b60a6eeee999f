"""A distribution as an installer leaves it: a module, and what its metadata says of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedtl import registry


@contextmanager
def installed(site: Path, name: str, source: str, points: str) -> Iterator[None]:
    """Have a distribution of one module installed within this block.

    Args:
        site: Where to; it need not exist.
        name: Of the distribution and its module.
        source: Of the module.
        points: What ``entry_points.txt`` says.
    """
    (site / f"{name}-0.1.dist-info").mkdir(parents=True)
    (site / f"{name}.py").write_text(source)
    (site / f"{name}-0.1.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 0.1\n")
    (site / f"{name}-0.1.dist-info" / "entry_points.txt").write_text(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        registry.forget()
        try:
            yield
        finally:
            sys.modules.pop(name, None)
    registry.forget()
