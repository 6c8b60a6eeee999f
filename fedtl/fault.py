"""An unexpected exception, as it is reported and written: cut to a safe size.

A message of an exception may have any length, and may come from thousands of clients.
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
"""Faults of one kind that are kept: what fails at one client often fails at all."""


@dataclass(frozen=True)
class Fault:
    """The text of an unexpected exception.

    Attributes:
        sentence: Its type, the first line of its message and, if it passed through the user's own
            code, file and line there; without a full stop.
        kind: Its type and the place where it arose: faults of one kind have one cause.
        traceback: Its traceback, 41,000 characters at most.
    """

    sentence: str
    kind: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the fault of an exception."""
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
        """Return the fault that :attr:`text` holds; ``None`` if it holds none.

        The text is trusted, so use it only for clients of this machine's own simulation.
        """
        sentence, _, rest = text.partition("\n")
        if not rest.startswith(FAULT_KIND):
            return None
        kind, _, told = rest.removeprefix(FAULT_KIND).partition("\n")
        return cls(sentence, kind, told)


Enter = Callable[[str, Fault], None]
"""Receives where a fault arose, such as ``"round 2, client 0"``, and the fault."""


class Kinds:
    """Counts faults by their kinds."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, fault: Fault) -> int:
        """Count a fault, and return the new count of its kind."""
        known = fault.kind in self._counts or len(self._counts) < _MOST_KINDS
        kind = fault.kind if known else _OTHERS
        self._counts[kind] += 1
        return self._counts[kind]


class Kept:
    """Faults that wait to be written: a few of every kind.

    Attributes:
        faults: Where each arose, and the fault.
    """

    def __init__(self) -> None:
        self._kinds = Kinds()
        self.faults: list[tuple[str, Fault]] = []

    def enter(self, where: str, fault: Fault) -> None:
        """Keep a fault, unless enough of its kind are kept already."""
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
    """Return a traceback's parts, without the middle of many and the end of long ones."""
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
    """Return text without characters that control a terminal or do not belong in a file."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )
