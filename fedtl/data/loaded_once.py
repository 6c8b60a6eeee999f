"""Inputs that several others are made of, each loaded once and kept until its last use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

_Loaded = TypeVar("_Loaded")


class LoadedOnce(Generic[_Loaded]):
    """Loads each input once, whichever thread asks first; what cannot be loaded, likewise.

    Args:
        load: Returns an input.
        uses: The number of the input that each use is of. What was used as often is forgotten.
    """

    def __init__(self, load: Callable[[int], _Loaded], uses: Iterable[int]) -> None:
        self._load, self._left = load, Counter(uses)
        self._held: dict[int, Future[_Loaded]] = {}
        self._lock = Lock()

    def __call__(self, number: int) -> _Loaded:
        """Return an input, or raise what loading it raised."""
        with self._lock:
            found = self._held.get(number)
            first = found is None
            if found is None:
                found = self._held[number] = Future()
            self._left[number] -= 1
            if self._left[number] <= 0:
                del self._held[number]
        if first:
            try:
                found.set_result(self._load(number))
            except BaseException as error:
                found.set_exception(error)
        return found.result()
