"""Independent tasks side by side, in persistent Ray actors that keep what tasks have in common.

A task belongs to a scene: data, and whatever was worked out about it, that many tasks look at. An
actor opens a scene once and prefers tasks of the one it has open.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from fedtl.errors import FedtlError
from fedtl.fault import Enter, Fault, Kept


@dataclass(frozen=True)
class Task:
    """Something to be done.

    Attributes:
        name: Told with its result.
        scene: Name of its scene.
        work: Does it, given the scene and whom to tell of faults that it goes on after; sent to an
            actor, and its result back.
    """

    name: str
    scene: str
    work: Callable[[Any, Enter], Any]


EnterOfTask = Callable[[Task, str, Fault], None]
"""Is told of a task's fault, and where in the task it arose: empty if the task ended with it."""


@dataclass(frozen=True)
class TaskFailure:
    """What a task came to that has no result.

    Attributes:
        reason: Why, one sentence.
        entered: Whether it is a fault that has been told already.
    """

    reason: str
    entered: bool = False


@dataclass(frozen=True)
class _Done:
    """What a task came to, and the faults on the way."""

    result: Any
    faults: Sequence[tuple[str, Fault]] = ()


class TaskPool(ABC):
    """Does tasks in any order; more may be submitted while results are read."""

    def __init__(self) -> None:
        self._queue: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Have a task done."""
        self._queue.append(task)

    @abstractmethod
    def add_scene(self, name: str, make: Callable[[], Any]) -> None:
        """Make a scene known; ``make`` is sent to every actor that needs it and is called there."""

    def results(self, enter: EnterOfTask) -> Iterator[tuple[Task, Any]]:
        """Yield every submitted task with its result or :class:`TaskFailure`, as they finish.

        Args:
            enter: Is told of a task's faults, a few of every kind, before it is yielded.
        """
        for task, done in self._finished():
            for where, fault in done.faults:
                enter(task, where, fault)
            yield task, done.result

    @abstractmethod
    def _finished(self) -> Iterator[tuple[Task, _Done]]:
        """Yield every submitted task, as they finish."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything the pool holds."""

    def _next(self, scene: str | None) -> Task:
        """Take a task of this scene, or else of the one with most tasks waiting."""
        waiting = [task.scene for task in self._queue]
        if scene not in waiting:
            scene = max(waiting, key=waiting.count)
        task = next(task for task in self._queue if task.scene == scene)
        self._queue.remove(task)
        return task


class InlinePool(TaskPool):
    """Does tasks one after the other in the calling process.

    Args:
        caught: Whether what a task raises costs that task alone, or else ends all.
    """

    def __init__(self, *, caught: bool = True) -> None:
        super().__init__()
        self._do = _done if caught else _done_uncaught
        self._scenes: dict[str, Callable[[], Any]] = {}
        self._open: tuple[str | None, Any] = (None, None)

    def add_scene(self, name: str, make: Callable[[], Any]) -> None:
        """See :class:`TaskPool`."""
        self._scenes[name] = make

    def _finished(self) -> Iterator[tuple[Task, _Done]]:
        while self._queue:
            task = self._next(self._open[0])
            if self._open[0] != task.scene:
                self._open = task.scene, self._scenes[task.scene]()
            yield task, self._do(task.work, self._open[1])

    def close(self) -> None:
        """See :class:`TaskPool`."""
        self._open = None, None


class _Worker:
    """The actor: one scene open at a time."""

    def __init__(self, import_path: Sequence[str]) -> None:
        sys.path.extend(folder for folder in import_path if folder not in sys.path)
        # Imported while data is still being prepared elsewhere: this is most of an actor's start.
        import torch

        import fedtl.engine.fedtl_clients  # noqa: F401

        torch.set_num_threads(1)
        self._open: tuple[str | None, Any] = (None, None)

    def do(self, scene: str, make: list[Any], work: Callable[[Any, Enter], Any]) -> _Done:
        """Return what ``work`` returns; ``make`` holds a reference to what makes the scene."""
        if self._open[0] != scene:
            self._open = None, None  # the last one's memory first
            self._open = scene, ray.get(make[0])()
        return _done(work, self._open[1])


def _done(work: Callable[[Any, Enter], Any], scene: Any) -> _Done:
    kept = Kept()
    try:
        return _Done(work(scene, kept.enter), kept.faults)
    except FedtlError as error:
        return _Done(TaskFailure(str(error)), kept.faults)
    except Exception as error:  # whatever a user's own strategy raises costs its task alone
        fault = Fault.of(error)
        return _Done(TaskFailure(fault.sentence, entered=True), [*kept.faults, ("", fault)])


def _done_uncaught(work: Callable[[Any, Enter], Any], scene: Any) -> _Done:
    kept = Kept()
    return _Done(work(scene, kept.enter), kept.faults)


@dataclass
class _Busy:
    """A task that an actor is at."""

    task: Task
    actor: int


class RayPool(TaskPool):
    """Does tasks in as many actors as there are shares of the machine.

    Args:
        actors: Number of actors; they start at once.
        cpus: CPU share of an actor.
        gpus: GPU share of an actor.
    """

    def __init__(self, *, actors: int, cpus: float, gpus: float) -> None:
        super().__init__()
        self._cpus, self._gpus = cpus, gpus
        self._scenes: dict[str, Any] = {}
        self._actors = [self._start() for _ in range(actors)]
        self._at: list[str | None] = [None] * actors
        self._broke: set[str] = set()

    def add_scene(self, name: str, make: Callable[[], Any]) -> None:
        """See :class:`TaskPool`."""
        self._scenes[name] = ray.put(make)

    def _finished(self) -> Iterator[tuple[Task, _Done]]:
        """See :class:`TaskPool`; a task whose actor died is done again, once."""
        idle = list(range(len(self._actors)))
        busy: dict[Any, _Busy] = {}
        while self._queue or busy:
            while self._queue and idle:
                actor = idle.pop()
                task = self._next(self._at[actor])
                self._at[actor] = task.scene
                make = [self._scenes[task.scene]]
                busy[self._actors[actor].do.remote(task.scene, make, task.work)] = _Busy(
                    task, actor
                )
            ready, _ = ray.wait(list(busy), num_returns=1)
            done = busy.pop(ready[0])
            idle.append(done.actor)
            try:
                found = ray.get(ready[0])
            except RayActorError:
                self._actors[done.actor], self._at[done.actor] = self._start(), None
                if done.task.name not in self._broke:
                    self._broke.add(done.task.name)
                    self._queue.append(done.task)
                    continue
                found = _Done(TaskFailure("the process that ran it died, twice"))
            except RayTaskError as error:
                found = _Done(TaskFailure(f"the process that ran it failed: {error.cause}"))
            yield done.task, found

    def close(self) -> None:
        """Stop the actors; Ray itself stays up for whoever started it."""
        for actor in self._actors:
            ray.kill(actor)

    def _start(self) -> Any:
        remote = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0)(_Worker)
        return remote.remote(sys.path)
