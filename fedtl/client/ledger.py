"""A site's own ledger: what came in and what left, one line for each record, kept for ever.

It is a CSV file that only grows, whichever runs and processes write to it. A line is on the disk
before its record leaves, so a site that cannot write it sends nothing. If a process is killed while
it writes, its line stays and the next process ends it: the last column, 64 characters in a whole
line, is then too short or missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedtl.client.private_files import OpenFilesError, close_folder
from fedtl.config import RunConfig
from fedtl.csv_cells import csv_text
from fedtl.errors import FedtlError
from fedtl.privacy.egress import weigh
from fedtl.privacy.forms import one_line
from fedtl.transfer.cache_folder import cache_folder

LEDGER_KEY = "ledger"
"""Key of the node config: the folder of the site's ledger."""

COLUMNS = (
    *("time", "run", "message", "round", "client", "direction", "record", "shape", "bytes"),
    *("error", "sha256"),
)
_FILE = "ledger.csv"
_HEADER = (",".join(COLUMNS) + "\n").encode()
# Lines that one message from the server gets: what it holds is the server's to say.
_MOST_LINES = 32
# Bytes of a line, many more than any has.
_LONGEST = 2**20
_LOCK_SECONDS, _LOCK_POLL = 10.0, 0.05


class LedgerError(FedtlError):
    """The ledger cannot be written, so nothing may leave; only the site sees the message."""


@dataclass(frozen=True)
class Ledger:
    """The ledger of one site, for one message.

    Attributes:
        path: The file.
        run: Flower's number of the run, as ``flwr list`` shows it.
        client: The site's partition id.
    """

    path: Path
    run: int
    client: str

    @classmethod
    def of(cls, node_config: Mapping[str, Any], run: int) -> Ledger:
        """Return a site's ledger; the site decides where it lies, never the run.

        Raises:
            LedgerError: There is no folder for it, or other users may change what is in it.
        """
        folder = _folder(node_config)
        try:
            close_folder(folder)
        except OpenFilesError as error:
            raise LedgerError(str(error)) from error
        return cls(folder / _FILE, run, one_line(node_config.get("partition-id", "")))

    def enter_down(self, message: Message) -> None:
        """Enter what came in.

        Raises:
            LedgerError: It cannot be written.
        """
        lines = [
            (one_line(record), one_line(shape), size, "", digest)
            for record, shape, size, digest in _records(message.content)
        ]
        if rest := lines[_MOST_LINES:]:
            size = sum(line[2] for line in rest)
            digest = hashlib.sha256("\n".join(line[-1] for line in rest).encode()).hexdigest()
            lines[_MOST_LINES:] = [("others", f"{len(rest)} records", size, "", digest)]
        self._append(message, "down", lines)

    def enter_up(self, message: Message, reply: Message) -> None:
        """Enter what will leave: the records of a reply, or its error.

        Raises:
            LedgerError: It cannot be written, so the reply may not leave.
        """
        if reply.has_error():
            lines = [_told(reply.error)]
        else:
            lines = [
                (_plain(record), _plain(shape), size, "", digest)
                for record, shape, size, digest in _records(reply.content)
            ]
        self._append(message, "up", lines)

    def _append(
        self, message: Message, direction: str, lines: Sequence[tuple[str, str, int, str, str]]
    ) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kind, server_round = one_line(message.metadata.message_type), _round(message.content)
        about = (now, self.run, kind, server_round, self.client, direction)
        content = csv_text(((*about, *line) for line in lines), line_end="\n").encode()
        try:
            with _held(self.path) as file:
                _write(file, _ending(file) + content)
                os.fsync(file)
        except OSError as error:
            raise LedgerError(
                f"The ledger {self.path} cannot be written ({error.strerror or error}), so nothing "
                "leaves this site; free space, correct its permissions, or name another folder: "
                f"{LEDGER_KEY} = 'FOLDER' in the node config."
            ) from error


def digest_of(record: ArrayRecord | MetricRecord | ConfigRecord) -> str:
    """Return the SHA-256 of a record's names and values.

    Of arrays, it is of a line of JSON for each (name, dtype, shape) and its bytes after it, in NPY
    format; of a record of values, it is of one JSON object.
    """
    found = hashlib.sha256()
    if isinstance(record, ArrayRecord):
        for name, array in record.items():
            found.update(json.dumps([name, array.dtype, list(array.shape)]).encode() + b"\n")
            found.update(array.data)
    else:
        found.update(json.dumps(dict(record), default=_hexadecimal).encode())
    return found.hexdigest()


def _records(content: RecordDict) -> Iterator[tuple[str, str, int, str]]:
    for name, shape, size in weigh(content):
        yield name, shape, size, digest_of(content[name])


def _told(error: Error) -> tuple[str, str, int, str, str]:
    reason = error.reason or ""
    told = f"{error.code}: {one_line(reason)}"
    return "", "", len(reason.encode()), told, hashlib.sha256(reason.encode()).hexdigest()


def _plain(text: str) -> str:
    """Return a text in one line, whole: what leaves is declared, and so not long."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _hexadecimal(value: object) -> str:
    assert isinstance(value, bytes)  # Flower's values are numbers, text, lists of them, or bytes
    return value.hex()


def _round(content: RecordDict) -> int | str:
    """Return a message's round; empty if it names none."""
    record = content.get("config")
    found = record.get("server-round") if isinstance(record, ConfigRecord) else None
    return found if isinstance(found, int) else ""


def _folder(node_config: Mapping[str, Any]) -> Path:
    for key, below in ((LEDGER_KEY, "."), ("cache", LEDGER_KEY)):
        value = node_config.get(key, "")
        if not isinstance(value, str):
            raise LedgerError(f"{key} = {value!r} in this site's node config is not a folder.")
        if value:
            return Path(value).expanduser() / below
    cache = cache_folder(RunConfig())
    if cache is None:
        raise LedgerError(
            "This user has no home folder that can be written, and a site needs a ledger; name a "
            f"folder: {LEDGER_KEY} = 'FOLDER' in the node config."
        )
    return cache / LEDGER_KEY


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Yield the file, open to read and to append, held by this process.

    Raises:
        OSError: It is not a regular file, it cannot be opened, or another process keeps it locked.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("it is no file")
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError("another process is at work on it") from None
                time.sleep(_LOCK_POLL)
        yield file
    finally:
        os.close(file)


def _ending(file: int) -> bytes:
    """Return what ends the line that a killed process began, or the line of columns of a new file.

    Empty if the last line is whole.
    """
    size = os.fstat(file).st_size
    if size < len(_HEADER):
        begun = os.pread(file, size, 0)
        if _HEADER.startswith(begun):
            return _HEADER[size:]
    begun = os.pread(file, _LONGEST, max(0, size - _LONGEST)).rpartition(b"\n")[2]
    if not begun:
        return b""
    # A cell that began with a quotation mark must not swallow the lines to come.
    return b'"\n' if begun.count(b'"') % 2 else b"\n"


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
