"""Ray on this machine for one run: started within a deadline, ended with the run."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedtl.errors import FedtlError
from fedtl.free_memory import SHARED_MEMORY, free_in, free_memory, free_shared_memory, own_memory
from fedtl.interruption import end_for
from fedtl.wording import byte_size, count_of

START_SECONDS = 60.0
_STOP_SECONDS = 3.0
# What Ray itself takes, each client process, and this one; measured by what control groups let run.
_OF_RAY, _OF_ACTOR, _OF_RUN = 130 * 2**20, 350 * 2**20, 350 * 2**20
# Holds a few blocks of replies; larger ones Ray puts on disk. Every page touched stays in memory.
_OBJECT_STORE_BYTES = 80 * 2**20
_LEAST_DISK = 20 * 2**20
# A socket's path has at most 107 bytes, and Ray's has 66 below its folder:
# session_2026-11-28_00-44-15_347515_1234567/sockets/plasma_store and slashes.
_LONGEST_FOLDER = 107 - 66
_PREFIX = "fedtl-"
_LOCK = "lock"

_PROCESS = Path(__file__).with_name("ray_head_process.py")
_INTERNALS = Path(__file__).with_name("ray_internals.py")


class RayHead:
    """A process that starts Ray and keeps it, or tries a cluster: see :meth:`answer`.

    Args:
        address: A cluster to join; empty to start Ray on this machine.
        options: For ``ray.init``.
        actors: How many client processes it will start.

    Raises:
        FedtlError: There is too little memory, or no place for Ray's files.
    """

    def __init__(self, address: str, options: dict[str, Any], actors: int) -> None:
        self._address, self._answered, self._stopped = address, False, False
        self._folder: Path | None = None
        lock: int | None = None
        if not address:
            _check_memory(actors)
            remove_leftovers()
            self._folder, lock = _new_folder()
            options = {**options, **self._places()}
        request = {
            "address": address,
            "options": options,
            "internals": str(_INTERNALS),
            "parent": os.getpid(),
            "folder": str(self._folder or ""),
            "lock": lock,
        }
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            # Without the working folder in its path: a user's ray.py there is not Ray.
            [sys.executable, "-P", str(_PROCESS), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            pass_fds=() if lock is None else (lock,),
            env={**os.environ, **_environment()},
            # Ctrl-C at the terminal is the run's to answer.
            start_new_session=True,
        )
        if lock is not None:
            os.close(lock)

    def answer(self) -> str:
        """Return the address at which Ray has answered.

        Raises:
            FedtlError: It has not answered within a minute, cannot start, or was stopped; then
                nothing of it is left.
        """
        try:
            found = self._answer()
            self._answered = True
            if self._stopped:
                raise FedtlError("Ray was ended while it started.")
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._hear, name="ray-head", daemon=True).start()
        return found

    def _hear(self) -> None:
        """Wait until Ray ends; if it ends before the run, the run cannot go on."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() and not self._stopped:
            end_for(
                "one of Ray's processes ended, as happens if memory is short; now there is "
                f"{memory_told()}"
            )

    def stop(self, *, unless_answered: bool = False) -> None:
        """End Ray and all its processes, and remove its files; a second call does nothing.

        Args:
            unless_answered: Let it be if a thread has its address, and may be joining it: without
                Ray's processes that would wait for a minute, and end this process then.
        """
        assert self._process.stdin is not None
        self._stopped = True
        if unless_answered and self._answered:
            return
        with suppress(OSError):
            self._process.stdin.close()
        if not self._answered and self._process.returncode is None:
            # It has not come so far as to read its pipe.
            _kill_session(self._process.pid)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _kill_session(self._process.pid)
            self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _places(self) -> dict[str, Any]:
        """Return where Ray's files lie, and the objects it shares."""
        places: dict[str, Any] = {
            "_temp_dir": str(self._folder),
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
        if free_shared_memory() < 2 * _OBJECT_STORE_BYTES:
            # As in a container, whose shared memory has 64 MB, or cannot be written.
            places["_plasma_directory"] = str(self._folder)
        return places

    def _answer(self) -> str:
        address = self._address
        line = _line(self._process, time.monotonic() + START_SECONDS)
        where = f"join the Ray cluster at {address!r}" if address else "start Ray"
        if line is None:
            raise FedtlError(
                f"Cannot {where}: no answer in {START_SECONDS:.0f} s, with {memory_told()}; free "
                "memory, or use --engine inline, which needs no Ray."
            )
        try:
            told: dict[str, str] = json.loads(line)
        except ValueError:
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
            told = {"error": f"it ended while it started ({last or 'without a message'})"}
        if "error" in told:
            raise FedtlError(f"Cannot {where}: {told['error']}; --engine inline needs no Ray.")
        return told["address"]


def remove_leftovers() -> None:
    """Remove the folders of runs that have ended: the system has freed their locks."""
    for parent in dict.fromkeys(_parents()):
        for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
            with suppress(OSError), lock.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)


def _check_memory(actors: int) -> None:
    free = free_memory()
    needed = _OF_RAY + actors * _OF_ACTOR + max(0, _OF_RUN - own_memory())
    if free is not None and free < needed:
        fewer = "use fewer processes (--client-cpus 2), " if actors > 1 else ""
        raise FedtlError(
            f"Cannot start Ray: with {count_of(actors, 'client process')} it "
            f"takes {byte_size(needed)} of memory, and there is {memory_told()}; free memory, "
            f"{fewer}or use --engine inline, which needs no Ray."
        )


def memory_told() -> str:
    """Return how much memory is free, for messages."""
    free = free_memory()
    memory = "an unknown amount of memory" if free is None else f"{byte_size(free)} of memory"
    return f"{memory} and {byte_size(free_shared_memory())} of shared memory (/dev/shm) free"


def _environment() -> dict[str, str]:
    return {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's monitor kills workers while the machine's memory is 95 % full, whoever fills it. Our
        # actors hold little that is theirs, and the raylet answers nobody before they have started:
        # killed as they start, for ever. The kernel's own guard against want of memory stays.
        "RAY_memory_monitor_refresh_ms": "0",
    }


def _line(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """Return the first line that a process writes, or all if it ends; ``None`` if late."""
    assert process.stdout is not None
    said = b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return None
        more = os.read(process.stdout.fileno(), 65536)
        if not more:
            break
        said += more
    return said


def _kill_session(leader: int) -> None:
    """Kill all processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    os.kill(int(entry.name), 9)


def _parents() -> Iterator[Path]:
    yield Path(tempfile.gettempdir())
    yield Path("/tmp")
    yield Path("/var/tmp")
    if "XDG_RUNTIME_DIR" in os.environ:
        yield Path(os.environ["XDG_RUNTIME_DIR"])
    yield SHARED_MEMORY


def _new_folder() -> tuple[Path, int]:
    """Return a folder for Ray's files and sockets, and a lock on it, held while Ray lives."""
    for parent in _parents():
        name_length = len(_PREFIX) + 8
        if len(os.fsencode(parent)) + 1 + name_length > _LONGEST_FOLDER:
            continue
        if free_in(parent) < _LEAST_DISK:
            continue
        for _ in range(10):
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another start took it for a dead run's
                os.close(lock)
                continue
            if (folder / _LOCK).exists():
                return folder, lock
            os.close(lock)
    raise FedtlError(
        f"Ray's sockets need a folder that can be written, with {byte_size(_LEAST_DISK)} free and "
        f"a path of at most {_LONGEST_FOLDER - len(_PREFIX) - 9} characters, but "
        f"{', '.join(str(parent) for parent in dict.fromkeys(_parents()))} do not qualify; set "
        "TMPDIR to such a folder, or use --engine inline, which needs no Ray."
    )
