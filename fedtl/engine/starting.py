"""Ray and its actors: started while data is prepared, stopped while results are written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import ModuleType
from typing import Generic, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None:
        """Free everything."""
        ...


T = TypeVar("T", bound=_Closable)


# What stops a start that an interruption left behind: a process has one Ray at a time.
_abandoned: list[Future[None]] = []


class Starting(Generic[T]):
    """A grid or pool that starts in a thread of its own.

    Args:
        start: Starts it; ``None`` if there is nothing to start.
    """

    def __init__(self, start: Callable[[], T | None]) -> None:
        # Linux ends Ray's processes with the thread that started them: it must outlive the run.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray-starter")
        before = _abandoned.pop() if _abandoned else None
        self._future = self._thread.submit(partial(_started_after, before, start))

    def result(self) -> T | None:
        """Return it once it has started; raise what starting it raised."""
        return self._future.result()

    def stop(self) -> None:
        """Stop it, and Ray if this process uses it, without waiting."""
        self._thread.submit(_stop, self._future.result())
        self._thread.shutdown(wait=False)

    def abandon(self, error: BaseException) -> None:
        """Free what was started, or is starting, when an error ends its use.

        Args:
            error: If it is an interruption, Ray's processes are ended without waiting.
        """
        if self._future.cancel():
            return
        session = _ray_session()
        ready = self._future.done()
        if isinstance(error, KeyboardInterrupt):
            if session is not None:
                session.end_processes()
            if not ready:  # a notebook's process goes on
                _abandoned.append(self._thread.submit(self._stop_late))
            self._thread.shutdown(wait=False)
            return
        if session is not None and not ready:
            session.end_unanswered()
        if self._future.exception() is None:
            _stop(self._future.result())

    def _stop_late(self) -> None:
        """Stop what has started after it was abandoned."""
        if self._future.exception() is None:
            _stop(self._future.result())


def _started_after(before: Future[None] | None, start: Callable[[], T | None]) -> T | None:
    """Start something once what was abandoned before has been stopped."""
    if before is not None:
        wait([before])
    return start()


def _ray_session() -> ModuleType | None:
    """Return the module that uses Ray, if it was imported."""
    module = sys.modules.get("fedtl.engine.ray_session")
    return module if hasattr(module, "end_processes") else None  # not while it is being imported


def _stop(started: _Closable | None) -> None:
    if started is not None:
        started.close()
    session = _ray_session()
    if session is not None:
        session.stop_ray()
