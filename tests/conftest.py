"""What all tests share: their order, and what a run would spend time on that few tests look at."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import settings

from fedtl.data import image_formats

# Two processes share the tests and the cores; read when NumPy and torch are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Beyond forty examples no mutant of tests/mutants fell that had not fallen before.
settings.register_profile("forty", settings(), max_examples=40)
settings.load_profile("forty")


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


@pytest.fixture(scope="module", autouse=True)
def undrawn(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Leave charts undrawn: two thirds of a small run's time, and few tests look at them.

    A module whose tests do has ``DRAWN = True``, a test in another the fixture ``drawn``. Pages are
    written all the same, and all that fedtl does for a chart is done, up to matplotlib's own
    drawing, which is what this yields.
    """
    from matplotlib.figure import Figure

    drawing = Figure.savefig

    def blank(figure: object, file: IO[Any], **options: Any) -> None:
        picture = '<svg version="1.1" width="1pt" height="1pt"></svg>'
        file.write(picture if isinstance(file, io.TextIOBase) else picture.encode())

    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            patch.setattr(Figure, "savefig", blank)
        yield drawing


@pytest.fixture
def drawn(undrawn: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the charts of one test."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", undrawn)


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[None]:
    """Have one Ray on this machine for all that needs one in this process from now on.

    Its start takes seconds, and is tested in test_ray_start.py and test_machines.py. Actors are
    started anew. Who joins a cluster leaves it, and Ray is started again for the next who needs it.
    """
    import ray

    from fedtl.engine import ray_session
    from fedtl.engine.resources import Resources

    start, stop = ray_session.start_ray, ray_session.stop_ray
    clusters: list[str] = []

    def started(address: str, resources: Resources, **shares: Any) -> int:
        if address:
            clusters.append(address)
        elif ray.is_initialized():
            return ray_session.actor_count(resources, **shares)
        return start(address, resources, **shares)

    def stopped() -> None:
        if clusters:
            stop()
            clusters.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_session, "start_ray", started)
        patch.setattr(ray_session, "stop_ray", stopped)
        patch.setattr(ray_session, "end_processes", lambda: None)
        started("", Resources(2.0, 0.0), clients=2, client_cpus=1.0, client_gpus=0.0)
        yield
    stop()


@pytest.fixture(scope="session")
def unequal_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return :func:`unequal_run.run_of` with some flags; what was run before is not run again."""
    from unequal_run import run_of

    return functools.cache(lambda *flags: run_of(tmp_path_factory.mktemp("unequal"), *flags))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither pydicom nor pillow-heif."""
    suffixes = image_formats.picture_suffixes() - image_formats._DICOM_SUFFIXES
    suffixes -= image_formats._HEIF_SUFFIXES
    for module in ("image_formats", "left_aside"):
        monkeypatch.setattr(f"fedtl.data.{module}.picture_suffixes", lambda: suffixes)
    monkeypatch.setattr("fedtl.data.image_formats.has_dicom", lambda: False)
