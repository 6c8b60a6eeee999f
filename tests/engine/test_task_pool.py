"""Tasks beside each other: all are done, whatever happens to the processes that do them."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedtl.engine.ray_pool import RayPool
from fedtl.engine.task_pool import InlinePool, Task, TaskFailure, TaskPool
from fedtl.errors import UsageError
from fedtl.fault import Enter, Fault


@dataclass(frozen=True)
class MakeScene:
    name: str
    made: Path

    def __call__(self) -> str:
        with self.made.open("a") as file:
            file.write(f"{self.name} {os.getpid()}\n")
        return self.name


@dataclass(frozen=True)
class Say:
    word: str

    def __call__(self, scene: str, enter: Enter) -> str:
        time.sleep(0.01)
        return f"{scene} {self.word}"


@dataclass(frozen=True)
class Die:
    """Ends its process; where a file is given, only until that is there."""

    once: Path | None = None

    def __call__(self, scene: str, enter: Enter) -> str:
        if self.once is None or not self.once.exists():
            if self.once is not None:
                self.once.touch()
            os._exit(1)
        return "survived"


@dataclass(frozen=True)
class Complain:
    error: Exception

    def __call__(self, scene: str, enter: Enter) -> str:
        for client in range(5):
            enter(f"client {client}", Fault("gone wrong", "kind", "traceback"))
        raise self.error


def untold(task: Task, where: str, fault: Fault) -> None:
    raise AssertionError("nothing was to be told")


@pytest.fixture(scope="module")
def ray_pool(shared_ray: None) -> Iterator[RayPool]:
    """Two actors for all tests, which take a second each to start."""
    pool = RayPool(actors=2, cpus=0.5, gpus=0)
    yield pool
    pool.close()


@pytest.fixture(params=["inline", "ray"])
def pool(request: pytest.FixtureRequest) -> Iterator[TaskPool]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_pool")
        return
    pool = InlinePool()
    yield pool
    pool.close()


def test_every_task_is_done_in_its_scene_and_more_may_follow(
    pool: TaskPool, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    for name in "abc":
        pool.add_scene(name, MakeScene(name, made))
    expected = set()
    for at in range(12):
        scene = "abc"[at % 3]
        pool.submit(Task(str(at), scene, Say(str(at))))
        expected.add(f"{scene} {at}")
    found = []
    for task, result in pool.results(untold):
        found.append(result)
        if len(found) == 5:
            pool.submit(Task("late", "b", Say("late")))
        assert result.endswith(task.name)
    assert set(found) == expected | {"b late"}
    assert len(found) == 13
    # A worker goes on with the scene it has open, so each opens every one of them once at most
    # but for those that the late task opens again.
    opened = made.read_text().splitlines()
    assert len(opened) <= 2 * 3 + 1


def test_the_scene_with_most_tasks_comes_first(tmp_path: Path) -> None:
    pool = InlinePool()
    for name in "ab":
        pool.add_scene(name, MakeScene(name, tmp_path / "made"))
    for at, scene in enumerate("abbba"):
        pool.submit(Task(str(at), scene, Say(str(at))))
    assert [task.scene for task, _ in pool.results(untold)] == list("bbbaa")


def test_a_task_that_raises_has_a_reason_and_the_others_results(
    pool: TaskPool, tmp_path: Path
) -> None:
    pool.add_scene("trouble", MakeScene("a", tmp_path / "made"))
    pool.submit(Task("user", "trouble", Complain(UsageError("It is not so."))))
    pool.submit(Task("bug", "trouble", Complain(KeyError("lost"))))
    pool.submit(Task("fine", "trouble", Say("fine")))
    told: dict[str, list[tuple[str, Fault]]] = {"user": [], "bug": []}

    def enter(task: Task, where: str, fault: Fault) -> None:
        told[task.name].append((where, fault))

    results = {task.name: result for task, result in pool.results(enter)}
    lines, first = inspect.getsourcelines(Complain.__call__)
    sentence = f"KeyError: 'lost' ({__file__}, line {first + len(lines) - 1})"
    assert results == {
        "user": TaskFailure("It is not so."),
        "bug": TaskFailure(sentence, entered=True),
        "fine": "a fine",
    }
    # A few of a kind are enough.
    on_the_way = [f"client {client}" for client in range(3)]
    assert [where for where, _ in told["user"]] == on_the_way
    assert [where for where, _ in told["bug"]] == [*on_the_way, ""]
    assert told["bug"][-1][1].sentence == sentence
    assert "raise self.error" in told["bug"][-1][1].traceback


def test_where_nothing_is_caught_a_task_ends_all(tmp_path: Path) -> None:
    pool = InlinePool(caught=False)
    pool.add_scene("trouble", MakeScene("a", tmp_path / "made"))
    pool.submit(Task("bug", "trouble", Complain(KeyError("lost"))))
    with pytest.raises(KeyError, match="lost"):
        list(pool.results(untold))


def test_a_task_whose_process_dies_is_done_again_once(ray_pool: RayPool, tmp_path: Path) -> None:
    pool = ray_pool
    pool.add_scene("death", MakeScene("a", tmp_path / "made"))
    pool.submit(Task("unlucky", "death", Die(once=tmp_path / "died")))
    pool.submit(Task("deadly", "death", Die()))
    for at in range(4):
        pool.submit(Task(str(at), "death", Say("well")))
    results = {task.name: result for task, result in pool.results(untold)}
    assert results["unlucky"] == "survived"
    assert results["deadly"] == TaskFailure("the process that ran it died, twice")
    assert [results[str(at)] for at in range(4)] == ["a well"] * 4
