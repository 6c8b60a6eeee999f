"""An exception that nobody foresaw, as it is told and written down: cut to a size that is safe.

What an exception says may be of any length, and it may come from each of thousands of clients.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from fedtl.user_code import is_own

# Characters of what an exception says, and of a frame or a message in a traceback.
_LONGEST_SAID, _LONGEST_PART = 300, 1000
# Parts of a traceback: where it begins, and where it arose.
_FIRST, _LAST = 10, 30
# Kinds that are told apart: types may be made while a program runs.
_MOST_KINDS, _OTHERS = 100, "other kinds"

FAULT_KIND = "kind of error: "
"""Begins the second line of a fault's text."""

MOST_OF_A_KIND = 3
"""Faults of a kind that are worth keeping: what fails at one client fails at all, in all rounds."""


@dataclass(frozen=True)
class Fault:
    """An exception that nobody foresaw, without the exception.

    Attributes:
        sentence: Its type, the first line of what it says and, if it passed through the user's own
            code, file and line there; without a full stop.
        kind: Its type and the place where it arose: what is of one kind has one cause.
        traceback: Its traceback, 41,000 characters at most.
    """

    sentence: str
    kind: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what an exception is told as."""
        parts = traceback.TracebackException.from_exception(error)
        name = type(error).__name__
        text = str(error.msg) if isinstance(error, SyntaxError) else str(parts)
        said = _plain(text.partition("\n")[0][:_LONGEST_SAID]).strip()
        sentence = name if said in ("", name) else f"{name}: {said}"
        sentence = f"{sentence.rstrip('.')}{placed(error)}"
        place = own_place(error) or _innermost(error)
        return cls(sentence, f"{name} at {place}", _cut(list(parts.format())))

    @property
    def text(self) -> str:
        """The fault as the reason of an error reply, which :meth:`read` reads."""
        return f"{self.sentence}\n{FAULT_KIND}{self.kind}\n{self.traceback}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return the fault that :attr:`text` holds; ``None`` where it holds none.

        Whoever wrote the text is believed: it is for clients of this machine's own simulation.
        """
        sentence, _, rest = text.partition("\n")
        if not rest.startswith(FAULT_KIND):
            return None
        kind, _, told = rest.removeprefix(FAULT_KIND).partition("\n")
        return cls(sentence, kind, told)


Enter = Callable[[str, Fault], None]
"""Is told where a fault arose, such as ``"round 2, client 0"``, and the fault."""


class Kinds:
    """Counts faults by their kinds."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, fault: Fault) -> int:
        """Count a fault, and return how many of its kind there are now."""
        known = fault.kind in self._counts or len(self._counts) < _MOST_KINDS
        kind = fault.kind if known else _OTHERS
        self._counts[kind] += 1
        return self._counts[kind]


class Kept:
    """Faults on their way to where they are written down: a few of every kind.

    Attributes:
        faults: Where each arose, and the fault.
    """

    def __init__(self) -> None:
        self._kinds = Kinds()
        self.faults: list[tuple[str, Fault]] = []

    def enter(self, where: str, fault: Fault) -> None:
        """Keep a fault, unless enough of its kind are kept."""
        if self._kinds.count(fault) <= MOST_OF_A_KIND:
            self.faults.append((where, fault))


def own_place(error: BaseException) -> str:
    """Return the innermost file and line of the user's own code that an exception passed through.

    Empty if it passed through none.
    """
    if isinstance(error, SyntaxError) and error.filename and is_own(error.filename, ""):
        return _plain(f"{error.filename}, line {error.lineno}")
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_own(frame.f_code.co_filename, str(frame.f_globals.get("__name__", "")))
    ]
    return _plain(f"{own[-1][0]}, line {own[-1][1]}") if own else ""


def placed(error: BaseException) -> str:
    """Return ``" (FILE, line N)"``: see :func:`own_place`; or nothing."""
    own = own_place(error)
    return f" ({own})" if own else ""


def _innermost(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    return _plain(f"{frames[-1][0].f_code.co_filename}, line {frames[-1][1]}") if frames else "?"


def _cut(parts: list[str]) -> str:
    """Return a traceback's parts, the middle of many and the end of long ones left out."""
    if len(parts) > _FIRST + _LAST:
        left = len(parts) - _FIRST - _LAST
        parts = [*parts[:_FIRST], f"  ... {left:,} parts are left out ...\n", *parts[-_LAST:]]
    return "".join(
        _plain(part)
        if len(part) <= _LONGEST_PART
        else f"{_plain(part[:_LONGEST_PART])} ... and {len(part) - _LONGEST_PART:,} characters\n"
        for part in parts
    )


def _plain(text: str) -> str:
    """Return text without what would control a terminal, or has no place in a file."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )
