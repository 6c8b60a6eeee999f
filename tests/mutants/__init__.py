"""Mutants: the code with one line broken as a real bug would break it, and the tests that notice.

A table for each room of the project, TOML: files of the project, the tests that are to fail (files,
or single tests of them), and pairs of what a line says and what it says when broken. A mutant may
name other tests, third in its row, than those of its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """One broken line.

    Attributes:
        room: Its table.
        file: Path in the project.
        old: What stands there, exactly once.
        new: What stands there instead.
        tests: Those of which one must fail, each a file's name, or a test of it.
    """

    room: str
    file: str
    old: str
    new: str
    tests: Sequence[str]

    def applied(self, root: Path = ROOT) -> str:
        """Return the file with the line broken.

        Raises:
            ValueError: The line is not there exactly once, or nothing would change.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} is there {text.count(self.old)} times")
        if self.old == self.new:
            raise ValueError(f"{self.file}: {self.old!r} is not changed")
        return text.replace(self.old, self.new)


def placed(test: str) -> str:
    """Return a test, as a table names it, by its path in the project.

    Raises:
        ValueError: There is no such file, or more than one.
    """
    file, *rest = test.split("::")
    found = list((ROOT / "tests").rglob(file))
    if len(found) != 1:
        raise ValueError(f"{file} is there {len(found)} times")
    return "::".join([found[0].relative_to(ROOT).as_posix(), *rest])


def mutants(rooms: Sequence[str] = ()) -> Iterator[Mutant]:
    """Yield the mutants of some rooms, or of all."""
    for table in sorted(Path(__file__).parent.glob("*.toml")):
        if rooms and table.stem not in rooms:
            continue
        for file, content in tomllib.loads(table.read_text(encoding="utf-8")).items():
            for old, new, *tests in content["mutants"]:
                yield Mutant(table.stem, file, old, new, tests or content["tests"])
