"""``--track``: which trackers watch a run, each by name or as a class of the user's own."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from fedtl.config_key import nearest
from fedtl.errors import UsageError
from fedtl.fault import Fault
from fedtl.observers.observer import Observer
from fedtl.user_code import importing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedtl.config import RunConfig

_SHIPPED = {
    "tensorboard": "fedtl.observers.tensorboard:TensorBoard",
    "mlflow": "fedtl.observers.mlflow:MLflow",
}


def trackers(config: RunConfig) -> list[Observer]:
    """Return the observers that ``track`` names.

    Raises:
        UsageError: There is no such observer, or what it needs is not installed.
    """
    names = [name.strip() for name in config.track.split(",") if name.strip()]
    return [_loaded(name)(config) for name in names]


def _loaded(name: str) -> type[Observer]:
    installed = {point.name: point.value for point in entry_points(group="fedtl.observers")}
    known = {**installed, **_SHIPPED}
    if ":" not in name and name not in known:
        raise UsageError(
            f"track = {name!r} is not known{nearest(name, known)} It is one of "
            f"{', '.join(sorted(known))}, or module:Class of your own, parted by commas."
        )
    module, _, cls = known.get(name, name).partition(":")
    try:
        with importing(f"{module}:{cls}"):
            found = getattr(importlib.import_module(module), cls)
    except UsageError:
        raise
    except Exception as error:  # whatever the user's own module raises while it is imported
        raise UsageError(
            f"track = {name!r} cannot be loaded: {Fault.of(error).sentence}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Observer)):
        raise UsageError(f"track = {name!r} is not a subclass of fedtl.Observer.")
    return found


@contextmanager
def needs(package: str) -> Iterator[None]:
    """Within this block, a tracker's package is imported.

    Raises:
        UsageError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"track = {package!r} needs the package {package}, which is not installed; "
            f"pip install 'fedtl[{package}]', or pip install {package}."
        ) from error
