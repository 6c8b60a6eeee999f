"""Independent tasks that share scenes, and a pool that does them in this process.

A task belongs to a scene: data, and results computed from it, that many tasks use. A pool opens a
scene once and prefers tasks of the open scene.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fedtl.errors import FedtlError
from fedtl.fault import Enter, Fault, Kept


@dataclass(frozen=True)
class Task:
    """Something to be done.

    Attributes:
        name: Reported with its result.
        scene: Name of its scene.
        work: Does it, given the scene and a function that receives faults that do not end it; it is
            sent to an actor, which sends its result back.
    """

    name: str
    scene: str
    work: Callable[[Any, Enter], Any]


EnterOfTask = Callable[[Task, str, Fault], None]
"""Receives a task's fault, and where in the task it arose: empty if it ended the task."""


@dataclass(frozen=True)
class TaskFailure:
    """The outcome of a task without a result.

    Attributes:
        reason: Why, one sentence.
        entered: Whether it is a fault that has been reported already.
    """

    reason: str
    entered: bool = False


@dataclass(frozen=True)
class Done:
    """The outcome of a task, and the faults on the way."""

    result: Any
    faults: Sequence[tuple[str, Fault]] = ()


class TaskPool(ABC):
    """Does tasks in any order; more may be submitted while results are read."""

    def __init__(self) -> None:
        self._queue: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Submit a task."""
        self._queue.append(task)

    @abstractmethod
    def add_scene(self, name: str, make: Callable[[], Any]) -> None:
        """Make a scene known; ``make`` is sent to every actor that needs it and is called there."""

    def results(self, enter: EnterOfTask) -> Iterator[tuple[Task, Any]]:
        """Yield every submitted task with its result or :class:`TaskFailure`, as they finish.

        Args:
            enter: Receives a task's faults, a few of every kind, before the task is yielded.
        """
        for task, done in self._finished():
            for where, fault in done.faults:
                enter(task, where, fault)
            yield task, done.result

    @abstractmethod
    def _finished(self) -> Iterator[tuple[Task, Done]]:
        """Yield every submitted task, as they finish."""

    @abstractmethod
    def close(self) -> None:
        """Free everything that the pool holds."""

    def _next(self, scene: str | None) -> Task:
        """Take a task of this scene, or else of the scene with most waiting tasks."""
        waiting = [task.scene for task in self._queue]
        if scene not in waiting:
            scene = max(waiting, key=waiting.count)
        task = next(task for task in self._queue if task.scene == scene)
        self._queue.remove(task)
        return task


class InlinePool(TaskPool):
    """Does tasks one after the other in the calling process.

    Args:
        caught: Whether what a task raises costs only that task, or ends all.
    """

    def __init__(self, *, caught: bool = True) -> None:
        super().__init__()
        self._do = attempt if caught else attempt_uncaught
        self._scenes: dict[str, Callable[[], Any]] = {}
        self._open: tuple[str | None, Any] = (None, None)

    def add_scene(self, name: str, make: Callable[[], Any]) -> None:
        """See :class:`TaskPool`."""
        self._scenes[name] = make

    def _finished(self) -> Iterator[tuple[Task, Done]]:
        while self._queue:
            task = self._next(self._open[0])
            if self._open[0] != task.scene:
                self._open = task.scene, self._scenes[task.scene]()
            yield task, self._do(task.work, self._open[1])

    def close(self) -> None:
        """See :class:`TaskPool`."""
        self._open = None, None


def attempt(work: Callable[[Any, Enter], Any], scene: Any) -> Done:
    """Do a task; whatever it raises costs only that task."""
    kept = Kept()
    try:
        return Done(work(scene, kept.enter), kept.faults)
    except FedtlError as error:
        return Done(TaskFailure(str(error)), kept.faults)
    except Exception as error:  # whatever a user's own strategy raises costs its task alone
        fault = Fault.of(error)
        return Done(TaskFailure(fault.sentence, entered=True), [*kept.faults, ("", fault)])


def attempt_uncaught(work: Callable[[Any, Enter], Any], scene: Any) -> Done:
    """Do a task, and let through what it raises."""
    kept = Kept()
    return Done(work(scene, kept.enter), kept.faults)
