"""Independent tasks side by side, in persistent Ray actors that keep what tasks have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from fedtl.collector import collect_seldom
from fedtl.engine.task_pool import Done, Task, TaskFailure, TaskPool, attempt
from fedtl.fault import Enter


class _Worker:
    """The actor: one scene open at a time."""

    def __init__(self, import_path: Sequence[str]) -> None:
        collect_seldom()
        sys.path.extend(folder for folder in import_path if folder not in sys.path)
        # Imported while data is still being prepared elsewhere: this is most of an actor's start.
        import torch

        import fedtl.engine.fedtl_clients  # noqa: F401

        torch.set_num_threads(1)
        self._open: tuple[str | None, Any] = (None, None)

    def do(self, scene: str, make: list[Any], work: Callable[[Any, Enter], Any]) -> Done:
        """Return what ``work`` returns; ``make`` holds a reference to what makes the scene."""
        if self._open[0] != scene:
            self._open = None, None  # the last one's memory first
            self._open = scene, ray.get(make[0])()
        return attempt(work, self._open[1])


@dataclass
class _Busy:
    """A task that an actor is working on."""

    task: Task
    actor: int


class RayPool(TaskPool):
    """Does tasks in as many actors as the machine has shares.

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

    def _finished(self) -> Iterator[tuple[Task, Done]]:
        """See :class:`TaskPool`; a task whose actor died is repeated once."""
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
                found = Done(TaskFailure("the process that ran it died, twice"))
            except RayTaskError as error:
                found = Done(TaskFailure(f"the process that ran it failed: {error.cause}"))
            yield done.task, found

    def close(self) -> None:
        """Stop the actors; Ray itself keeps running for its starter."""
        for actor in self._actors:
            ray.kill(actor)

    def _start(self) -> Any:
        remote = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0)(_Worker)
        return remote.remote(sys.path)
