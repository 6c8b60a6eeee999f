"""``--track``: which trackers watch a run, each by name or as the user's own class."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from fedtl.errors import UsageError
from fedtl.kinds import KINDS, listed
from fedtl.observers.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedtl.config import RunConfig


def trackers(config: RunConfig) -> list[Observer]:
    """Return the observers that ``track`` names.

    Raises:
        UsageError: There is no such observer, or what it needs is not installed.
    """
    kind = KINDS["track"]
    return [cast(type[Observer], kind.load(name))(config) for name in listed("track", config.track)]


@contextmanager
def needs(package: str) -> Iterator[None]:
    """Report a missing package of a tracker that is imported in this block.

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
