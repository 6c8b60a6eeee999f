"""A folder that a command writes to: made, locked by one process, discarded if unused."""

from __future__ import annotations

import fcntl
import io
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from fedtl.data.dataset import Dataset
from fedtl.data.unreadable import left_out
from fedtl.errors import FedtlError, UnwrittenError, UsageError
from fedtl.interruption import in_hand
from fedtl.preparation.contents import CONTENTS_FILE, Contents
from fedtl.unforeseen import ErrorLog, let_through, unforeseen
from fedtl.whole_file import write_atomically


class HeldFolder(ABC):
    """A folder locked by one process, until :meth:`close`.

    Attributes:
        path: The folder.
        first_files: Files written before the work begins; the first describes the work.
        work: What the folder holds, in a word.
        errors: Its ``errors.log``.
    """

    first_files: ClassVar[tuple[str, ...]]
    work: ClassVar[str]

    def __init__(self, path: Path, lock: io.TextIOWrapper) -> None:
        self.path, self._lock = path, lock
        self.errors = ErrorLog(path)
        # What make() made, innermost first; None where the work was there before.
        self._made: list[Path] | None = None

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether it holds work that would be lost."""

    @property
    def resumable(self) -> bool:
        """Whether interrupted work can be resumed."""
        return True

    @property
    @abstractmethod
    def catches(self) -> bool:
        """Whether unexpected errors become a sentence, or are passed on."""

    @abstractmethod
    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as a CSV file."""

    def close(self) -> None:
        """Release the folder for other processes."""
        self._lock.close()

    def discard_if_unbegun(self) -> None:
        """Remove the folder of work that failed before it began."""
        if self._made is None or self.begun:
            return
        for name in (*self.first_files, CONTENTS_FILE, ".lock"):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # the user's own files stay, and so do the folders around them
            for folder in self._made:
                folder.rmdir()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Do the work within this block; then release the folder, or remove it if nothing began.

        Raises:
            FedtlError: Also for unexpected errors, whose traceback is then in ``errors.log``.
            Exception: Any unexpected error, with ``engine = debug``.
        """
        try:
            with in_hand(self._interrupted):
                yield
        except UnwrittenError as error:
            self.discard_if_unbegun()
            if not (self.path.is_dir() and self.resumable):
                raise
            sentence = str(error).rstrip(".")
            raise UnwrittenError(f"{sentence}; then go on with --resume {self.path}.") from error
        except FedtlError:
            self.discard_if_unbegun()
            raise
        except Exception as error:
            self.discard_if_unbegun()
            if not self.catches:
                let_through(error)
                raise
            raise unforeseen(error, self.path if self.path.is_dir() else None) from error
        finally:
            self.close()

    def _interrupted(self) -> str:
        """Remove the folder if nothing began; return how to resume otherwise."""
        self.discard_if_unbegun()
        if not self.path.is_dir():
            return "nothing had begun, so nothing was kept"
        if not self.resumable:
            return f"{self.path} holds what was done; another run needs another out"
        return f"go on with --resume {self.path}"

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder, completely or not at all.

        Raises:
            FedtlError: It cannot be written.
        """
        path = self.path / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        return path

    def keep_contents(self, contents: Contents | None, *, unit: str, named: bool) -> None:
        """Record the data's digests, or refuse to go on with other data than before.

        Args:
            contents: The data's digests.
            unit: What one input is, such as ``"file"``.
            named: Whether inputs may be named; their names may reveal a site.

        Raises:
            FedtlError: The data differ from before.
        """
        assert contents is not None
        path = self.path / CONTENTS_FILE
        if path.exists():
            contents.check_same(Contents.from_file(path), unit=unit, named=named)
        else:
            self.write(CONTENTS_FILE, contents.to_bytes())

    def list_unreadable(
        self, dataset: Dataset, unreadable: Sequence[tuple[str, str]], *, named: bool
    ) -> str:
        """Write ``unreadable.csv``, and return a sentence about images; empty if there are none.

        Files left aside are listed, too. The list is kept, even if the work fails.

        Args:
            dataset: The data, unreadable images included.
            unreadable: Name and reason of each image that could not be decoded.
            named: Whether to name the first one; its name may reveal a site.
        """
        aside = [(other.path, other.reason) for other in dataset.left_aside]
        rows = [{"image": name, "reason": reason} for name, reason in (*unreadable, *aside)]
        if rows:
            self.write_csv("unreadable.csv", rows)
        told = left_out(dataset, unreadable, named=named)
        return f"{told}; all are listed in {self.path / 'unreadable.csv'}" if told else ""

    @classmethod
    def way_on(cls, path: Path) -> str:
        """Return how to resume the work in a folder."""
        return f"go on with --resume {path}, or choose another --out"

    @classmethod
    def make(cls, path: Path) -> tuple[io.TextIOWrapper, list[Path]]:
        """Make a folder; return its lock, and which folders were made, innermost first.

        Raises:
            UsageError: It already holds such work, or another process uses it.
            FedtlError: It cannot be made.
        """
        with told(path):
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            if (path / cls.first_files[0]).exists():
                raise UsageError(f"{path} already holds a {cls.work}; {cls.way_on(path)}.")
            return hold(path), made

    @classmethod
    def take_up(cls, path: Path) -> io.TextIOWrapper:
        """Return the lock on a folder that holds such work.

        Raises:
            UsageError: It holds none, or another process uses it.
        """
        first = cls.first_files[0]
        if not (path / first).is_file():
            raise UsageError(f"{path} holds no {cls.work} to resume: it has no {first}.")
        with told(path):
            return hold(path)

    @contextmanager
    def begins(self, made: list[Path]) -> Iterator[None]:
        """Write the first files within this block; if one cannot be written, nothing is kept."""
        self._made = made
        try:
            with told(self.path):
                yield
        except BaseException:
            self.discard_if_unbegun()
            self.close()
            raise


def fresh_path(name: str) -> Path:
    """Return ``runs/<time>-<name>``, with a number added if that exists."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "run"
    first = path = Path("runs") / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{slug}"
    number = 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def hold(path: Path) -> io.TextIOWrapper:
    """Return a lock on a folder; closing it, or the end of the process, releases it.

    Raises:
        UsageError: Another process uses it.
    """
    lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UsageError(
            f"Another process uses {path}; wait for it, or choose another --out."
        ) from None
    return lock


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn disk errors into one sentence that names ``path``."""
    try:
        yield
    except OSError as error:
        raise UnwrittenError(
            f"{path} cannot be written: {error.strerror or error}; "
            "free space, correct its permissions, or choose another --out."
        ) from error


@contextmanager
def closed_if_refused(lock: io.TextIOWrapper) -> Iterator[None]:
    """Release a folder again if its content cannot be used."""
    try:
        yield
    except BaseException:
        lock.close()
        raise
