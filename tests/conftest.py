"""What all tests share: their order, and what a run would spend time on that few tests look at."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from fedtl.data import image_formats

# Two processes share the tests and the cores; read when NumPy and torch are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Two processes share the tests, a file at a time; begun last, this one would be waited for.
    items.sort(key=lambda item: item.path.name != "test_three_ways.py")


@pytest.fixture(scope="session", autouse=True)
def _memory_as_on_other_systems() -> Iterator[None]:
    """Ask for this process's peak alone: a walk over its pages takes 20 ms, and tests take 900.

    What Linux tells of a family of processes is tested in test_memory.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtl.engine.memory._PROC", Path("nowhere"))
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[Callable[..., None]]:
    """Leave charts undrawn in a module whose tests look at none: two thirds of a small run's time.

    Pages are written all the same, and all that fedtl does for a chart is done, up to matplotlib's
    own drawing, which is what this yields.
    """
    from matplotlib.figure import Figure

    drawing = Figure.savefig

    def blank(figure: object, file: IO[Any], **options: Any) -> None:
        picture = '<svg version="1.1" width="1pt" height="1pt"></svg>'
        file.write(picture if isinstance(file, io.TextIOBase) else picture.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        yield drawing


@pytest.fixture
def drawn(undrawn: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the charts of one test of an undrawn module."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", undrawn)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither pydicom nor pillow-heif."""
    suffixes = image_formats.picture_suffixes() - image_formats._DICOM_SUFFIXES
    suffixes -= image_formats._HEIF_SUFFIXES
    for module in ("image_formats", "left_aside"):
        monkeypatch.setattr(f"fedtl.data.{module}.picture_suffixes", lambda: suffixes)
    monkeypatch.setattr("fedtl.data.image_formats.has_dicom", lambda: False)
